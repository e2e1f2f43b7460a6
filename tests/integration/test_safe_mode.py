"""Engines with real defects: the request is answered, the user hears of it, and it is kept."""

import json
from pathlib import Path

import pytest

from support.brokenengine import Defect, broken_engine, broken_package
from support.daemon import Daemon, running_daemon
from support.models import minilm_gguf, smollm2
from support.olm import olm, out

ASK = {"prompt": "Say hi", "stream": False, "options": {"num_predict": 4, "temperature": 0}}


def make(daemon: Daemon, name: str, path: Path) -> None:
    out(olm(daemon.environ, "create", name, "-f", "-", stdin=f"FROM {path}\n"))


def answer(daemon: Daemon, name: str) -> str:
    status, body = daemon.request("POST", "/api/generate", ASK | {"model": name})
    assert status == 200, (body, daemon.log)
    return str(json.loads(body)["response"])


def safe_mode(daemon: Daemon) -> str:
    """What `ps` says of the one loaded model; empty: it runs as it should."""
    _, body = daemon.request("GET", "/api/ps")
    (model,) = json.loads(body)["models"]
    return str(model.get("safe_mode", ""))


def deaths(daemon: Daemon) -> int:
    return daemon.log.count('level=ERROR msg="runner ')


@pytest.mark.parametrize("defect", [Defect.AT_FIRST_PROMPT, Defect.AT_LOAD, Defect.AT_TOKENS])
def test_an_illegal_instruction_is_gone_around_and_remembered(
    defect: Defect, tmp_path: Path
) -> None:
    libraries = broken_engine(tmp_path / "engine", defect)
    environ = {"LLAMA_CPP_LIB_PATH": str(libraries)}
    with running_daemon(tmp_path / "home", environ=environ) as daemon:
        make(daemon, "tiny", smollm2())
        first = answer(daemon, "tiny")
        assert first
        assert deaths(daemon) == 1
        assert "without AMX and repacked weights" in safe_mode(daemon)
        assert "SIGILL" in safe_mode(daemon)
        shown = olm(daemon.environ, "ps")
        assert b"warning: safe mode: " in shown.stderr
        (entry,) = [
            json.loads(line)
            for line in out(olm(daemon.environ, "ps", "--format", "json")).splitlines()
        ]
        assert entry["safe_mode"] == safe_mode(daemon)
    with running_daemon(tmp_path / "home", environ=environ) as daemon:
        seen = deaths(daemon)
        assert answer(daemon, "tiny") == first
        assert deaths(daemon) == seen
        assert "SIGILL" in safe_mode(daemon)
    (libraries / "libllama.so").touch()
