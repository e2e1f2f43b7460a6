"""`olm config`, and the files that it writes, as commands and the daemon go by them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import free_port, running_daemon
from support.olm import olm, out
from support.randommodel import write_llama

ROWS = ("key", "value", "origin", "variable", "takes")


@pytest.fixture
def environ(olm_home: Path) -> dict[str, str]:
    """Where no daemon runs, and none is started."""
    return {"OLM_HOME": str(olm_home), "OLM_HOST": f"127.0.0.1:{free_port()}"}


def user_file() -> Path:
    return Path(os.environ["XDG_CONFIG_HOME"]) / "olm" / "olm.toml"


def test_what_is_set_is_got_listed_and_unset(environ: dict[str, str]) -> None:
    out(olm(environ, "config", "set", "num_parallel", "7"))
    out(olm(environ, "config", "set", "hosts", "a.example,b.example"))
    assert user_file().read_text() == 'num_parallel = 7\nhosts = ["a.example", "b.example"]\n'
    assert user_file().stat().st_mode & 0o777 == 0o600
    assert out(olm(environ, "config", "get", "num_parallel")) == "7\n"
    assert out(olm(environ, "config", "get", "num_parallel", "--origin")) == (
        f"7\t{user_file()}:1\n"
    )
    listed = out(olm(environ, "config", "list", "--origin")).splitlines()
    assert listed[0].split() == ["KEY", "VALUE", "ORIGIN"]
    [row] = [line.split() for line in listed if line.startswith("num_parallel ")]
    assert row == ["num_parallel", "7", f"{user_file()}:1"]
    rows = [
        json.loads(line) for line in out(olm(environ, "config", "list", "--json")).split("\n")[:-1]
    ]
    assert all(tuple(row) == ROWS for row in rows)
    by_key = {row["key"]: row for row in rows}
    assert by_key["hosts"]["value"] == "a.example,b.example"
    assert by_key["on_overflow"]["takes"] == "error|truncate|shift"
    assert by_key["home"]["origin"] == "OLM_HOME"
    out(olm(environ, "config", "unset", "num_parallel"))
    assert out(olm(environ, "config", "get", "num_parallel", "--origin")) == "4\tdefault\n"
    assert olm(environ, "config", "unset", "num_parallel").returncode == 3


def test_a_variable_wins_and_set_says_so(environ: dict[str, str]) -> None:
    environ |= {"OLLAMA_NUM_PARALLEL": "2"}
    done = olm(environ, "config", "set", "num_parallel", "9")
    assert b"warning: OLLAMA_NUM_PARALLEL is set, and wins" in done.stderr
    assert out(olm(environ, "config", "get", "num_parallel")) == "2\n"


def test_secrets_are_listed_masked(environ: dict[str, str]) -> None:
    out(olm(environ, "config", "set", "api_key", "olm_secret"))
    listed = out(olm(environ, "config", "list", "--json")) + out(olm(environ, "config", "list"))
    assert "olm_secret" not in listed
    assert out(olm(environ, "config", "get", "api_key")) == "olm_secret\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set", "num_paralel", "7"], "did you mean 'num_parallel'?"),
        (["get", "OLM_NUM_PARALLEL"], "did you mean 'num_parallel'?"),
        (["set", "num_parallel", "many"], "num_parallel = 'many' is not a whole number"),
        (["set", "noprune", "maybe"], "is not true or false"),
        (["set", "host", ":99999"], "is no port"),
        (["set", "--project", "host", ":1"], "cannot be set by a project's file"),
        (["set", "--project", "nohistory", "0"], "can only be true in a project's file"),
        (["set", "--project", "--system", "nohistory", "1"], "only one of"),
        (["set", "num_parallel"], "requires a key and a value"),
        (["get"], "requires a key"),
        (["list", "num_parallel"], "accepts no arguments"),
        (["list", "--project"], "are flags of `olm config set`"),
        (["set", "--json", "nohistory", "1"], "flags of output are those of"),
    ],
)
def test_what_cannot_be_done_changes_nothing(
    environ: dict[str, str], words: list[str], said: str, tmp_path: Path
) -> None:
    done = olm(environ, "config", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert not user_file().exists()


def test_a_wrong_file_ends_every_command_and_is_mended_by_one(environ: dict[str, str]) -> None:
    user_file().parent.mkdir(parents=True)
    user_file().write_text('# mine\nkeep_alive = "soon"\n')
    for words in (["ls"], ["config", "list"], ["info"], ["serve"]):
        done = olm(environ, *words)
        assert done.returncode == 2
        assert f"Error: {user_file()}:2: keep_alive = 'soon' is no duration\n" in (
            done.stderr.decode()
        )
    assert olm(environ, "__complete", "models", "").returncode == 0
    out(olm(environ, "config", "set", "keep_alive", "9m"))
    assert user_file().read_text() == '# mine\nkeep_alive = "9m"\n'
    assert out(olm(environ, "config", "get", "keep_alive")) == "9m\n"
    user_file().write_text('keep_alife = "9m"\n')
    assert olm(environ, "config", "list").returncode == 2
    out(olm(environ, "config", "unset", "keep_alife"))
    assert olm(environ, "config", "list").returncode == 0


def test_a_daemon_that_starts_by_itself_finds_the_file_that_was_named(
    environ: dict[str, str], tmp_path: Path
) -> None:
    environ |= {"OLM_CONFIG": "own.toml"}
    out(olm(environ, "config", "set", "num_parallel", "3", cwd=tmp_path))
    assert (tmp_path / "own.toml").exists()
    try:
        out(olm(environ, "ls", cwd=tmp_path))
    finally:
        out(olm(environ, "serve", "--stop", cwd=tmp_path))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[tuple[dict[str, str], Path]]:
    """The variables of a daemon whose user keeps models for ever, and a directory whose project
    asks for a context of 384 tokens."""
    user_file().parent.mkdir(parents=True)
    user_file().write_text("keep_alive = -1\n")
    folder = tmp_path / "project" / "deep"
    folder.mkdir(parents=True)
    (folder.parent / "olm.toml").write_text("context_length = 384\n")
    write_llama(tmp_path / "m.gguf")
    with running_daemon(tmp_path / "home") as daemon:
        out(olm(daemon.environ, "create", "m", "-f", "-", stdin=f"FROM {tmp_path}/m.gguf"))
        yield daemon.environ, folder


def loaded(environ: dict[str, str], *words: str, cwd: Path) -> list[str]:
    """The row of `olm ps` after the model was loaded."""
    out(olm(environ, "run", "m", *words, "", cwd=cwd))
    [row] = out(olm(environ, "ps")).splitlines()[1:]
    return row.split()


def test_the_daemon_goes_by_the_users_file_and_questions_by_the_projects(
    project: tuple[dict[str, str], Path], tmp_path: Path
) -> None:
    environ, folder = project
    row = loaded(environ, cwd=folder)
    assert row[-1] == "Forever"
    assert row[-2] == "384"
    assert loaded(environ, "--keepalive", "1h", cwd=folder)[-1] != "Forever"
    out(olm(environ, "stop", "m"))  # a longer context would serve the shorter one too
    assert loaded(environ, "--set", "num_ctx=256", cwd=folder)[-2] == "256"
    out(olm(environ, "stop", "m"))
    assert loaded(environ, cwd=tmp_path)[-2] not in ("384", "256")
