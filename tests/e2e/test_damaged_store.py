"""Stores that lack something, or that an old Ollama left."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.api import Api
from support.daemon import Daemon, running_daemon
from support.debian_registry import debian_registry
from support.olm import olm, out
from support.randommodel import write_llama


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running_daemon(tmp_path / "home") as daemon:
        yield daemon


def create(daemon: Daemon, name: str, tmp_path: Path) -> None:
    weights = write_llama(tmp_path / "tiny.gguf")
    Api(daemon).create(name, weights, system="Be terse.", parameters={"num_ctx": 256})


def inspect(daemon: Daemon, name: str) -> tuple[dict[str, Any], str]:
    done = olm(daemon.environ, "inspect", name)
    (shown,) = json.loads(out(done))
    return shown, done.stderr.decode()


def blob(daemon: Daemon, digest: str) -> Path:
    return daemon.home / "models" / "blobs" / digest.replace(":", "-")


@pytest.mark.parametrize("part", ["config", "params", "weights"])
def test_a_model_that_lacks_a_blob_is_inspected_and_mended(
    daemon: Daemon, part: str, tmp_path: Path
) -> None:
    with debian_registry(tmp_path / "open") as registry:
        name = f"{registry.host}/team/m:1"
        create(daemon, name, tmp_path)
        out(olm(daemon.environ, "push", "--as", "ollama", name))
        whole, stderr = inspect(daemon, name)
        assert (whole["missing"], whole["problem"], stderr) == ([], None, "")

        digest = whole["manifest"]["config"]["digest"]
        if part != "config":
            (digest,) = (entry["digest"] for entry in whole["layers"] if entry["role"] == part)
        blob(daemon, digest).unlink()
        shown, stderr = inspect(daemon, name)
        assert shown["missing"] == [digest]
        assert digest in stderr
        assert "pull or create the model again" in stderr
        for key in ("id", "names", "size", "format", "manifest", "layers"):
            assert shown[key] == whole[key]
        assert (shown["config"] is None) is (part == "config")
        assert name in out(olm(daemon.environ, "ls"))
        done = olm(daemon.environ, "run", name, "hi")
        assert done.returncode == 1
        assert digest in done.stderr.decode()

        out(olm(daemon.environ, "pull", name))
        again, stderr = inspect(daemon, name)
        assert again.pop("modified_at") > whole["modified_at"], "a pull renews the time"
        assert (again, stderr) == ({k: v for k, v in whole.items() if k != "modified_at"}, "")
        blob(daemon, digest).unlink()
        out(olm(daemon.environ, "rm", name))


def answers(daemon: Daemon, name: str) -> bool:
    """Whether the model says something: random weights end an answer where they like."""
    return olm(daemon.environ, "run", name, "--max-tokens", "4", "hi").returncode in (0, 9)


def test_blobs_that_an_old_ollama_named_are_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running_daemon(home) as daemon:
        create(daemon, "mine", tmp_path)
        shown, _ = inspect(daemon, "mine")
    blobs = home / "models" / "blobs"
    for path in list(blobs.glob("sha256-*")):
        path.rename(path.with_name(path.name.replace("-", ":", 1)))
    with running_daemon(home) as daemon:
        assert inspect(daemon, "mine") == (shown, "")
        assert not list(blobs.glob("sha256:*"))
        assert answers(daemon, "mine")


def test_blobs_that_an_old_ollama_named_are_not_pruned(daemon: Daemon, tmp_path: Path) -> None:
    create(daemon, "mine", tmp_path)
    blobs = daemon.home / "models" / "blobs"
    digest = inspect(daemon, "mine")[0]["manifest"]["config"]["digest"]
    blob(daemon, digest).rename(blobs / digest)  # while the daemon runs
    unknown = blobs / ("sha256:" + "0" * 64)
    unknown.write_bytes(b"whose?")
    out(olm(daemon.environ, "system", "prune", "--force"))
    assert unknown.exists()
    shown, stderr = inspect(daemon, "mine")
    assert shown["missing"] == [digest]
    assert "old Ollama" in shown["problem"] + stderr


def put_manifest(daemon: Daemon, tag: str, raw: bytes) -> Path:
    path = daemon.home / "models" / "manifests" / "registry.ollama.ai" / "library" / "odd" / tag
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return path


def test_no_bad_entry_hides_the_others(daemon: Daemon, tmp_path: Path) -> None:
    create(daemon, "good", tmp_path)
    shown, _ = inspect(daemon, "good")
    manifests = daemon.home / "models" / "manifests"
    raw = json.dumps(shown["manifest"]).encode()

    for tag, seconds in (("far", 300_000_000_000), ("past", -100_000_000_000)):
        path = put_manifest(daemon, tag, raw)
        subprocess.run(["touch", "-d", f"@{seconds}", str(path)], check=True)
    put_manifest(daemon, "huge", raw.replace(b'"size": ', b'"size": 99999999999999999999'))
    put_manifest(daemon, "deep", b'{"config":' * 5000)
    put_manifest(daemon, "empty", b"")
    put_manifest(daemon, "binary", bytes(range(256)))
    config = json.dumps(
        {"model_format": "gguf", "model_family": "\ud800", "context_length": 10**40}
    ).encode()
    digest = hashlib.sha256(config).hexdigest()
    (daemon.home / "models" / "blobs" / f"sha256-{digest}").write_bytes(config)
    odd = {"digest": f"sha256:{digest}", "size": len(config), "mediaType": "x"}
    put_manifest(daemon, "config", json.dumps({**shown["manifest"], "config": odd}).encode())
    os.mkfifo(manifests / "registry.ollama.ai" / "library" / "odd" / "fifo")
    (manifests / "link").symlink_to("/nowhere")
    name = b"n\xff\xfe"
    (manifests / "registry.ollama.ai" / "library" / os.fsdecode(name)).mkdir()
    (manifests / "registry.ollama.ai" / "library" / os.fsdecode(name) / "latest").write_bytes(raw)
    deep = manifests / "/".join(["d"] * 60)
    deep.mkdir(parents=True)

    listed = out(olm(daemon.environ, "ls"))
    assert "good:latest" in listed
    assert {"odd:far", "odd:past", "odd:config"} <= {
        line.split()[0] for line in listed.splitlines()
    }
    assert out(olm(daemon.environ, "ls", "--format", "json"))
    out(olm(daemon.environ, "system", "df"))
    assert answers(daemon, "good")
    assert olm(daemon.environ, "show", "good").returncode == 0
