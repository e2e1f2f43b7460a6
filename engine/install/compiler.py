"""The C++ compiler that will be used, what is wrong with it, and what it makes of a processor."""

import os
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

_PROBE_TIMEOUT_S: Final = 60

_MACROS: Final = {
    "abm": "LZCNT",
    "bmi1": "BMI",
    "pclmulqdq": "PCLMUL",
    "pni": "SSE3",
    "rdrand": "RDRND",
    "sha_ni": "SHA",
    "asimddp": "ARM_FEATURE_DOTPROD",
    "asimdhp": "ARM_FEATURE_FP16_VECTOR_ARITHMETIC",
    "i8mm": "ARM_FEATURE_MATMUL_INT8",
    "sve": "ARM_FEATURE_SVE",
    "sve2": "ARM_FEATURE_SVE2",
}
"""Features of /proc/cpuinfo whose macro is not simply their name in capitals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """A C++ compiler."""

    command: tuple[str, ...]
    id: str
    """`GNU`, `Clang` or `AppleClang`, as CMake names them; else `unknown`."""
    version: tuple[int, ...]

    @property
    def name(self) -> str:
        """For messages: `GCC 12.2.0`."""
        return f"{'GCC' if self.id == 'GNU' else self.id} {self.number}".strip()

    @property
    def number(self) -> str:
        """`12.2.0`, as CMake writes it."""
        return ".".join(map(str, self.version))

    @property
    def miscompiles_amx(self) -> bool:
        """Whether its `_tile_loadconfig` loses bytes (https://gcc.gnu.org/PR114098)."""
        if self.id != "GNU":
            return False
        return self.version < (12, 4) or (13,) <= self.version < (13, 3)


def find_compiler(environ: Mapping[str, str] = os.environ) -> Compiler | None:
    """The compiler that CMake would take: `$CXX`, else `c++`; None where it does not run."""
    command = tuple(shlex.split(environ.get("CXX", ""))) or ("c++",)
    macros = _macros(command, ())
    if macros is None:
        return None
    if "__clang__" in macros:
        identity = "AppleClang" if "__apple_build_version__" in macros else "Clang"
        names = ("__clang_major__", "__clang_minor__", "__clang_patchlevel__")
    elif "__GNUC__" in macros:
        identity, names = "GNU", ("__GNUC__", "__GNUC_MINOR__", "__GNUC_PATCHLEVEL__")
    else:
        return Compiler(command=command, id="unknown", version=())
    return Compiler(
        command=command, id=identity, version=tuple(int(macros[name]) for name in names)
    )


def compiled_features(
    compiler: Compiler, options: Iterable[str], flags: Iterable[str]
) -> tuple[str, ...]:
    """Which features of /proc/cpuinfo the compiler uses, given its options (`-march=native`)."""
    macros = _macros(compiler.command, tuple(options)) or {}
    return tuple(sorted(flag for flag in flags if _spellings(flag) & macros.keys()))


def _spellings(flag: str) -> set[str]:
    name = _MACROS.get(flag, flag.upper())
    return {f"__{name}__", f"__{name.replace('_', '')}__", f"__{name}"}


def _macros(command: tuple[str, ...], options: tuple[str, ...]) -> dict[str, str] | None:
    """What the compiler defines before the first line of a file; None where it does not run."""
    try:
        done = subprocess.run(
            [*command, *options, "-dM", "-E", "-x", "c++", os.devnull],
            capture_output=True,
            text=True,
            check=True,
            timeout=_PROBE_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    defined = (line.split(None, 2)[1:] for line in done.stdout.splitlines())
    return {words[0]: words[1] if len(words) > 1 else "" for words in defined}
