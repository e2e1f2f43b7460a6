"""Quantizing GGUF models: llama.cpp's quantizer in a process of its own.

A crash, a hang or an allocation failure in there ends that process only, and cancelling is
killing it. The result is what `llama-quantize` of the same llama.cpp writes.
"""

import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from olmkit.engine.errors import ModelNotCreatable, OutOfMemory, RequestCancelled
from olmkit.engine.gguf.header import GgufHeader, read_header
from olmkit.engine.gguf.tensortypes import FILE_TYPES
from olmkit.engine.supervision.oomkills import NO_MEMORY, offer, oom_kills

OnProgress = Callable[[int, int], None]
"""Called with completed and total bytes."""

SOURCE_TYPES: Final = ("F16", "BF16", "F32")
_NOT_MADE: Final = frozenset({"NVFP4"})
"""File types that llama.cpp reads and its quantizer does not write."""
_ALIASES: Final = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4_MOE": "MXFP4"}
_NUMBERS: Final = {name: number for number, name in FILE_TYPES.items() if name not in _NOT_MADE}
_POLL_S: Final = 0.1
_OUTPUT_TAIL_BYTES: Final = 4096
_MESSAGE: Final = re.compile(r"^.*failed to quantize: ")


def type_name(text: str) -> str:
    """The canonical name of a quantization type, `Q4_K_M` for `q4_k_m` and for `Q4_K`.

    Raises:
        ModelNotCreatable: no such type; the message lists them.
    """
    name = _ALIASES.get(text.upper(), text.upper())
    if name not in _NUMBERS:
        raise ModelNotCreatable(
            f"unsupported quantization type {text[:80]} - "
            f"supported types are {', '.join(sorted(_NUMBERS))}"
        )
    return name


def quantize(
    source: Path,
    target: Path,
    type_text: str,
    *,
    threads: int = 0,
    on_progress: OnProgress | None = None,
    cancelled: threading.Event | None = None,
) -> None:
    """Write the GGUF model `source` to `target` in another type; whole or not at all.

    Works in a hidden directory beside `target`, the only thing that a kill leaves behind. Not
    synced to disk: the store does that with what it takes in.
    `threads`: 0 for as many as this process may use. `on_progress` gets bytes of the source done
    and in all, after each tensor. Blocks; for a thread of its own.

    Raises:
        ModelNotCreatable: unknown type, a source that is quantized already, or one that
            llama.cpp cannot make the type of (some need an importance matrix).
        OutOfMemory: the kernel killed it for that.
        ModelUnloadable: the source is no valid GGUF file.
        RequestCancelled: `cancelled` was set; within a fraction of a second.
    """
    name = type_name(type_text)
    header = read_header(source)
    if header.quantization not in SOURCE_TYPES:
        raise ModelNotCreatable(
            "quantization is only supported for F16, BF16 and F32 models",
            hint=f"this one is {header.quantization}: quantize the model it was made from",
        )
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        partial = Path(scratch) / "quantized"
        kills = oom_kills()
        with _worker(source, partial, _NUMBERS[name], threads) as worker:
            reason = _follow(worker, header, on_progress, cancelled)
            if worker.poll() == -signal.SIGKILL and oom_kills() > kills:
                raise OutOfMemory(f"quantizing to {name} was stopped by the system, {NO_MEMORY}")
        if reason is not None:
            raise ModelNotCreatable(_explain(reason, name))
        partial.chmod(0o644)
        os.replace(partial, target)


@contextmanager
def _worker(
    source: Path, target: Path, file_type: int, threads: int
) -> Iterator[subprocess.Popen[bytes]]:
    """The process; killed when the block ends early. Its error output follows its lines."""
    threads = threads or len(os.sched_getaffinity(0))
    module = "olmkit.engine.create.quantize_worker"
    worker = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            module,
            str(source),
            str(target),
            str(file_type),
            str(threads),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    offer(worker.pid)
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            if pipe:
                pipe.close()


def _follow(
    worker: subprocess.Popen[bytes],
    header: GgufHeader,
    on_progress: OnProgress | None,
    cancelled: threading.Event | None,
) -> str | None:
    """Read the worker's lines to the end: None for success, else why it failed."""
    sizes = {tensor.name: tensor.size_bytes for tensor in header.tensors}
    total, completed, begun, tail = sum(sizes.values()), 0, "", ""
    for line in _lines(worker, cancelled):
        word, _, rest = line.partition(" ")
        if word == "failed":
            return rest
        if word in ("tensor", "done"):
            completed += sizes.pop(begun, 0)
            begun = rest
            if on_progress:
                on_progress(completed, total)
            if word == "done":
                return None
        else:
            tail = f"{tail}\n{line}"[-_OUTPUT_TAIL_BYTES:]
    status = worker.wait()
    return f"the process ended with status {status}: {tail.strip()}"


def _lines(worker: subprocess.Popen[bytes], cancelled: threading.Event | None) -> Iterator[str]:
    """Lines as they come, looking at `cancelled` between them.

    Raises:
        RequestCancelled: it was set.
    """
    assert worker.stdout is not None
    descriptor = worker.stdout.fileno()
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            if cancelled and cancelled.is_set():
                raise RequestCancelled("quantizing was cancelled")
            if not selector.select(_POLL_S):
                continue
            data = os.read(descriptor, 65536)
            if not data:
                return
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace")


def _explain(reason: str, name: str) -> str:
    if "imatrix" in reason or "importance matrix" in reason:
        return f"{name} needs an importance matrix, which olm does not use: choose a larger type"
    if "requantizing" in reason:
        return "quantization is only supported for F16, BF16 and F32 models"
    return f"quantizing to {name} failed: {_MESSAGE.sub('', reason)[:1000]}"
