"""`python -m olmkit.engine.install`: from nothing or a dead engine to one that runs."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.engine.runner.selftest.proof import prove
from support.deadengine import (
    LIBRARIES,
    VERSION,
    dead_libraries,
    dead_source_package,
    environment_without_engine,
)
from support.wheels import write_wheel


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An environment of this test's own, to install an engine into."""
    return environment_without_engine(tmp_path / "venv")


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment in which nothing may get installed."""
    python = environment_without_engine(tmp_path_factory.mktemp("bare") / "venv")
    yield python
    assert prove(str(python)).lacks_engine


def _install(
    python: Path, folder: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OLM_")}
    environ |= {"XDG_CACHE_HOME": str(folder / "cache")} | variables
    return subprocess.run(
        [python, "-m", "olmkit.engine.install", *arguments],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


def _libraries(python: Path) -> Path:
    (found,) = python.parents[1].glob("lib/python3*/site-packages/llama_cpp/lib")
    return found


def test_the_engine_of_this_environment_is_proven_to_run() -> None:
    proof = prove()
    assert proof.failure is None
    assert proof.devices
    assert not proof.lacks_engine


def test_an_engine_that_dies_of_an_illegal_instruction_takes_only_the_child_with_it(
    tmp_path: Path,
) -> None:
    environ = os.environ | {"LLAMA_CPP_LIB_PATH": str(dead_libraries(tmp_path / "lib"))}
    failure = prove(environ=environ).failure
    assert failure in ("it was killed by SIGILL", "it was killed by SIGTRAP")  # x86, Arm


def test_libraries_that_cannot_be_loaded_are_a_reason(tmp_path: Path) -> None:
    (tmp_path / "libllama.so").write_bytes(b"no library")
    proof = prove(environ=os.environ | {"LLAMA_CPP_LIB_PATH": str(tmp_path)})
    assert proof.failure is not None
    assert "libllama.so" in proof.failure


def test_an_environment_without_an_engine_is_told_from_a_broken_one(bare_python: Path) -> None:
    proof = prove(str(bare_python))
    assert proof.lacks_engine
    assert proof.failure == "llama-cpp-python is not installed"


def test_an_engine_that_dies_is_compiled_again_more_carefully(python: Path, tmp_path: Path) -> None:
    packages = str(dead_source_package(tmp_path))
    done = _install(python, tmp_path, "--gpu", "none", PIP_FIND_LINKS=packages)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "engine: CPU, as asked for" in lines
    deaths = [line for line in lines if "it was killed by" in line]
    assert deaths[0].startswith("engine: for this processor: it does not run: ")
    assert any(line.startswith("engine: llama.cpp runs here, by ") for line in lines)
    facts = json.loads((_libraries(python) / "olm-engine.json").read_text())
    assert facts["llama_cpp_python"] == VERSION
    assert facts["cmake"]["GGML_NATIVE"] == "OFF"
    assert facts["workarounds"] == ["GGML_NATIVE off: the engine did not run with it"]
    assert prove(str(python)).failure is None

    again = _install(python, tmp_path, PIP_NO_INDEX="1")  # nothing to get, nothing to compile
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("engine: llama.cpp runs here, by ")


def test_a_prebuilt_wheel_is_used_as_it_is(python: Path, tmp_path: Path) -> None:
    files = {
        f"llama_cpp/{path.relative_to(LIBRARIES.parent)}": path.read_bytes()
        for path in LIBRARIES.parent.rglob("*")
        if path.suffix == ".py" or ".so" in path.suffixes
    }
    write_wheel(tmp_path / "wheels", "llama-cpp-python", VERSION, files)
    done = _install(python, tmp_path, PIP_FIND_LINKS=str(tmp_path / "wheels"))
    assert done.returncode == 0, done.stderr
    assert "engine: llama.cpp runs here, a prebuilt one, on " in done.stdout
    assert not (_libraries(python) / "olm-engine.json").exists()


def test_without_a_network_the_reason_and_what_to_do_are_said(
    bare_python: Path, tmp_path: Path
) -> None:
    done = _install(bare_python, tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS=str(tmp_path))
    assert done.returncode == 1
    assert "engine: pip could not get the sources of llama-cpp-python" in done.stderr
    assert "engine: hint: check the network and pip's index" in done.stderr


def test_a_toolkit_that_is_not_there_is_refused_before_anything_is_compiled(
    bare_python: Path, tmp_path: Path
) -> None:
    done = _install(
        bare_python, tmp_path, PATH="/nonexistent", OLM_GPU="rocm", ROCM_PATH="/nonexistent"
    )
    assert done.returncode == 1
    assert done.stderr.startswith("engine: ROCm cannot be built for: its toolkit was not found")


def test_an_unknown_kind_is_named(bare_python: Path, tmp_path: Path) -> None:
    done = _install(bare_python, tmp_path, OLM_GPU="abacus")
    assert done.returncode == 2
    assert "unknown --gpu 'abacus': one of auto, none, cuda" in done.stderr
