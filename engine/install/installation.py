"""From what is asked for to an engine that was proven: keep, take, or compile and prove.

What does not run gives way to the next, more careful plan; nothing gives way in silence.
"""

import enum
import importlib
import os
from typing import Final

from olmkit.engine.facts.enginebuild import EngineBuild, read_build
from olmkit.engine.facts.enginelibraries import VARIABLE, find_libraries
from olmkit.engine.facts.processor import this_processor
from olmkit.engine.install.accelerators import TITLES, Accelerator, Machine, Selection, select
from olmkit.engine.install.buildprogress import say
from olmkit.engine.install.compiler import Compiler, find_compiler
from olmkit.engine.install.enginewheel import (
    CompileFailed,
    compile_wheel,
    install_prebuilt,
    install_wheel,
)
from olmkit.engine.install.plan import Plan, plans
from olmkit.engine.install.refusal import InstallFailed
from olmkit.engine.runner.selftest.proof import Proof, prove

_TITLES: Final = {"cpu": "CPU", **{one.value: title for one, title in TITLES.items()}}


class Build(enum.StrEnum):
    """For which machines an engine is built."""

    NATIVE = "native"
    PORTABLE = "portable"


class Installation:
    """One run: what was asked for, and what is known of this machine."""

    def __init__(self, *, is_chosen: bool, wanted: Accelerator | None, is_portable: bool) -> None:
        """Prepares one; `wanted` is an accelerator that must be, None: what this machine has.

        `is_chosen`: an engine of another kind than this must go.
        """
        self._is_chosen = is_chosen
        self._wanted = wanted
        self._is_portable = is_portable
        self._processor = this_processor()

    def run(self) -> None:
        """Leaves an engine that was proven.

        Raises:
            InstallFailed: there is none, and why.
        """
        if os.environ.get(VARIABLE):
            say(f"{VARIABLE} is set: olm uses those libraries, not the ones installed here")
        build, proof = _installed()
        if proof.failure is None and not self._is_chosen:
            _say(build, proof)
            return
        selection = select(self._wanted, Machine())
        if proof.failure is None and self._fits(build, selection):
            _say(build, proof)
            return
        if proof.failure is not None and not proof.lacks_engine:
            say(f"the one that is installed does not run: {proof.failure}")
        say(selection.note)
        if not self._is_chosen and install_prebuilt():
            build, proof = _installed()
            if proof.failure is None:
                _say(build, proof)
                return
            say(f"the prebuilt wheel does not run here: {proof.failure}")
        self._compile(selection)

    def _fits(self, build: EngineBuild | None, selection: Selection) -> bool:
        """Whether what is installed is what was asked for."""
        if build is None or build.is_portable != self._is_portable:
            return False
        wanted = {"cpu"} | {selection.accelerator.value} - {Accelerator.NONE.value}
        return set(build.backends) == wanted

    def _compile(self, selection: Selection) -> None:
        compiler = find_compiler()
        if compiler is None:
            raise InstallFailed(
                "llama.cpp cannot be compiled: there is no C++ compiler",
                hint="install one (Debian: apt-get install g++; Fedora: dnf install gcc-c++)",
            )
        failures = []
        for plan in self._plans(compiler, selection):
            failure = self._try(plan, compiler)
            if failure is None:
                return
            say(f"{plan.name}: {failure}")
            failures.append(f"{plan.name}: {failure.splitlines()[0]}")
        raise InstallFailed(
            f"no engine runs on this machine ({'; '.join(failures)})",
            hint="another compiler may help: CXX=clang++ CC=clang, or a prebuilt wheel of"
            " llama-cpp-python",
        )

    def _plans(self, compiler: Compiler, selection: Selection) -> list[Plan]:
        """All ways, those without the card after all others where nobody insisted on it."""
        found = plans(compiler, self._processor, selection, portable=self._is_portable)
        if self._wanted is None and selection.accelerator is not Accelerator.NONE:
            without = Selection(accelerator=Accelerator.NONE, definitions={}, note="")
            found += plans(compiler, self._processor, without, portable=self._is_portable)
        return found

    def _try(self, plan: Plan, compiler: Compiler) -> str | None:
        """Compiles, installs and proves; returns why the engine does not run, None when it does."""
        try:
            wheel = compile_wheel(plan, compiler, self._processor)
        except CompileFailed as error:
            return f"it did not compile\n{error}"
        install_wheel(wheel)
        build, proof = _installed()
        if proof.failure is not None:
            return f"it does not run: {proof.failure}"
        _say(build, proof)
        return None


def _installed() -> tuple[EngineBuild | None, Proof]:
    """The engine that is there: how it was built, where that is known, and whether it runs."""
    environ = {name: value for name, value in os.environ.items() if name != VARIABLE}
    importlib.invalidate_caches()
    return read_build(find_libraries(None).directory), prove(environ=environ)


def _say(build: EngineBuild | None, proof: Proof) -> None:
    """One line about an engine that runs, and one for each defect that was worked around."""
    made = "a prebuilt one" if build is None else f"by {build.compiler}, {_backends(build)}"
    say(f"llama.cpp runs here, {made}, on {', '.join(proof.devices)}, {_sets(proof)}")
    for workaround in build.workarounds if build else ():
        say(workaround)


def _backends(build: EngineBuild) -> str:
    names = [_TITLES.get(name, name) for name in build.backends]
    return f"for {' and '.join(names)}{', portable' if build.is_portable else ''}"


def _sets(proof: Proof) -> str:
    """`AVX2 FMA AVX512 …` out of llama.cpp's list."""
    words = [part.strip() for part in proof.system_info.replace(":", "|").split("|")]
    return " ".join(word.removesuffix(" = 1") for word in words if word.endswith(" = 1"))
