"""Safetensors to GGUF in a child process, which may take memory, crash or be killed.

Both ends are here: `carry_out` is called while a model is created, and this module run as a
program is the child, the only process to import numpy.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from olmkit.engine import childjob
from olmkit.engine.childjob import OnProgress, Reporter
from olmkit.engine.errors import ModelNotCreatable, ModelUnloadable
from olmkit.engine.framing import path_of
from olmkit.registry.errors import Cancelled

_MODULE: Final = "olmkit.engine.create.conversion"


class ConvertModel(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Write a GGUF model from the safetensors checkpoint made of `files`, by name."""

    target: str
    files: dict[str, str]


class ConvertAdapter(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Write a GGUF adapter for the GGUF model `base` from a safetensors LoRA."""

    target: str
    files: dict[str, str]
    base: str


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is to write."""

    work: ConvertModel | ConvertAdapter


def carry_out(
    work: ConvertModel | ConvertAdapter, *, on_progress: OnProgress, cancelled: threading.Event
) -> None:
    """Have the target of `work` written.

    Raises:
        ModelNotCreatable: the input makes no model, or the child crashed.
        OutOfMemory: the kernel killed the child for that.
        Cancelled: `cancelled` was set; within a fraction of a second.
    """
    try:
        childjob.carry_out(
            _MODULE, Conversion(work=work), on_progress=on_progress, cancelled=cancelled
        )
    except childjob.JobCrashed as error:
        raise ModelNotCreatable(f"converting failed: {error}") from error
    except childjob.JobFailed as error:
        raise ModelNotCreatable(str(error), hint=error.hint) from error
    except childjob.JobCancelled as error:
        raise Cancelled("converting was cancelled") from error


def main() -> None:
    """Carry out what standard input asks for."""
    work = childjob.read_job(Conversion).work
    reporter = Reporter()
    last_percent = -1

    def report(completed: int, total: int) -> None:
        nonlocal last_percent
        percent = completed * 100 // max(total, 1)
        if percent != last_percent:
            last_percent = percent
            reporter.progress(completed, total)

    try:
        _work(work, report)
    except (ModelNotCreatable, ModelUnloadable) as error:
        reporter.failed(str(error), error.hint)
    except OSError as error:
        reporter.failed(f"the model cannot be written: {error.strerror}")
    except MemoryError:
        reporter.failed("the model cannot be converted: not enough memory")
    else:
        reporter.done()


def _work(work: ConvertModel | ConvertAdapter, report: OnProgress) -> None:
    from olmkit.engine.create.convert import convert_adapter, convert_directory
    from olmkit.engine.gguf.header import read_header

    target = Path(path_of(work.target))
    match work:
        case ConvertModel():
            convert_directory(_paths(work.files), target, on_progress=report)
        case ConvertAdapter():
            base = read_header(Path(path_of(work.base)))
            convert_adapter(_paths(work.files), target, base=base, on_progress=report)


def _paths(files: Mapping[str, str]) -> dict[str, Path]:
    return {name: Path(path_of(path)) for name, path in files.items()}


if __name__ == "__main__":
    main()
