"""What save, load, verify and prune show while they work: bars on a terminal, little elsewhere."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store
from support.daemon import Daemon, running_daemon
from support.eager_program import COMMAND as EAGER
from support.formats import put_shards
from support.ggufsplit import split
from support.kills import MIB
from support.olm import OLM, environment, olm, out
from support.randommodel import write_llama
from support.registry import serving
from support.stores import put_model
from support.terminal import on_terminal


@pytest.fixture
def store(olm_home: Path) -> Store:
    store = Store(olm_home / "models")
    put_model(store, "small", b"GGUF" + bytes(24 * MIB))
    return store


@pytest.fixture
def daemon(store: Store, olm_home: Path) -> Iterator[Daemon]:
    with running_daemon(olm_home, command=EAGER) as running:
        yield running


def on_screen(daemon: Daemon, *words: str) -> str:
    """What the command leaves on a terminal."""
    with on_terminal([OLM, *words], environment(daemon.environ), columns=200) as terminal:
        assert terminal.wait_for_end() == 0, terminal.text
        return terminal.text


def bars(text: str) -> list[str]:
    return re.findall(r"^(.*?): +100% ▕█+▏", text, re.MULTILINE)


def test_a_terminal_shows_bars(daemon: Daemon, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    assert bars(on_screen(daemon, "save", "small", "-o", str(path))) == [f"saving to {path}"]
    store.remove(Reference.parse("small"))
    text = on_screen(daemon, "load", "-i", str(path))
    assert bars(text) == [f"loading {path}"]
    assert text.endswith("Loaded model: small:latest")
    assert len(bars(on_screen(daemon, "verify", "small"))) == 2
    store.blobs.put_bytes(bytes(5 * MIB))
    text = on_screen(daemon, "system", "prune", "-f")
    assert bars(text) == ["removing unused blobs"]
    assert "Total reclaimed space: 5.2 MB" in text


def test_quiet_and_pipes_show_no_bars(daemon: Daemon, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    for words in (["save", "-q", "small", "-o", str(path)], ["load", "-q", str(path)]):
        assert olm(daemon.environ, *words).stderr == b""
        assert bars(on_screen(daemon, *words)) == []
    assert bars(on_screen(daemon, "verify", "-q")) == []
    done = olm(daemon.environ, "save", "small")
    assert done.stdout[:10] == b"oci-layout"
    assert b"\x1b" not in done.stderr
    store.blobs.put_bytes(bytes(5 * MIB))
    assert olm(daemon.environ, "system", "prune", "-f").stderr == b""


def test_the_api_tells_of_a_prune_line_by_line(daemon: Daemon, store: Store) -> None:
    digests = {str(store.blobs.put_bytes(bytes([n]) * MIB)) for n in range(3)}
    _, reply = daemon.request("POST", "/api/prune", {"dry_run": True, "stream": False})
    assert {blob["digest"] for blob in json.loads(reply)["blobs"]} == digests
    _, reply = daemon.request("POST", "/api/prune", {})
    lines = [json.loads(line) for line in reply.splitlines()]
    assert lines[0] == {"status": "looking for what no model needs"}
    assert lines[-2]["status"] == "removing unused blobs"
    assert lines[-2]["total"] == lines[-2]["completed"] == 3 * MIB
    assert lines[-1]["status"] == "success"
    assert lines[-1]["freed"] >= 3 * MIB


def test_shards_are_merged_when_a_model_arrives_and_that_is_shown(
    daemon: Daemon, store: Store, tmp_path: Path
) -> None:
    whole = write_llama(tmp_path / "whole.gguf", layers=2, width=256)
    parts = [path.read_bytes() for path in split(whole, tmp_path, "m", 3)]
    other = Store(tmp_path / "other")
    with serving() as registry:
        name = f"{registry.host}/team/sharded:1"
        manifest = put_shards(other, name, parts)
        for blob in manifest.blobs:
            registry.put_blob(other.blobs.path(blob.digest).read_bytes(), "team/sharded")
        registry.put_manifest("team/sharded", "1", manifest.raw, manifest.media_type)
        assert "merging 3 shards" in bars(on_screen(daemon, "pull", name))
        path = tmp_path / "x.tar"
        out(olm(daemon.environ, "save", name, "-o", str(path)))
        again = on_screen(daemon, "load", str(path))
        assert "merging" not in again  # it is known already
        store.remove(Reference.parse(name))
        assert "merging 3 shards" in bars(on_screen(daemon, "load", str(path)))
    assert "merged the shards of a model" in daemon.log
