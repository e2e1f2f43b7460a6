"""`olm plan`: what it says of a model that is here, and of one that is at its source only."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from olmkit.registry.oci import mediatypes
from support.daemon import Daemon, running_daemon
from support.hub import Hub, serving_hub
from support.models import smollm2
from support.olm import olm, out
from support.randommodel import write_llama
from support.registry import Registry, serving

MIB = 2**20
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 MB, of which the header is little."""
    return write_llama(tmp_path_factory.mktemp("weights") / "m.gguf", width=512)


@pytest.fixture(scope="module")
def hub(weights: Path) -> Iterator[Hub]:
    small = weights.read_bytes()
    files = {"m-Q4_0.gguf": small, "m-Q8_0.gguf": small + bytes(32), "README.md": b"m"}
    with serving_hub(Hub("user/repo", files)) as serving_one:
        yield serving_one


@pytest.fixture(scope="module")
def registry(weights: Path) -> Iterator[Registry]:
    with serving() as one:
        layer = one.put_blob(weights.read_bytes())
        config = one.put_blob(b"{}")
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described(mediatypes.DOCKER_CONFIG, config, 2),
            "layers": [described(mediatypes.OLLAMA_MODEL, layer, weights.stat().st_size)],
        }
        one.put_manifest("library/m", "latest", json.dumps(manifest).encode(), MANIFEST)
        yield one


def described(media_type: str, digest: object, size_bytes: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(digest), "size": size_bytes}


@pytest.fixture(scope="module")
def daemon(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    hidden = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GGML_VK_VISIBLE_DEVICES")
    environ = {"HF_ENDPOINT": hub.address} | dict.fromkeys(hidden, "")
    home = tmp_path_factory.mktemp("plan") / "home"
    with running_daemon(home, environ=environ) as running:
        out(olm(running.environ, "create", "tiny", "-f", "-", stdin=f"FROM {smollm2()}\n"))
        yield running


def planned(daemon: Daemon, name: str, *flags: str) -> dict[str, Any]:
    said = json.loads(out(olm(daemon.environ, "plan", name, "--json", *flags)))
    assert isinstance(said, dict)
    return said


def test_a_plan_says_what_the_load_then_takes(daemon: Daemon) -> None:
    said = planned(daemon, "tiny", "--ctx", "2048", "--device", "cpu")
    (device,) = said["devices"]
    assert (device["name"], device["layers"]) == ("CPU", 31)
    assert said["context_length"] == 2048
    assert said["largest_context_length"] == 8192
    body = {"model": "tiny", "prompt": "hi", "stream": False}
    options = {"num_predict": 1, "num_ctx": 2048, "num_gpu": 0}
    assert daemon.request("POST", "/api/generate", body | {"options": options})[0] == 200
    _, reply = daemon.request("GET", "/api/ps")
    (model,) = json.loads(reply)["models"]
    plan = sum(device[f"{use}_bytes"] for use in ("weights", "kv", "compute"))
    assert abs(plan - model["devices"]["CPU"]) <= 0.05 * plan


def test_flags_change_the_plan(daemon: Daemon) -> None:
    plain = planned(daemon, "tiny", "--ctx", "4096", "--device", "cpu")["devices"][0]
    small = planned(daemon, "tiny", "--ctx", "4096", "--kv", "q8_0", "--device", "cpu")
    assert small["devices"][0]["kv_bytes"] * 1.8 < plain["kv_bytes"]


def test_a_device_that_is_not_there_is_an_error_that_lists_those_there_are(
    daemon: Daemon,
) -> None:
    for name in ("CUDA7", "0", "GPU-2f1c"):
        done = olm(daemon.environ, "plan", "tiny", "--device", name)
        assert done.returncode == 2
        assert f"there is no device '{name}'" in done.stderr.decode()
        assert "there is only cpu" in done.stderr.decode()
    body = {"model": "tiny", "devices": ["cpu", "CUDA7"]}
    status, reply = daemon.request("POST", "/api/plan", body)
    assert status == 400
    assert "there is no device 'CUDA7'" in json.loads(reply)["error"]
    assert daemon.request("POST", "/api/plan", body | {"devices": ["CPU"]})[0] == 200


def test_people_read_a_table(daemon: Daemon) -> None:
    text = out(olm(daemon.environ, "plan", "tiny", "--device", "cpu"))
    assert text.splitlines()[0].split() == [
        *("DEVICE", "LAYERS", "WEIGHTS", "KV", "CACHE", "BUFFERS", "PROCESS", "TOTAL", "FREE")
    ]
    assert "the processor computes all layers" in text


def test_a_model_at_a_registry_is_planned_by_its_header_alone(
    daemon: Daemon, registry: Registry, weights: Path
) -> None:
    size_bytes = weights.stat().st_size
    said = planned(daemon, f"{registry.host}/library/m", "--insecure")
    assert said["pulled"] is False
    assert said["download"] == size_bytes
    (device,) = said["devices"]
    assert abs(device["weights_bytes"] - size_bytes) < MIB
    assert f"{registry.host}/library/m" not in out(olm(daemon.environ, "ls"))
    ranges = [one.headers["range"] for one in registry.seen if "range" in one.headers]
    assert ranges
    assert all(int(one.partition("-")[2]) < size_bytes - 1 for one in ranges)


def test_the_best_quantization_is_chosen_and_said(daemon: Daemon) -> None:
    said = planned(daemon, "hf.co/user/repo:auto")
    assert "the largest that fits" in said["why"]
    assert "m-Q8_0.gguf" in said["why"]
    named = planned(daemon, "hf.co/user/repo", "--quant", "Q4_0")
    assert named["download"] < said["download"]


def test_a_pull_chooses_likewise(daemon: Daemon) -> None:
    done = olm(daemon.environ, "pull", "hf.co/user/repo:auto")
    assert done.returncode == 0, done.stderr
    assert b"the largest that fits" in done.stderr


@pytest.mark.parametrize("command", [("plan", "tiny", "--device", "cpu"), ("run", "tiny", "hi")])
def test_what_must_be_on_cards_is_an_error_where_there_are_none(
    daemon: Daemon, command: tuple[str, ...]
) -> None:
    done = olm(daemon.environ, *command, "--require-gpu")
    assert done.returncode == 6
    assert b"graphics cards only" in done.stderr
