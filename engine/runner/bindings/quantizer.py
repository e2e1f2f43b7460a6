"""llama.cpp's quantizer: a file into a file."""

import ctypes
import os
from typing import Final

from olmkit.engine.runner.bindings.library import NativeError, api, take_errors

_DEFAULT_FILE_TYPE: Final = 7


def quantize(source: str, target: str, *, file_type: int, threads: int) -> None:
    """Write the model `source` to `target` with its matrices in another type.

    Blocks, logging a line a tensor. The log lines of a failure are in its message.

    Raises:
        NativeError: llama.cpp cannot read the source, write the target or make that type of it.
    Source: llama.cpp, include/llama.h, `llama_model_quantize`.
    """
    options = api.llama_model_quantize_default_params()
    if (options.ftype, options.quantize_output_tensor) != (_DEFAULT_FILE_TYPE, True):
        raise NativeError("llama.cpp's quantizer does not match its Python bindings")
    options.ftype, options.nthread = file_type, threads
    if api.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(options)):
        raise NativeError("; ".join(take_errors()) or "llama.cpp gave no reason")
