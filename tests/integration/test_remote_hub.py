"""Pulls from Hugging Face's API and from plain addresses."""

import threading
from pathlib import Path

import pytest

from olmkit.registry.errors import (
    InvalidReference,
    ModelNotFound,
    RemoteMisbehaved,
    SourceError,
    Unauthorized,
)
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference, is_address
from olmkit.registry.sources import PullOptions, pull, url
from olmkit.registry.store.store import Store, StoredModel
from support.gguffile import GgufFile, Row, string
from support.hub import COMMIT, Hub, serving_hub
from support.stores import layers_of


def gguf(text: str) -> bytes:
    return b"GGUF" + text.encode() * 10


FILES = {
    "README.md": b"hello",
    "tiny-Q4_K_M.gguf": gguf("q4"),
    "tiny-Q8_0.gguf": gguf("q8"),
    "tiny-IQ4_XS.gguf": gguf("iq4"),
    "BF16/tiny-BF16-00001-of-00002.gguf": gguf("b1"),
    "BF16/tiny-BF16-00002-of-00002.gguf": gguf("b2"),
    "Q2_K/tiny-Q2_K-00001-of-00002.gguf": gguf("half"),
    "mmproj-tiny-Q8_0.gguf": gguf("p8"),
    "mmproj-tiny-F16.gguf": gguf("p16"),
    "tiny.imatrix.gguf": gguf("imatrix"),
    "params": b'{"top_k": 1}',
    "LICENSE": b"MIT",
}


def fetch(hub: Hub, root: Path, tag: str = "latest", quantization: str = "") -> StoredModel:
    return pull(
        Reference("hf.co", hub.repository, tag),
        Store(root),
        on_event=lambda event: None,
        cancelled=threading.Event(),
        describe=lambda path: ModelConfig(model_format="gguf"),
        options=PullOptions(
            access=RemoteAccess(hub_address=hub.address, hub_token=hub.token),
            quantization=quantization or None,
        ),
    )


def contents(root: Path, model: StoredModel, media_type: str) -> list[bytes]:
    blobs = Store(root).blobs
    return [blobs.path(b.digest).read_bytes() for b in layers_of(model.manifest, media_type)]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("latest", ["q4"]),
        ("q8_0", ["q8"]),
        ("Q8_0", ["q8"]),
        ("IQ4_XS", ["iq4"]),
        ("tiny-Q8_0.gguf", ["q8"]),
        ("BF16", ["b1", "b2"]),
    ],
)
def test_the_tag_names_the_quantization(tag: str, expected: list[str], tmp_path: Path) -> None:
    with serving_hub(Hub("user/Tiny-GGUF", FILES)) as hub:
        model = fetch(hub, tmp_path, tag)
    assert contents(tmp_path, model, mediatypes.OLLAMA_MODEL) == [gguf(e) for e in expected]
    assert contents(tmp_path, model, mediatypes.OLLAMA_PROJECTOR) == [gguf("p16")]
    assert contents(tmp_path, model, mediatypes.OLLAMA_PARAMS) == [b'{"top_k": 1}']
    assert contents(tmp_path, model, mediatypes.OLLAMA_LICENSE) == [b"MIT"]
    source = model.config(Store(tmp_path)).olm_source
    assert source is not None
    assert source.reference == f"hf.co/user/Tiny-GGUF@{COMMIT}"


def test_the_option_wins_over_the_tag(tmp_path: Path) -> None:
    with serving_hub(Hub("user/Tiny-GGUF", FILES)) as hub:
        model = fetch(hub, tmp_path, quantization="Q8_0")
    assert contents(tmp_path, model, mediatypes.OLLAMA_MODEL) == [gguf("q8")]


def test_an_unknown_quantization_lists_the_known_ones(tmp_path: Path) -> None:
    with serving_hub(Hub("user/Tiny-GGUF", FILES)) as hub, pytest.raises(ModelNotFound) as found:
        fetch(hub, tmp_path, "Q3_K_S")
    assert "tiny-Q8_0.gguf" in str(found.value.hint)


def test_missing_shards_are_told_before_any_download(tmp_path: Path) -> None:
    with serving_hub(Hub("user/Tiny-GGUF", FILES)) as hub:
        with pytest.raises(SourceError, match="1 of 2 shards"):
            fetch(hub, tmp_path, "Q2_K")
        assert not [path for origin, path, _ in hub.seen if origin == "cdn"]


def test_a_repository_without_gguf_files_is_told(tmp_path: Path) -> None:
    hub = Hub("user/none", {"README.md": b"x"})
    with serving_hub(hub), pytest.raises(SourceError, match="holds no GGUF file"):
        fetch(hub, tmp_path)


def test_the_token_opens_a_private_repository_and_stays_with_the_hub(tmp_path: Path) -> None:
    with serving_hub(Hub("user/private", FILES, token="hf_secret")) as hub:
        fetch(hub, tmp_path)
        assert {given for origin, _, given in hub.seen if origin == "hub"} == {"Bearer hf_secret"}
        assert {given for origin, _, given in hub.seen if origin == "cdn"} == {None}


def test_a_gated_repository_says_so_in_the_hubs_words(tmp_path: Path) -> None:
    with serving_hub(Hub("user/gated", FILES, token="hf_secret", gated=True)) as hub:
        closed = Hub("user/gated", FILES, port=hub.port)
        with pytest.raises(Unauthorized, match="Access to model user/gated is restricted") as found:
            fetch(closed, tmp_path)
    assert "HF_TOKEN" in str(found.value.hint)


def test_a_second_pull_downloads_nothing(tmp_path: Path) -> None:
    with serving_hub(Hub("user/Tiny-GGUF", FILES)) as hub:
        first = fetch(hub, tmp_path)
        hub.seen.clear()
        assert fetch(hub, tmp_path).manifest_digest == first.manifest_digest
        assert not [path for origin, path, _ in hub.seen if origin == "cdn"]


def from_address(address: str, root: Path) -> StoredModel:
    return url.pull(
        address,
        Store(root),
        on_event=lambda event: None,
        cancelled=threading.Event(),
        describe=lambda path: ModelConfig(model_format="gguf"),
        options=PullOptions(),
    )


def test_a_file_at_an_address_becomes_a_model(tmp_path: Path) -> None:
    with serving_hub(Hub("user/Tiny-GGUF", FILES)) as hub:
        base = f"{hub.address}/user/Tiny-GGUF/resolve/{COMMIT}/tiny-Q8_0.gguf"
        model = from_address(base, tmp_path)
        again = from_address(f"{base}#sha256={Digest.of(gguf('q8')).hex}", tmp_path)
    assert model.manifest.layers[0].digest == Digest.of(gguf("q8"))
    assert again.reference == model.reference
    assert "/tiny-q8_0-" in model.reference.repository


def test_other_bytes_than_the_address_says_are_refused(tmp_path: Path) -> None:
    with serving_hub(Hub("user/Tiny-GGUF", FILES)) as hub:
        base = f"{hub.address}/user/Tiny-GGUF/resolve/{COMMIT}/tiny-Q8_0.gguf"
        with pytest.raises(RemoteMisbehaved, match="digest mismatch"):
            from_address(f"{base}#sha256={'0' * 64}", tmp_path)
        assert Store(tmp_path).list() == []


@pytest.mark.parametrize(
    "address",
    ["ftp://h/x.gguf", "https:///x.gguf", "https://u:hunter2@h/x.gguf", "https://h/.gguf?hunter2"],
)
def test_other_addresses_are_no_models(address: str) -> None:
    assert address.startswith("ftp") or is_address(address)
    with pytest.raises(InvalidReference) as found:
        Reference.parse(address)
    assert "hunter2" not in f"{found.value!r} {found.value} {found.value.text}"


def typed(kind: str) -> bytes:
    """A GGUF file that says what it is, with one tensor's worth of bytes behind."""
    metadata = {"general.type": string(kind), "general.name": string("x")}
    return GgufFile(metadata=metadata, tensors=(Row(name="w"),), data=bytes(128)).encode()


def test_a_model_named_after_its_importance_matrix_is_a_model(tmp_path: Path) -> None:
    files = {
        "tiny-Q4_K_M-imatrix.gguf": typed("model"),
        "tiny-Q4_K_M-other-imatrix.gguf": typed("imatrix"),
    }
    with serving_hub(Hub("user/Tiny", files)) as hub:
        model = fetch(hub, tmp_path, "Q4_K_M")
    assert model.manifest.layers[0].digest == Digest.of(files["tiny-Q4_K_M-imatrix.gguf"])
