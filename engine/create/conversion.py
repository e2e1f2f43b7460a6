"""Conversion in a child process, which may take memory, crash or be killed.

Both ends are here: the functions are called by `create`, and this module run as a program is the
child, the only one to import numpy. The child gets one `Order` on standard input and answers with
one `Answer` a line: progress, then that it is done or why not. It ends when nobody reads.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from olmkit.engine.errors import ModelNotCreatable, ModelUnloadable, OutOfMemory
from olmkit.engine.framing import path_of
from olmkit.engine.supervision.oomkills import NO_MEMORY, offer, oom_kills
from olmkit.registry.errors import TransferCancelled

COMMAND: Final = (sys.executable, "-P", "-m", "olmkit.engine.create.conversion")
MAX_LINE_BYTES: Final = 64 * 1024

OnProgress = Callable[[int, int], None]
"""Gets completed and total bytes."""


class ConvertModel(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Write a GGUF model from the safetensors checkpoint made of `files`, by name."""

    target: str
    files: dict[str, str]


class ConvertAdapter(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Write a GGUF adapter for the GGUF model `base` from a safetensors LoRA."""

    target: str
    files: dict[str, str]
    base: str


Order = ConvertModel | ConvertAdapter


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the child."""

    completed: int = 0
    total: int = 0
    is_done: bool = False
    error: str | None = None
    hint: str | None = None


def carry_out(order: Order, *, on_progress: OnProgress, cancelled: threading.Event) -> None:
    """Have the order's target written.

    Raises:
        ModelNotCreatable: the input makes no model, or the child crashed.
        TransferCancelled: `cancelled` was set; noticed with the next progress.
        OutOfMemory: the kernel killed the child for that.
    """
    kills = oom_kills()
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        offer(child.pid)
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            with suppress(BrokenPipeError), child.stdin as stdin:
                stdin.write(msgspec.json.encode(order))
            while line := child.stdout.readline(MAX_LINE_BYTES):
                if cancelled.is_set():
                    raise TransferCancelled("cancelled: nobody waits for the model")
                answer = msgspec.json.decode(line, type=Answer)
                if answer.error is not None:
                    raise ModelNotCreatable(answer.error, hint=answer.hint)
                if answer.is_done:
                    return
                on_progress(answer.completed, answer.total)
        except msgspec.MsgspecError as error:
            raise ModelNotCreatable("the conversion said what nobody understands") from error
        finally:
            status = child.poll()
            child.kill()
    if status == -signal.SIGKILL and oom_kills() > kills:
        raise OutOfMemory(f"the conversion was stopped by the system, {NO_MEMORY}")
    raise ModelNotCreatable(f"the conversion ended with status {child.returncode}")


def _say(answer: Answer) -> None:
    """One line to the parent; when that is gone, the write fails and ends this process."""
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Carry out what standard input asks for."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    last_percent = -1

    def report(completed: int, total: int) -> None:
        nonlocal last_percent
        percent = completed * 100 // max(total, 1)
        if percent != last_percent:
            last_percent = percent
            _say(Answer(completed=completed, total=total))

    try:
        _work(order, report)
    except (ModelNotCreatable, ModelUnloadable) as error:
        _say(Answer(error=str(error), hint=error.hint))
    except OSError as error:
        _say(Answer(error=f"the model cannot be written: {error.strerror}"))
    except MemoryError:
        _say(Answer(error="the model cannot be converted: not enough memory"))
    else:
        _say(Answer(is_done=True))


def _work(order: Order, report: OnProgress) -> None:
    from olmkit.engine.create.convert import convert_adapter, convert_directory
    from olmkit.engine.gguf.header import read_header

    target = Path(path_of(order.target))
    match order:
        case ConvertModel():
            convert_directory(_paths(order.files), target, on_progress=report)
        case ConvertAdapter():
            base = read_header(Path(path_of(order.base)))
            convert_adapter(_paths(order.files), target, base=base, on_progress=report)


def _paths(files: Mapping[str, str]) -> dict[str, Path]:
    return {name: Path(path_of(path)) for name, path in files.items()}


if __name__ == "__main__":
    main()
