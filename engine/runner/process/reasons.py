"""Why llama.cpp did not load something, read out of its log lines.

Its C API says only that it failed. The first error line names the cause, in the words of the
source; known ones become a sentence, others are passed on as they are.
"""

import re
from collections.abc import Sequence
from typing import Final

from olmkit.engine.framing import printable
from olmkit.engine.runner.bindings import Model
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.protocol import FailureKind

_FUNCTION_PREFIX: Final = re.compile(r"^[\w:~]+: (?:error loading model: )?")
_OUT_OF_MEMORY: Final = re.compile(
    r"insufficient memory|out of memory|(?:failed|unable) to allocate|cannot allocate memory"
    r"|bad_alloc",
    re.IGNORECASE,
)
_UNKNOWN_ARCHITECTURE: Final = re.compile(r"unknown model architecture: '([^']*)'")
_OUTSIDE_FILE: Final = re.compile(r"tensor '([^']*)' data is not within the file bounds")
_BAD_HEADER: Final = re.compile(r"^(?:gguf_init\w*|read): (.*)")
_TELLS_NOTHING: Final = re.compile(r"failed to load model|^llama_model_load_from_file_impl")


def model_failure(errors: Sequence[str]) -> RequestFailed:
    """The failure of a model's file, from the error lines of its load."""
    text = "\n".join(errors)
    if _OUT_OF_MEMORY.search(text):
        return _out_of_memory("the model")
    if match := _UNKNOWN_ARCHITECTURE.search(text):
        message = f"unknown model architecture '{match[1]}'"
    elif match := _OUTSIDE_FILE.search(text):
        message = f"the file is truncated or corrupt: tensor '{match[1]}' ends beyond it"
    elif errors and (match := _BAD_HEADER.search(errors[0])):
        message = f"the file's GGUF header is truncated or corrupt: {match[1]}"
    else:
        message = f"the model cannot be loaded: {_first_cause(errors)}"
    return RequestFailed(FailureKind.BAD_MODEL, message)


def context_failure(errors: Sequence[str]) -> RequestFailed:
    """The failure to make a context for a model that was loaded."""
    if _OUT_OF_MEMORY.search("\n".join(errors)):
        return _out_of_memory("the context")
    return RequestFailed(
        FailureKind.BAD_REQUEST, f"the context cannot be created: {_first_cause(errors)}"
    )


def adapter_failure(path: str, errors: Sequence[str]) -> RequestFailed:
    """The failure of an adapter."""
    return RequestFailed(
        FailureKind.BAD_MODEL,
        f"the adapter {printable(path)} cannot be used: {_first_cause(errors)}",
    )


def _out_of_memory(what: str) -> RequestFailed:
    return RequestFailed(FailureKind.OUT_OF_MEMORY, f"there is not enough memory for {what}")


def _first_cause(errors: Sequence[str]) -> str:
    telling = [line for line in errors if not _TELLS_NOTHING.search(line)] or list(errors)
    if not telling:
        return "llama.cpp gave no reason"
    return _FUNCTION_PREFIX.sub("", telling[0]).rstrip(".")


def check_kind(model: Model) -> None:
    """Refuses models for which there is no loop here.

    Raises:
        RequestFailed: UNSUPPORTED.
    """
    architecture = model.metadata("general.architecture")
    if model.is_encoder_decoder:
        kind = "an encoder-decoder"
    elif model.is_diffusion:
        kind = "a diffusion"
    else:
        return
    raise RequestFailed(
        FailureKind.UNSUPPORTED, f"'{architecture}' is {kind} model, which olm cannot run yet"
    )
