"""Engines with real defects: the request is answered, the user hears of it, and it is kept."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.brokenengine import Defect, broken_engine, broken_package, mend
from support.daemon import Daemon, running_daemon
from support.models import minilm_gguf, tiny_chat
from support.olm import olm, out

ASK = {"prompt": "Say hi", "stream": False, "options": {"num_predict": 4, "temperature": 0}}


def make(daemon: Daemon, name: str, path: Path) -> None:
    short = "PARAMETER num_predict 8\n"
    # What the engine does when a model runs is tried here, not at its creation.
    words = ("create", "--no-try-load", name, "-f", "-")
    out(olm(daemon.environ, *words, stdin=f"FROM {path}\n{short}"))


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
def test_an_illegal_instruction_is_gone_around_shown_and_remembered(
    defect: Defect, tmp_path: Path
) -> None:
    libraries = broken_engine(tmp_path / "engine", defect)
    environ = {"LLAMA_CPP_LIB_PATH": str(libraries)}
    with running_daemon(tmp_path / "home", environ=environ) as daemon:
        make(daemon, "tiny", tiny_chat())
        first = answer(daemon, "tiny")
        assert first
        assert deaths(daemon) == 1
        caveat = safe_mode(daemon)
        assert "without AMX and repacked weights" in caveat
        assert "SIGILL" in caveat
        shown = olm(daemon.environ, "ps")
        assert f"warning: {caveat}\n" in shown.stderr.decode()
        assert json.loads(out(olm(daemon.environ, "ps", "--format", "json")))["safe_mode"] == caveat
        assert caveat in daemon.log
    with running_daemon(tmp_path / "home", environ=environ) as daemon:
        assert answer(daemon, "tiny") == first
        assert deaths(daemon) == 0
        assert safe_mode(daemon) == caveat


def test_an_engine_that_was_built_anew_gets_its_chance(tmp_path: Path) -> None:
    libraries = broken_engine(tmp_path / "engine", Defect.AT_FIRST_PROMPT)
    with running_daemon(
        tmp_path / "home", environ={"LLAMA_CPP_LIB_PATH": str(libraries)}
    ) as daemon:
        make(daemon, "tiny", tiny_chat())
        answer(daemon, "tiny")
        assert olm(daemon.environ, "stop", "tiny").returncode == 0
        mend(libraries)
        answer(daemon, "tiny")
        assert safe_mode(daemon) == ""
        assert deaths(daemon) == 1


def test_requests_side_by_side_are_all_answered_after_one_death(tmp_path: Path) -> None:
    libraries = broken_engine(tmp_path / "engine", Defect.AT_FIRST_PROMPT)
    with running_daemon(
        tmp_path / "home", environ={"LLAMA_CPP_LIB_PATH": str(libraries)}
    ) as daemon:
        make(daemon, "tiny", tiny_chat())
        status, _ = daemon.request("POST", "/api/generate", {"model": "tiny"})
        assert status == 200
        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(lambda _: answer(daemon, "tiny"), range(6)))
        assert all(answers)
        assert deaths(daemon) == 1


def test_a_stream_is_answered_as_well(tmp_path: Path) -> None:
    libraries = broken_engine(tmp_path / "engine", Defect.AT_FIRST_PROMPT)
    with running_daemon(
        tmp_path / "home", environ={"LLAMA_CPP_LIB_PATH": str(libraries)}
    ) as daemon:
        make(daemon, "tiny", tiny_chat())
        done = olm(daemon.environ, "run", "tiny", "Say hi")
        assert out(done).strip()


def test_embeddings_are_computed_in_the_safe_mode_too(tmp_path: Path) -> None:
    libraries = broken_engine(tmp_path / "engine", Defect.AT_FIRST_PROMPT)
    with running_daemon(
        tmp_path / "home", environ={"LLAMA_CPP_LIB_PATH": str(libraries)}
    ) as daemon:
        make(daemon, "mini", minilm_gguf())
        status, body = daemon.request("POST", "/api/embed", {"model": "mini", "input": ["a", "b"]})
        assert status == 200, body
        assert [len(vector) for vector in json.loads(body)["embeddings"]] == [384, 384]
        assert deaths(daemon) == 1
        assert "SIGILL" in safe_mode(daemon)


def test_tokens_are_counted_in_the_safe_mode_too(tmp_path: Path) -> None:
    libraries = broken_engine(tmp_path / "engine", Defect.AT_TOKENS)
    with running_daemon(
        tmp_path / "home", environ={"LLAMA_CPP_LIB_PATH": str(libraries)}
    ) as daemon:
        make(daemon, "tiny", tiny_chat())
        status, body = daemon.request("POST", "/api/tokenize", {"model": "tiny", "prompt": "hi"})
        assert status == 200, body
        assert json.loads(body)["tokens"]
        assert deaths(daemon) == 1


@pytest.mark.parametrize("defect", [Defect.ABSENT_LIBRARY, Defect.ABSENT_FUNCTION])
def test_chosen_libraries_that_cannot_be_loaded_give_way_to_the_installed_ones(
    defect: Defect, tmp_path: Path
) -> None:
    missing = "libabsent.so" if defect is Defect.ABSENT_LIBRARY else "absent_function"
    libraries = broken_engine(tmp_path / "engine", defect)
    environ = {"LLAMA_CPP_LIB_PATH": str(libraries)}
    with running_daemon(tmp_path / "home", environ=environ) as daemon:
        make(daemon, "tiny", tiny_chat())
        assert answer(daemon, "tiny")
        assert "with the installed libraries instead of" in safe_mode(daemon)
        assert missing in safe_mode(daemon)
        assert deaths(daemon) == 1
        status, body = daemon.request("POST", "/api/tokenize", {"model": "tiny", "prompt": "hi"})
        assert status == 200, body
        assert deaths(daemon) == 1  # known by now
    # What was missing may be there tomorrow: it is tried again by the next daemon.
    assert not (tmp_path / "home" / "cache" / "engine-findings.json").exists()


def test_chosen_libraries_that_always_die_give_way_to_the_installed_ones(tmp_path: Path) -> None:
    libraries = broken_engine(tmp_path / "engine", Defect.ALWAYS)
    with running_daemon(
        tmp_path / "home", environ={"LLAMA_CPP_LIB_PATH": str(libraries)}
    ) as daemon:
        make(daemon, "tiny", tiny_chat())
        assert answer(daemon, "tiny")
        assert deaths(daemon) == 2
        assert "with the installed libraries instead of" in safe_mode(daemon)


@pytest.mark.parametrize(
    ("defect", "died", "why"),
    [
        (Defect.ALWAYS, 2, "it was killed by SIGILL, an illegal instruction, in the safe mode too"),
        (Defect.ABSENT_LIBRARY, 1, "libabsent.so: cannot open shared object file"),
        (Defect.ABSENT_FUNCTION, 1, "undefined symbol: absent_function"),
    ],
)
def test_an_engine_that_dies_in_every_mode_is_one_sentence_and_the_command_that_mends_it(
    defect: Defect, died: int, why: str, tmp_path: Path
) -> None:
    site = broken_package(tmp_path / "engine", defect)
    with running_daemon(tmp_path / "home", environ={"PYTHONPATH": str(site)}) as daemon:
        make(daemon, "tiny", tiny_chat())
        done = olm(daemon.environ, "run", "tiny", "Say hi")
        assert done.returncode == 7
        error, hint = done.stderr.decode().splitlines()
        assert error.startswith("Error: the engine cannot run tiny:latest on this machine: it ")
        assert why in error
        assert hint.startswith("hint: build it for this machine: ")
        assert hint.endswith(" -m olmkit.engine.install --build native")
        assert deaths(daemon) == died
        assert not daemon.runners()
        status, body = daemon.request("POST", "/api/tokenize", {"model": "tiny", "prompt": "hi"})
        if defect is not Defect.ALWAYS:
            assert (status, json.loads(body)["code"]) == (500, "engine_unusable")
        assert not (tmp_path / "home" / "cache" / "engine-findings.json").exists()


@pytest.mark.parametrize("defect", [Defect.QUANTIZER, Defect.ABSENT_LIBRARY])
def test_a_quantizer_that_dies_gives_way_to_the_installed_one(
    defect: Defect, tmp_path: Path
) -> None:
    libraries = broken_engine(tmp_path / "engine", defect)
    with running_daemon(
        tmp_path / "home", environ={"LLAMA_CPP_LIB_PATH": str(libraries)}
    ) as daemon:
        done = olm(
            daemon.environ, "create", "-q", "q8_0", "m", "-f", "-", stdin=f"FROM {minilm_gguf()}\n"
        )
        assert done.returncode == 0, done.stderr
        assert "starting the quantizer again in the safe mode" in daemon.log
        details = json.loads(out(olm(daemon.environ, "ls", "--format", "json")))
        assert details["name"] == "m:latest"


def test_a_quantizer_that_always_dies_says_what_mends_it(tmp_path: Path) -> None:
    site = broken_package(tmp_path / "engine", Defect.QUANTIZER)
    with running_daemon(tmp_path / "home", environ={"PYTHONPATH": str(site)}) as daemon:
        done = olm(
            daemon.environ, "create", "-q", "q8_0", "m", "-f", "-", stdin=f"FROM {minilm_gguf()}\n"
        )
        assert done.returncode == 7
        *_, error, hint = done.stderr.decode().splitlines()
        assert "was killed by SIGILL" in error
        assert hint.endswith(" -m olmkit.engine.install --build native")


def test_another_death_is_no_matter_of_the_safe_mode(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "home") as daemon:
        make(daemon, "tiny", tiny_chat())
        answer(daemon, "tiny")
        (runner,) = daemon.runners()
        os.kill(runner.pid, signal.SIGSEGV)
        runner.wait()
        assert answer(daemon, "tiny")
        assert safe_mode(daemon) == ""
        assert not (tmp_path / "home" / "cache" / "engine-findings.json").exists()


def test_an_answer_that_was_cut_short_is_an_error_and_the_next_one_works(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "home") as daemon:
        make(daemon, "tiny", tiny_chat())
        ask = {"model": "tiny", "prompt": "Count.", "options": {"num_predict": 4000}}
        with daemon.stream("POST", "/api/generate", ask) as response:
            assert json.loads(response.readline())["done"] is False
            (runner,) = daemon.runners()
            os.kill(runner.pid, signal.SIGILL)
            lines = [json.loads(line) for line in response.read().splitlines()]
        assert "died while tiny:latest answered, and was started again" in lines[-1]["error"]
        assert answer(daemon, "tiny")
        assert deaths(daemon) == 1


def test_an_engine_that_says_it_is_for_another_processor_is_told_of_before_its_answer(
    tmp_path: Path,
) -> None:
    libraries = broken_engine(tmp_path / "engine", Defect.FOREIGN)
    environ = {"LLAMA_CPP_LIB_PATH": str(libraries)}
    with running_daemon(tmp_path / "home", environ=environ) as daemon:
        make(daemon, "tiny", tiny_chat())
        status, _ = daemon.request("POST", "/api/generate", {"model": "tiny"})  # loads it
        assert status == 200
        assert "the engine was built with " in daemon.log
        assert ", which this processor (" in daemon.log
        done = olm(daemon.environ | environ, "doctor")
        assert done.returncode == 1
        assert b"the engine was built with " in done.stdout
