"""How the engine was built, as the set-up that built it wrote down beside the libraries.

`olm-engine.json` in the directory of llama.cpp's shared libraries is one JSON object:

    schema                  1
    llama_cpp_python        version
    compiler                {"id": "GNU", "version": "12.2.0"}
    c_flags                 what was added to the compiler's flags
    cpu                     {"model": …, "flags": […]} of the machine, if built for that one
    backends                ["cpu", "cuda"]
    portable                true: one library a microarchitecture, chosen when it starts
    workarounds             sentences: what was turned off or mended, and why
    built_at                RFC 3339

A prebuilt wheel has none: then nothing is known. Fields that are missing or of another type count
as not said; other fields are ignored.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FILE_NAME: Final = "olm-engine.json"
SCHEMA: Final = 1
_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBuild:
    """What the file says; empty where it says nothing."""

    llama_cpp_python: str = ""
    compiler: str = ""
    """`GNU 12.2.0`."""
    c_flags: str = ""
    built_for: str = ""
    """The processor, where the build was for it."""
    built_for_flags: frozenset[str] = frozenset()
    """In the words of `Processor.flags`."""
    backends: tuple[str, ...] = ()
    is_portable: bool = False
    workarounds: tuple[str, ...] = ()
    built_at: str = ""


def read_build(libraries: Path | None) -> EngineBuild | None:
    """How the libraries of that directory were built; None: nobody wrote it down."""
    if libraries is None:
        return None
    try:
        with open(libraries / FILE_NAME, "rb") as file:
            said = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("schema") != SCHEMA:
        return None
    compiler, cpu = _object(said, "compiler"), _object(said, "cpu")
    return EngineBuild(
        llama_cpp_python=_text(said, "llama_cpp_python"),
        compiler=f"{_text(compiler, 'id')} {_text(compiler, 'version')}".strip(),
        c_flags=_text(said, "c_flags"),
        built_for=_text(cpu, "model"),
        built_for_flags=frozenset(_texts(cpu, "flags")),
        backends=tuple(_texts(said, "backends")),
        is_portable=said.get("portable") is True,
        workarounds=tuple(_texts(said, "workarounds")),
        built_at=_text(said, "built_at"),
    )


def _object(said: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = said.get(name)
    return value if isinstance(value, dict) else {}


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _texts(said: Mapping[str, Any], name: str) -> list[str]:
    value = said.get(name)
    if isinstance(value, str):  # flags as /proc/cpuinfo has them
        return value.split()
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
