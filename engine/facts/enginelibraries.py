"""Where llama.cpp's shared libraries are, without loading them.

llama-cpp-python keeps them in `llama_cpp/lib`; its variable `LLAMA_CPP_LIB_PATH` names another
directory.
Source: llama-cpp-python, llama_cpp/llama_cpp.py and _ctypes_extensions.py.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Final

VARIABLE: Final = "LLAMA_CPP_LIB_PATH"
_BACKENDS: Final = re.compile(
    r"libggml-(cann|cuda|hip|metal|musa|opencl|openvino|rpc|sycl|vulkan|webgpu)\b"
)
_MOST_FILES: Final = 1000
"""Files of one directory that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLibraries:
    """The libraries that runners load."""

    installed: Path | None
    """The directory in the package; None: llama-cpp-python is not installed."""
    chosen: Path | None
    """The directory that the user chose instead; None: the installed one is used."""

    @property
    def directory(self) -> Path | None:
        """The one that is used."""
        return self.chosen or self.installed

    @property
    def has_fallback(self) -> bool:
        """Whether there are others than those that the user chose."""
        return self.chosen is not None and self.installed not in (None, self.chosen)

    @property
    def has_device_backend(self) -> bool:
        """Whether it can compute on anything but the processor of this machine."""
        return any(_BACKENDS.match(path.name) for path in self.files())

    @property
    def fingerprint(self) -> str:
        """Another one as soon as a library is built or installed anew."""
        seen = [(path.name, *_identity(path)) for path in self.files()]
        return hashlib.sha256(repr(seen).encode()).hexdigest()[:32]

    def files(self) -> list[Path]:
        """The shared libraries, by name; none where the directory cannot be read."""
        if self.directory is None:
            return []
        try:
            names = sorted(path for path in self.directory.iterdir() if _is_library(path))
        except OSError:
            return []
        return names[:_MOST_FILES]


def find_libraries(chosen: Path | None) -> EngineLibraries:
    """The libraries of this environment; `chosen`: what `LLAMA_CPP_LIB_PATH` says."""
    # Not importlib.util.find_spec: it answers with what was imported, if anything was.
    spec = PathFinder.find_spec("llama_cpp")
    places = list(spec.submodule_search_locations or ()) if spec else []
    installed = Path(places[0]) / "lib" if places else None
    return EngineLibraries(installed=installed, chosen=chosen)


def _is_library(path: Path) -> bool:
    return path.name.startswith("lib") and {".so", ".dylib"} & set(path.suffixes) != set()


def _identity(path: Path) -> tuple[int, int]:
    """Size and time of change, in ns: hashing a CUDA engine takes seconds, this nothing."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_size, found.st_mtime_ns)
