"""llama-cpp-python as a wheel: a prebuilt one from an index, or one compiled here by a plan.

pip's own cache knows a wheel by its source, not by the flags that it was compiled with: it would
give a CUDA build for a CPU one. So wheels are kept here, by everything that went into them.
"""

import collections
import hashlib
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from olmkit.engine.facts.processor import Processor
from olmkit.engine.install.buildprogress import Progress, say
from olmkit.engine.install.compiler import Compiler
from olmkit.engine.install.plan import AMX_HEADER, Plan
from olmkit.engine.install.recordedfacts import facts_template
from olmkit.engine.install.refusal import InstallFailed

PACKAGE: Final = "llama-cpp-python"
_HOOK: Final = Path(__file__).with_name("engine.cmake")
_LOG_LINES_SHOWN: Final = 30
_LEAN: Final = {
    # llama.cpp's multimodal library and command-line library are not loaded by the runner.
    "LLAVA_BUILD": "OFF",
    "CMAKE_PROJECT_llama_cpp_INCLUDE": str(_HOOK),
    # Once into the folder that Python loads from, not thrice by name and again beside it.
    "CMAKE_INSTALL_LIBDIR": "llama_cpp/lib",
    "CMAKE_INSTALL_BINDIR": "llama_cpp/lib",
    "CMAKE_PLATFORM_NO_VERSIONED_SONAME": "ON",
}


class CompileFailed(Exception):
    """The compiler, or what is around it, gave up; the message is the end of its output."""


def requirement() -> str:
    """The version of llama-cpp-python that olm needs, as a requirement."""
    try:
        needs = importlib.metadata.requires("olmkit") or []
    except importlib.metadata.PackageNotFoundError:
        with open(Path(__file__).resolve().parents[2] / "pyproject.toml", "rb") as file:
            needs = tomllib.load(file)["project"]["dependencies"]
    return next(need for need in needs if need.startswith(PACKAGE))


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where compiled engines are kept."""
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "olm" / "engines"


def install_prebuilt() -> bool:
    """Installs a wheel from the indexes that pip is configured with; False: there is none."""
    with tempfile.TemporaryDirectory(prefix="olm-prebuilt-") as folder:
        # A download, since an install would take what is there already for an answer.
        options = ["--no-deps", "--only-binary", PACKAGE, "-d", folder]
        if _pip("download", "-q", *options, requirement()).returncode:
            return False
        install_wheel(next(Path(folder).iterdir()))
    return True


def compile_wheel(plan: Plan, compiler: Compiler, processor: Processor) -> Path:
    """The wheel of a plan, compiled unless it was before.

    Raises:
        CompileFailed: it does not compile.
        InstallFailed: pip cannot get the sources.
    """
    folder = cache_folder() / _key(plan, compiler, processor)
    if kept := next(folder.glob("*.whl"), None):
        say(f"compiled before, taken from {folder}")
        return kept
    target = "any processor of its kind" if plan.is_portable else processor.model
    say(f"compiling llama.cpp with {compiler.name} for {target}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder.parent) as scratch:
        template = Path(scratch, "facts.json")
        template.write_text(facts_template(plan, processor), "utf-8")
        lean = _LEAN | {"OLM_ENGINE_FACTS": str(template)}
        options = cmake_options(plan, os.environ, lean)
        made = Path(scratch, "wheel")
        _build(made, os.environ | {"CMAKE_ARGS": shlex.join(options)})
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return next(folder.glob("*.whl"))


def install_wheel(wheel: Path) -> None:
    """Installs a wheel of this module in place of what is there.

    Raises:
        InstallFailed: pip could not.
    """
    # The second time for what the wheel needs. Captured: pip would complain that olm's own
    # dependencies are not there yet.
    for options in (["--force-reinstall", "--no-deps"], []):
        done = _pip("install", "-q", *options, str(wheel))
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()
            raise InstallFailed(f"pip could not install {wheel.name}:\n{reason}")


def cmake_options(
    plan: Plan, environ: Mapping[str, str], others: Mapping[str, str] | None = None
) -> list[str]:
    """CMake's command-line options of a plan; the user's `CMAKE_ARGS` come last and win.

    Compiler flags are joined with those of `CFLAGS`, `CXXFLAGS` and `CMAKE_ARGS`, which they
    would replace otherwise.
    """
    given = shlex.split(environ.get("CMAKE_ARGS", ""))
    ours = [f"-D{name}={value}" for name, value in {**plan.definitions, **(others or {})}.items()]
    flags = shlex.join(plan.compiler_flags)
    if flags:
        for language, variable in (("C", "CFLAGS"), ("CXX", "CXXFLAGS")):
            start = re.compile(rf"-DCMAKE_{language}_FLAGS(:\w+)?=")
            theirs = [start.sub("", one) for one in given if start.match(one)]
            given = [one for one in given if not start.match(one)]
            before = theirs[-1] if theirs else environ.get(variable, "")
            ours.append(f"-DCMAKE_{language}_FLAGS={f'{before} {flags}'.strip()}")
    return ours + given


def _key(plan: Plan, compiler: Compiler, processor: Processor) -> str:
    """A name for everything that decides what comes out of a compilation."""
    parts = [
        requirement(),
        compiler.id,
        compiler.version,
        processor.machine,
        plan.features,
        # Wherever the header lies: its text is what counts.
        [one.replace(str(AMX_HEADER), AMX_HEADER.name) for one in cmake_options(plan, os.environ)],
        AMX_HEADER.read_text("utf-8") if plan.compiler_flags else "",
        _HOOK.read_text("utf-8"),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _build(folder: Path, environ: Mapping[str, str]) -> None:
    """Makes the wheel in a folder, with progress on standard output."""
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--progress-bar", "off", "--no-deps"]
    command += ["--no-cache-dir", "--no-binary", PACKAGE, "-w", str(folder), requirement()]
    progress = Progress()
    last: collections.deque[str] = collections.deque(maxlen=_LOG_LINES_SHOWN)
    has_begun = False
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    ) as pip:  # fmt: skip
        assert pip.stdout is not None
        try:
            for line in pip.stdout:
                last.append(line)
                has_begun = has_begun or "Configuring CMake" in line
                progress.feed(line)
        except BaseException:
            pip.terminate()
            raise
        finally:
            progress.close()
    if pip.returncode == 0:
        return
    text = "".join(last).strip()
    if has_begun:
        raise CompileFailed(text)
    raise InstallFailed(
        f"pip could not get the sources of {PACKAGE}:\n{text}",
        hint="check the network and pip's index (pip config list)",
    )


def _pip(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, check=False)
