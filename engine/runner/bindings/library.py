"""The library itself: its import, its check, its log. The only module that imports llama_cpp.

Of llama-cpp-python only the low-level module is imported: its package would bring numpy, jinja2
and diskcache along (three times the start-up time, twice the memory).
"""

import ctypes
import enum
import functools
import importlib.util
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from olmkit.engine.facts.enginelibraries import EngineLibraries

_MOST_ERRORS: Final = 100
"""Error lines kept for `take_errors`: the first ones tell the cause."""
_AUTO: Final = -1
_F16: Final = 1


class NativeError(Exception):
    """llama.cpp refused something; the log lines of the call tell why."""


class LibraryUnusable(NativeError, ImportError):
    """llama.cpp cannot be used at all: a library is missing or broken, or of another version."""


class LogLevel(enum.IntEnum):
    """ggml's log levels."""

    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4


def _import_low_level() -> Any:
    """The module `llama_cpp.llama_cpp`, with an empty package in front of it.

    Raises:
        LibraryUnusable: it is not there, or the libraries that it loads are not.
    """
    if "llama_cpp" not in sys.modules:
        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or spec.submodule_search_locations is None:
            raise LibraryUnusable("llama-cpp-python is not installed")
        package = types.ModuleType("llama_cpp")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["llama_cpp"] = package
    try:
        from llama_cpp import llama_cpp as low_level
    except (OSError, RuntimeError, AttributeError) as error:
        # A library, or one that it needs, is not there; or a function is not in it.
        raise LibraryUnusable(f"llama.cpp cannot be loaded: {error}") from error
    # llguidance asks the package for what the low-level module has.
    vars(sys.modules["llama_cpp"]).setdefault("__getattr__", functools.partial(getattr, low_level))
    return low_level


api: Final = _import_low_level()
"""llama.h as ctypes functions and structures."""


def libraries() -> EngineLibraries:
    """Where the libraries are that were loaded."""
    directory = os.path.dirname(os.path.abspath(api._lib._name))
    return EngineLibraries(installed=Path(directory), chosen=None)


def system_info() -> str:
    """A line of what the engine was compiled for, or chose when it started."""
    return str(api.llama_print_system_info().decode(errors="replace").strip())


def version() -> str:
    """The engine's version, as it says itself."""
    return str(api.llama_version().decode(errors="replace"))


def initialize() -> None:
    """Starts llama.cpp; to be called once, before anything else here.

    Raises:
        LibraryUnusable: the library's structures are not those that the bindings describe: calls
            would pass garbage; or nothing of it runs on this processor.
    """
    model, context = api.llama_model_default_params(), api.llama_context_default_params()
    known = (
        model.n_gpu_layers == -1,
        model.load_mode == _AUTO,
        model.progress_callback_user_data is None,
        model.use_extra_bufts and not model.vocab_only and not model.no_alloc,
        (context.n_ctx, context.n_batch, context.n_ubatch, context.n_seq_max)
        == (512, 2048, 512, 1),
        (context.pooling_type, context.flash_attn_type) == (-1, -1),
        (context.type_k, context.type_v) == (_F16, _F16),
        context.offload_kqv and not context.embeddings and not context.kv_unified,
        not getattr(model, "load_mtp", False) and not getattr(context, "ctx_type", 0),
        (context.n_samplers, context.ctx_other) == (0, None),
    )
    if not all(known):
        version = api.llama_version().decode()
        raise LibraryUnusable(f"llama.cpp {version} does not match its Python bindings")
    _load_backends()
    api.llama_backend_init()


def _load_backends() -> None:
    """Loads the backends of an engine that keeps them in libraries apart (GGML_BACKEND_DL).

    Of several CPU libraries ggml takes the best that this processor can run. llama-cpp-python
    leaves this to its caller (https://github.com/abetlen/llama-cpp-python/issues/2069); other
    engines have their backends built in.
    """
    library = api._lib
    if not library.ggml_backend_dev_count():
        folder = libraries().directory
        assert folder is not None
        library.ggml_backend_load_all_from_path(ctypes.c_char_p(os.fsencode(folder)))
    if not library.ggml_backend_dev_count():
        raise LibraryUnusable("llama.cpp has no backend that runs on this processor")


class _Log:
    """Puts llama.cpp's log pieces together to lines and hands them on."""

    def __init__(self) -> None:
        self.sink: Callable[[LogLevel, str], None] | None = None
        self.errors: list[str] = []
        self._level = LogLevel.DEBUG
        self._text = b""
        # llama.cpp keeps only the pointer: without this reference the next line would crash.
        self.callback = api.llama_log_callback(self._on_piece)

    def _on_piece(self, level: int, text: bytes, _: object) -> None:
        if level in LogLevel._value2member_map_:
            self._end_line()  # the quantizer's lines are several messages, the last with the end
            self._level = LogLevel(level)
        self._text += text
        if self._text.endswith(b"\n"):
            self._end_line()

    def _end_line(self) -> None:
        line, self._text = self._text.decode(errors="replace").strip(), b""
        if not line or self._level is LogLevel.DEBUG:
            return
        if self._level is LogLevel.ERROR and len(self.errors) < _MOST_ERRORS:
            self.errors.append(line)
        if self.sink is not None and line.strip("."):
            self.sink(self._level, line)


_log: Final = _Log()
api.llama_log_set(_log.callback, None)


def set_log_sink(sink: Callable[[LogLevel, str], None]) -> None:
    """Hands each line that llama.cpp logs above DEBUG to `sink`, without its line end."""
    _log.sink = sink


def take_errors() -> list[str]:
    """The error lines that llama.cpp logged since the last call."""
    errors, _log.errors = _log.errors, []
    return errors
