"""`olm launch`: programs with the agents' names show what they were started with."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, running_daemon
from support.models import smollm2
from support.olm import OLM, olm, out

SHOW = """#!/usr/bin/env python3
import json, os, sys
names = ("ANTHROPIC_AUTH_TOKEN", "OPENCODE_CONFIG", "OLM_API_KEY")
print(json.dumps([sys.argv[1:], {name: os.environ.get(name) for name in names}]))
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("launch") / "home") as running:
        for name in ("one", "two"):
            out(olm(running.environ, "create", name, "-f", "-", stdin=f"FROM {smollm2()}\n"))
        yield running


@pytest.fixture
def environ(daemon: Daemon, tmp_path: Path) -> dict[str, str]:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("claude", "codex", "opencode"):
        (tools / name).write_text(SHOW)
        (tools / name).chmod(0o755)
    user = tmp_path / "user"
    user.mkdir()
    path = f"{tools}:{Path(OLM).parent}:/usr/bin:/bin"
    return {**daemon.environ, "HOME": str(user), "XDG_CONFIG_HOME": "", "PATH": path}


def test_claude_is_started_beside_its_users_settings(
    daemon: Daemon, environ: dict[str, str]
) -> None:
    done = olm(environ, "launch", "claude", "--model", "one", "--", "-p", "hello")
    arguments, variables = json.loads(out(done))
    assert arguments[0] == "--settings"
    assert arguments[2:] == ["-p", "hello"]
    given = json.loads(Path(arguments[1]).read_text())["env"]
    assert given["ANTHROPIC_BASE_URL"] == daemon.url
    assert given["ANTHROPIC_MODEL"] == given["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "one"
    assert variables["ANTHROPIC_AUTH_TOKEN"] == "olm"
    assert b"cannot call tools" in done.stderr
    assert list(Path(environ["HOME"]).iterdir()) == []


def test_codex_gets_a_profile(daemon: Daemon, environ: dict[str, str]) -> None:
    arguments, _ = json.loads(out(olm(environ, "launch", "codex", "--model", "two", "--", "exec")))
    assert arguments == ["--profile", "olm", "exec"]
    profile = tomllib.loads((Path(environ["HOME"]) / ".codex/olm.config.toml").read_text())
    assert profile["model"] == "two"
    assert profile["model_providers"]["olm"]["base_url"] == f"{daemon.url}/v1"


def test_opencode_gets_a_provider_and_the_key_by_a_variable(
    daemon: Daemon, environ: dict[str, str]
) -> None:
    environ["OLM_API_KEY"] = "secret"
    _, variables = json.loads(out(olm(environ, "launch", "opencode", "--model", "one")))
    text = Path(variables["OPENCODE_CONFIG"]).read_text()
    settings = json.loads(text)
    assert settings["provider"]["olm"]["options"]["baseURL"] == f"{daemon.url}/v1"
    assert settings["model"] == "olm/one"
    assert variables["OLM_API_KEY"] == "secret"
    assert "secret" not in text


def test_the_model_of_the_last_time_is_taken_again(environ: dict[str, str]) -> None:
    olm(environ, "launch", "codex", "--model", "two")
    assert olm(environ, "launch", "codex").returncode == 0
    profile = (Path(environ["HOME"]) / ".codex/olm.config.toml").read_text()
    assert 'model = "two"' in profile


def test_settings_are_written_for_good_and_taken_out_again(environ: dict[str, str]) -> None:
    user = Path(environ["HOME"])
    for name, path in (
        ("claude", user / ".claude/settings.json"),
        ("opencode", user / ".config/opencode/opencode.json"),
    ):
        path.parent.mkdir(parents=True)
        path.write_text('{"model": "theirs", "env": {"A": "1"}}')
        done = olm(environ, "launch", name, "--model", "one", "--config-only")
        assert (done.returncode, done.stdout) == (0, b"")
        assert str(path).encode() in done.stderr
        assert "one" in path.read_text()
        assert json.loads(path.read_text())["env"]["A"] == "1"
        olm(environ, "launch", name, "--restore")
        assert json.loads(path.read_text()) == {"model": "theirs", "env": {"A": "1"}}


def test_a_profile_of_somebody_else_is_left_alone(environ: dict[str, str]) -> None:
    path = Path(environ["HOME"]) / ".codex/olm.config.toml"
    path.parent.mkdir()
    path.write_text('model = "mine"\n')
    for words in (["--model", "one"], ["--model", "one", "--config-only"], ["--restore"]):
        done = olm(environ, "launch", "codex", *words)
        assert done.returncode == 1
        assert b"was not written by olm" in done.stderr
    assert path.read_text() == 'model = "mine"\n'


def test_what_is_missing_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    done = olm(environ, "launch", "claude", "--model", "absent")
    assert done.returncode == 3
    (tmp_path / "bin/claude").unlink()
    done = olm(environ, "launch", "claude", "--model", "one")
    assert done.returncode == 3
    assert b"npm install -g @anthropic-ai/claude-code" in done.stderr
    fresh = {**environ, "OLM_HOME": str(tmp_path / "fresh")}
    done = olm(fresh, "launch", "codex", "--restore", "--model", "x")
    assert done.returncode == 2
