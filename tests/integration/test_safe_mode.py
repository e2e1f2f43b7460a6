"""Engines with real defects: the request is answered, the user hears of it, and it is kept.

One daemon sees most of them: its engine is built anew for each test, and an engine that was built
anew is another one to it.
"""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.api import Api
from support.brokenengine import Defect, broken_engine, broken_package, mend, rebuild
from support.daemon import Daemon, running_daemon
from support.models import minilm_gguf, tiny_chat
from support.olm import olm, out
from support.randommodel import write_llama

ASK = {"prompt": "Say hi", "stream": False, "options": {"num_predict": 4, "temperature": 0}}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("weights") / "tiny.gguf")


def make(daemon: Daemon, name: str, path: Path) -> None:
    # What the engine does when a model runs is tried here, not at its creation.
    Api(daemon).create(name, path, parameters={"num_predict": 8}, try_load=False)


def answer(daemon: Daemon, name: str = "tiny") -> str:
    status, body = daemon.request("POST", "/api/generate", ASK | {"model": name})
    assert status == 200, (body, daemon.log)
    return str(json.loads(body)["response"])


def count_tokens(daemon: Daemon) -> tuple[int, bytes]:
    return daemon.request("POST", "/api/tokenize", {"model": "tiny", "prompt": "hi"})


def safe_mode(daemon: Daemon) -> str:
    """What `ps` says of the one loaded model; empty: it runs as it should."""
    _, body = daemon.request("GET", "/api/ps")
    (model,) = json.loads(body)["models"]
    return str(model.get("safe_mode", ""))


def deaths(log: str) -> int:
    return log.count('level=ERROR msg="runner ')


def findings(home: Path) -> Path:
    return home / "cache" / "engine-findings.json"


class Workshop:
    """A daemon whose engine is built anew while it runs; it has a model, `tiny`."""

    def __init__(self, home: Path, libraries: Path, environ: dict[str, str]) -> None:
        self._home = home
        self.library = libraries / "libllama.so"
        self._environ = environ
        self._stack = ExitStack()
        self.start()

    def start(self) -> None:
        self.daemon = self._stack.enter_context(running_daemon(self._home, environ=self._environ))
        self._log_begin = 0

    def stop(self) -> None:
        self._stack.close()

    def rebuild(self, defect: Defect | None) -> None:
        """Whatever is loaded from now on has a new engine with that defect, or a whole one."""
        self._forget()
        if defect is None:
            mend(self.library.parent)
        else:
            rebuild(self.library.parent, defect)

    def put_back(self, library: Path) -> None:
        """Whatever is loaded from now on has this engine again."""
        self._forget()
        library.replace(self.library)

    def _forget(self) -> None:
        api = Api(self.daemon)
        for name in api.running():
            assert api.post("/api/generate", {"model": name, "keep_alive": 0}).status == 200
        self._log_begin = len(self.daemon.log)

    @property
    def log(self) -> str:
        """What the daemon has said since the engine was changed."""
        return self.daemon.log[self._log_begin :]

    @property
    def deaths(self) -> int:
        return deaths(self.log)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Workshop]:
    """The libraries are those of LLAMA_CPP_LIB_PATH."""
    folder = tmp_path_factory.mktemp("chosen")
    libraries = broken_engine(folder / "engine", Defect.ALWAYS)
    mend(libraries)
    shop = Workshop(folder / "home", libraries, {"LLAMA_CPP_LIB_PATH": str(libraries)})
    make(shop.daemon, "tiny", weights)
    yield shop
    shop.stop()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Workshop]:
    """The libraries are those of the package, and there are no others."""
    folder = tmp_path_factory.mktemp("installed")
    site = broken_package(folder / "engine", Defect.ALWAYS)
    libraries = (site / "llama_cpp" / "lib").resolve()
    shop = Workshop(folder / "home", libraries, {"PYTHONPATH": str(site)})
    make(shop.daemon, "tiny", weights)
    yield shop
    shop.stop()


def test_an_illegal_instruction_is_gone_around_shown_and_remembered(
    chosen: Workshop, tmp_path: Path
) -> None:
    known: list[tuple[Path, str, str]] = []
    for defect in (Defect.AT_FIRST_PROMPT, Defect.AT_LOAD, Defect.AT_TOKENS):
        chosen.rebuild(defect)
        first = answer(chosen.daemon)
        assert first
        assert chosen.deaths == 1
        caveat = safe_mode(chosen.daemon)
        assert "without AMX and repacked weights" in caveat
        assert "SIGILL" in caveat
        assert caveat in chosen.log
        known.append((tmp_path / defect.name, first, caveat))
        shutil.copy2(chosen.library, known[-1][0])  # with its time: it is the same engine
    _, _, caveat = known[-1]
    shown = olm(chosen.daemon.environ, "ps")
    assert f"warning: {caveat}\n" in shown.stderr.decode()
    told = out(olm(chosen.daemon.environ, "ps", "--format", "json"))
    assert json.loads(told)["safe_mode"] == caveat
    chosen.stop()
    chosen.start()
    for library, first, caveat in known:
        chosen.put_back(library)
        assert answer(chosen.daemon) == first
        assert chosen.deaths == 0
        assert safe_mode(chosen.daemon) == caveat


def test_requests_side_by_side_are_all_answered_after_one_death(chosen: Workshop) -> None:
    """One of them is a stream."""
    chosen.rebuild(Defect.AT_FIRST_PROMPT)
    status, _ = chosen.daemon.request("POST", "/api/generate", {"model": "tiny"})
    assert status == 200
    with ThreadPoolExecutor(6) as threads:
        ask = {"model": "tiny", "prompt": "Say hi"}
        streamed = threads.submit(chosen.daemon.request, "POST", "/api/generate", ask)
        answers = list(threads.map(lambda _: answer(chosen.daemon), range(5)))
    assert all(answers)
    status, body = streamed.result()
    lines = [json.loads(line) for line in body.splitlines()]
    assert (status, lines[-1]["done"]) == (200, True)
    assert "".join(line["response"] for line in lines)
    assert chosen.deaths == 1


def test_a_command_that_streams_is_answered_as_well(chosen: Workshop) -> None:
    chosen.rebuild(Defect.AT_FIRST_PROMPT)
    assert out(olm(chosen.daemon.environ, "run", "tiny", "Say hi")).strip()
    assert chosen.deaths == 1


def test_embeddings_are_computed_in_the_safe_mode_too_and_a_mended_engine_gets_its_chance(
    chosen: Workshop,
) -> None:
    def embed() -> None:
        asked = {"model": "mini", "input": ["a", "b"]}
        status, body = chosen.daemon.request("POST", "/api/embed", asked)
        assert status == 200, body
        assert [len(vector) for vector in json.loads(body)["embeddings"]] == [384, 384]

    make(chosen.daemon, "mini", minilm_gguf())
    chosen.rebuild(Defect.AT_FIRST_PROMPT)
    embed()
    assert chosen.deaths == 1
    assert "SIGILL" in safe_mode(chosen.daemon)
    assert olm(chosen.daemon.environ, "stop", "mini").returncode == 0
    chosen.rebuild(None)
    embed()
    assert safe_mode(chosen.daemon) == ""
    assert chosen.deaths == 0


def test_tokens_are_counted_in_the_safe_mode_too(chosen: Workshop) -> None:
    chosen.rebuild(Defect.AT_TOKENS)
    status, body = count_tokens(chosen.daemon)
    assert status == 200, body
    assert json.loads(body)["tokens"]
    assert chosen.deaths == 1


@pytest.mark.parametrize("defect", [Defect.ABSENT_LIBRARY, Defect.ABSENT_FUNCTION])
def test_chosen_libraries_that_cannot_be_loaded_give_way_to_the_installed_ones(
    defect: Defect, tmp_path: Path, weights: Path
) -> None:
    missing = "libabsent.so" if defect is Defect.ABSENT_LIBRARY else "absent_function"
    libraries = broken_engine(tmp_path / "engine", defect)
    environ = {"LLAMA_CPP_LIB_PATH": str(libraries)}
    with running_daemon(tmp_path / "home", environ=environ) as daemon:
        make(daemon, "tiny", weights)
        assert answer(daemon)
        assert "with the installed libraries instead of" in safe_mode(daemon)
        assert missing in safe_mode(daemon)
        assert deaths(daemon.log) == 1
        status, body = count_tokens(daemon)
        assert status == 200, body
        assert deaths(daemon.log) == 1  # known by now
    # What was missing may be there tomorrow: it is tried again by the next daemon.
    assert not findings(tmp_path / "home").exists()


def test_chosen_libraries_that_always_die_give_way_to_the_installed_ones(
    chosen: Workshop,
) -> None:
    chosen.rebuild(Defect.ALWAYS)
    assert answer(chosen.daemon)
    assert chosen.deaths == 2
    assert "with the installed libraries instead of" in safe_mode(chosen.daemon)


def assert_unusable(daemon: Daemon, *, why: str) -> None:
    """An engine that dies in every mode is one sentence and the command that mends it."""
    done = olm(daemon.environ, "run", "tiny", "Say hi")
    assert done.returncode == 7
    error, hint = done.stderr.decode().splitlines()
    assert error.startswith("Error: the engine cannot run tiny:latest on this machine: it ")
    assert why in error
    assert hint.startswith("hint: build it for this machine: ")
    assert hint.endswith(" -m olmkit.engine.install --build native")
    assert not daemon.runners()
    assert not findings(daemon.home).exists()


def test_an_installed_engine_that_dies_in_every_mode_is_told_of(installed: Workshop) -> None:
    why = "it was killed by SIGILL, an illegal instruction, in the safe mode too"
    installed.rebuild(Defect.ALWAYS)
    assert_unusable(installed.daemon, why=why)
    assert installed.deaths == 2


@pytest.mark.parametrize(
    ("defect", "why"),
    [
        (Defect.ABSENT_LIBRARY, "libabsent.so: cannot open shared object file"),
        (Defect.ABSENT_FUNCTION, "undefined symbol: absent_function"),
    ],
)
def test_an_installed_engine_that_cannot_be_loaded_is_told_of(
    defect: Defect, why: str, tmp_path: Path, weights: Path
) -> None:
    site = broken_package(tmp_path / "engine", defect)
    with running_daemon(tmp_path / "home", environ={"PYTHONPATH": str(site)}) as daemon:
        make(daemon, "tiny", weights)
        assert_unusable(daemon, why=why)
        assert deaths(daemon.log) == 1
        status, body = count_tokens(daemon)
        assert (status, json.loads(body)["code"]) == (500, "engine_unusable")


@pytest.mark.parametrize("defect", [Defect.QUANTIZER, Defect.ABSENT_LIBRARY])
def test_a_quantizer_that_dies_gives_way_to_the_installed_one(
    chosen: Workshop, defect: Defect, weights: Path
) -> None:
    chosen.rebuild(defect)
    name = f"quantized-{defect.name.lower()}:latest"
    Api(chosen.daemon).create(name, weights, quantize="q8_0")
    assert "starting the quantizer again in the safe mode" in chosen.log
    _, body = chosen.daemon.request("GET", "/api/tags")
    assert name in [model["name"] for model in json.loads(body)["models"]]


def test_a_quantizer_that_always_dies_says_what_mends_it(
    installed: Workshop, weights: Path
) -> None:
    installed.rebuild(Defect.QUANTIZER)
    words = ("create", "-q", "q8_0", "m", "-f", "-")
    done = olm(installed.daemon.environ, *words, stdin=f"FROM {weights}\n")
    assert done.returncode == 7
    *_, error, hint = done.stderr.decode().splitlines()
    assert "was killed by SIGILL" in error
    assert hint.endswith(" -m olmkit.engine.install --build native")


def test_another_death_is_no_matter_of_the_safe_mode(chosen: Workshop) -> None:
    chosen.rebuild(None)
    before = findings(chosen.daemon.home).read_bytes()
    answer(chosen.daemon)
    (runner,) = chosen.daemon.runners()
    os.kill(runner.pid, signal.SIGSEGV)
    runner.wait()
    assert answer(chosen.daemon)
    assert safe_mode(chosen.daemon) == ""
    assert findings(chosen.daemon.home).read_bytes() == before


def test_an_answer_that_was_cut_short_is_an_error_and_the_next_one_works(
    chosen: Workshop,
) -> None:
    make(chosen.daemon, "chat", tiny_chat())
    chosen.rebuild(None)
    ask = {"model": "chat", "prompt": "Count.", "options": {"num_predict": 4000}}
    with chosen.daemon.stream("POST", "/api/generate", ask) as response:
        assert json.loads(response.readline())["done"] is False
        (runner,) = chosen.daemon.runners()
        os.kill(runner.pid, signal.SIGILL)
        lines = [json.loads(line) for line in response.read().splitlines()]
    assert "died while chat:latest answered, and was started again" in lines[-1]["error"]
    assert answer(chosen.daemon, "chat")
    assert chosen.deaths == 1


def test_an_engine_that_says_it_is_for_another_processor_is_told_of_before_its_answer(
    chosen: Workshop,
) -> None:
    chosen.rebuild(Defect.FOREIGN)
    status, _ = chosen.daemon.request("POST", "/api/generate", {"model": "tiny"})  # loads it
    assert status == 200
    assert "the engine was built with " in chosen.log
    assert ", which this processor (" in chosen.log
    environ = {"LLAMA_CPP_LIB_PATH": str(chosen.library.parent)}
    done = olm(chosen.daemon.environ | environ, "doctor")
    assert done.returncode == 1
    assert b"the engine was built with " in done.stdout
