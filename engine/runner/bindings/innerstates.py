"""The states of a model from which heads in its own file guess further tokens (MTP, "NextN").

The functions are C++ of llama.cpp, outside of its C API: they are called by the names that
compilers on Linux and macOS give them. Where the library lacks one, or a field of the API that goes
with them, there are no such guesses.

Source: llama.cpp, src/llama-ext.h.
"""

import ctypes
from typing import Any, Final

from olmkit.engine.runner.bindings.library import NativeError, api

_SETTER: Final = "_Z26llama_set_embeddings_nextnP13llama_contextbb"
_GETTER: Final = "_Z26llama_get_embeddings_nextnP13llama_context"
_ROW_GETTER: Final = "_Z30llama_get_embeddings_nextn_ithP13llama_contexti"
CONTEXT_OF_HEAD: Final = 1
"""A number of llama.cpp's `enum llama_context_type`: LLAMA_CONTEXT_TYPE_MTP."""


def are_available() -> bool:
    """Whether this llama.cpp gives the states and computes heads."""
    is_described = hasattr(api.llama_model_params, "load_mtp") and hasattr(
        api.llama_context_params, "ctx_type"
    )
    return is_described and all(hasattr(api._lib, name) for name in (_SETTER, _GETTER, _ROW_GETTER))


def keep(context: Any, *, of_outputs_only: bool) -> None:
    """Lets a context, a handle, keep the states of each step until the next one."""
    setter = api._lib[_SETTER]
    setter.argtypes, setter.restype = [ctypes.c_void_p, ctypes.c_bool, ctypes.c_bool], None
    setter(context, True, of_outputs_only)


def first_address(context: Any) -> int:
    """Where the states of all tokens of the last step lie, one after the other.

    Raises:
        NativeError: there are none.
    """
    getter = api._lib[_GETTER]
    getter.argtypes, getter.restype = [ctypes.c_void_p], ctypes.c_void_p
    return _checked(getter(context))


def address(context: Any, index: int) -> int:
    """Where the state of an output of the last step lies.

    Raises:
        NativeError: there is none.
    """
    getter = api._lib[_ROW_GETTER]
    getter.argtypes, getter.restype = [ctypes.c_void_p, ctypes.c_int32], ctypes.c_void_p
    return _checked(getter(context, index))


def _checked(found: int | None) -> int:
    if not found:
        raise NativeError("no inner states were kept")
    return found
