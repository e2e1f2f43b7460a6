"""Every command takes names, IDs and digests; a name that is not there suggests the nearest."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import running_daemon
from support.models import tiny_chat
from support.olm import olm, out

TEXT = f"FROM {tiny_chat()}\nPARAMETER num_ctx 512\nPARAMETER num_predict 1\nSYSTEM Be brief."


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with running_daemon(tmp_path_factory.mktemp("names") / "home") as daemon:
        out(olm(daemon.environ, "create", "model", "-f", "-", stdin=TEXT))
        yield daemon.environ


@pytest.fixture(params=["name", "short ID", "full ID", "digest"])
def name(request: pytest.FixtureRequest, environ: dict[str, str]) -> str:
    listed = json.loads(out(olm(environ, "ls", "--json", "--filter", "name=model")))
    digest = str(listed["digest"])
    return {
        "name": "model",
        "short ID": digest[:12],
        "full ID": digest,
        "digest": f"sha256:{digest}",
    }[request.param]


def test_every_command_takes_every_way_to_name_a_model(
    environ: dict[str, str], name: str, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text("Hi.")
    for words in (
        ("run", name, "--no-pull", "hi"),
        ("show", name),
        ("plan", name),
        ("prompt", name, "hi"),
        ("parse", name, "text.txt"),
        ("history", name),
        ("inspect", name),
        ("verify", name),
        ("save", name, "-q", "-o", "m.tar"),
        ("lock", name),
        ("cache", "warm", "-f", "text.txt", name),
        ("cache", "rm", name),
        ("tag", name, "one"),
        ("cp", name, "two"),
        ("rm", "one", "two"),
        ("stop", name),
    ):
        out(olm(environ, *words, cwd=tmp_path))
    assert out(olm(environ, "ps", "-q")) == ""


@pytest.mark.parametrize(
    "words",
    [
        ("show", "modle"),
        ("rm", "modle"),
        ("cp", "modle", "x"),
        ("stop", "modle"),
        ("inspect", "modle"),
        ("history", "modle"),
        ("prompt", "modle", "hi"),
        ("run", "modle", "--no-pull", "hi"),
    ],
)
def test_a_name_that_is_not_there_suggests_the_nearest(
    environ: dict[str, str], words: tuple[str, ...]
) -> None:
    done = olm(environ, *words)
    assert done.returncode == 3
    error, hint = done.stderr.decode().splitlines()
    assert error.startswith("Error: ")
    assert "modle" in error
    assert hint == "hint: did you mean 'model'?"


def test_an_id_or_digest_of_nothing_is_not_found(environ: dict[str, str]) -> None:
    assert olm(environ, "show", "0123abcd").returncode == 3
    assert olm(environ, "show", f"sha256:{'0' * 64}").returncode == 3
