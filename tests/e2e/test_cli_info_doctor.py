"""`olm info` and `olm doctor` as users run them: whole and broken installations."""

import json
import os
import socket
from pathlib import Path

import pytest

from support.brokenengine import Defect, broken_engine, broken_package
from support.daemon import free_port, running_daemon
from support.models import tiny_chat
from support.olm import olm, out

SHORT = "PARAMETER num_predict 4\n"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"OLM_HOME": str(tmp_path / "h"), "OLM_HOST": f"127.0.0.1:{free_port()}"}


def facts(environ: dict[str, str]) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(out(olm(environ, "info", "--json")))
    return found


def failures(environ: dict[str, str]) -> dict[str, str]:
    """What doctor finds wrong, by check, after checking that its exit code says the same."""
    done = olm(environ, "doctor", "--json")
    said = json.loads(done.stdout)
    failed = {c["name"]: c["text"] for c in said["checks"] if c["verdict"] == "failed"}
    assert done.returncode == bool(failed)
    assert said["ok"] is not bool(failed)
    assert all(check["hint"] for check in said["checks"] if check["verdict"] != "ok")
    return failed


def test_info_shows_the_engine_the_machine_and_where_settings_come_from(
    environ: dict[str, str],
) -> None:
    text = out(olm(environ | {"OLLAMA_KEEP_ALIVE": "7m"}, "info"))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "keep_alive_s 420 OLLAMA_KEEP_ALIVE" in lines
    assert "parallel 4 default" in lines
    assert "OLLAMA_KEEP_ALIVE 7m" in lines
    assert any(line.startswith("engine uses ") for line in lines)
    titles = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert titles == [
        *("Versions", "Engine", "Processor", "Devices", "Places", "Limits", "Settings"),
        "Environment",
    ]
    found = facts(environ)
    assert found["engine"]["backends"] == ["CPU"]
    assert found["daemon"]["version"] == ""
    assert not Path(environ["OLM_HOME"]).exists()


def test_info_shows_no_secret(environ: dict[str, str]) -> None:
    secrets = {"HF_TOKEN": "hf_abc", "HTTPS_PROXY": "http://me:word@proxy:3128"}
    for words in (["info"], ["info", "--json"], ["doctor"], ["doctor", "--json"]):
        said = olm(environ | secrets, *words).stdout.decode()
        assert "hf_abc" not in said
        assert "word" not in said.replace("password", "")
        assert "proxy:3128" in said


def test_a_running_daemon_is_shown_and_its_port_is_ours(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "home") as daemon:
        found = facts(daemon.environ)
        assert found["daemon"]["pid"] == daemon.process.pid
        assert found["daemon"]["version"] == found["versions"]["olm"]
        assert failures(daemon.environ) == {}
        assert f"it answers at {daemon.url}" in out(olm(daemon.environ, "doctor"))


def test_the_safe_mode_is_shown_by_both(tmp_path: Path) -> None:
    libraries = broken_engine(tmp_path / "engine", Defect.AT_FIRST_PROMPT)
    chosen = {"LLAMA_CPP_LIB_PATH": str(libraries)}
    with running_daemon(tmp_path / "home", environ=chosen) as daemon:
        out(olm(daemon.environ, "create", "m", "-f", "-", stdin=f"FROM {tiny_chat()}\n{SHORT}"))
        out(olm(daemon.environ, "run", "m", "hi"))
        environ = daemon.environ | chosen
        assert "SIGILL" in str(facts(environ)["engine"]["safe_mode"])
        done = olm(environ, "doctor")
        assert done.returncode == 0
        assert "without AMX and repacked weights" in done.stdout.decode()
        assert "-m olmkit.engine.install" in done.stdout.decode()


@pytest.mark.parametrize("defect", [Defect.ABSENT_LIBRARY, Defect.ABSENT_FUNCTION])
def test_an_engine_that_cannot_be_loaded_is_a_failure_and_all_else_is_shown(
    defect: Defect, environ: dict[str, str], tmp_path: Path
) -> None:
    broken = environ | {"PYTHONPATH": str(broken_package(tmp_path / "engine", defect))}
    assert "has no usable libraries" in failures(broken)["engine"]
    found = facts(broken)
    assert found["engine"]["survey"]["failure"]  # type: ignore[index]
    assert found["processor"]["model"]


def test_an_engine_that_dies_of_a_model_is_a_failure(
    environ: dict[str, str], tmp_path: Path
) -> None:
    broken = environ | {"PYTHONPATH": str(broken_package(tmp_path / "engine", Defect.ALWAYS))}
    assert "cannot run a model: it was killed by SIGILL" in failures(broken)["engine"]


def test_an_engine_for_another_processor_is_told_before_the_first_prompt(
    environ: dict[str, str], tmp_path: Path
) -> None:
    site = broken_package(tmp_path / "engine", Defect.AT_FIRST_PROMPT)
    build = {"schema": 1, "cpu": {"model": "Xeon of tomorrow", "flags": ["avx2", "amx_fp16"]}}
    (site / "llama_cpp" / "lib" / "olm-engine.json").write_text(json.dumps(build))
    here = environ | {"PYTHONPATH": str(site)}
    assert "built for Xeon of tomorrow with amx_fp16" in failures(here)["processor"]
    done = olm(here, "ls")  # starts the daemon
    try:
        assert done.returncode == 0
        warning, hint = done.stderr.decode().splitlines()
        assert warning.startswith("warning: the engine was built for Xeon of tomorrow")
        assert "olm doctor" in hint
        log = (Path(environ["OLM_HOME"]) / "logs" / "daemon.log").read_text()
        assert "the engine was built for Xeon of tomorrow" in log
        assert olm(here, "ls").stderr == b""  # told once, not with every command
    finally:
        olm(here, "serve", "--stop")


def test_a_port_of_another_program_is_a_failure(environ: dict[str, str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        busy = environ | {"OLM_HOST": f"127.0.0.1:{other.getsockname()[1]}"}
        assert "daemon" in failures(busy)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_that_cannot_be_written_is_a_failure(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "m").mkdir(mode=0o500)
    assert "cannot be written" in failures(environ | {"OLM_MODELS": str(tmp_path / "m")})["store"]


def test_a_file_in_the_place_of_the_store_is_a_failure(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "m").touch()
    assert "cannot be written" in failures(environ | {"OLM_MODELS": str(tmp_path / "m")})["store"]


def test_what_a_killed_daemon_left_is_told(environ: dict[str, str]) -> None:
    home = Path(environ["OLM_HOME"])
    home.mkdir()
    (home / "daemon.json").write_text('{"pid": 4194300, "address": "127.0.0.1:1"}')
    assert "process 4194300" in out(olm(environ, "doctor"))
