"""One piece of work in a child process, which may take memory, crash or be killed.

The child gets one job on standard input and answers with frames on standard output: progress,
then that it is done or why it failed. It ends when its standard input does: whoever wanted the
work is gone then. Messages are frames of `framing`, as between the daemon and its runners.
"""

import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Final, TypeVar

import msgspec

from olmkit.engine.childenv import child_environment
from olmkit.engine.errors import OutOfMemory
from olmkit.engine.framing import (
    FRAME_HEADER,
    ProtocolViolation,
    decode_payload,
    encode_frame,
    payload_length,
)
from olmkit.engine.oomkills import offer, oom_kills

OnProgress = Callable[[int, int], None]
"""Gets completed and total bytes."""

_POLL_S: Final = 0.1
_READ_BYTES: Final = 64 * 1024
_ERRORS_TAIL_BYTES: Final = 4096

_Job = TypeVar("_Job", bound=msgspec.Struct)


class JobFailed(Exception):
    """The child could not do its work: `str(error)` says why, `hint` what to do next."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class JobCrashed(JobFailed):
    """The child ended, or spoke, as no child should."""

    def __init__(self, message: str, *, status: int | None = None, output: str = "") -> None:
        super().__init__(message)
        self.status = status
        """As in `subprocess`: negative for a signal; None: it lived."""
        self.output = output
        """The end of what it wrote to standard error."""


class JobCancelled(Exception):
    """The caller's event was set; the child is gone."""


class _Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    completed: int = 0
    total: int = 0
    is_done: bool = False
    error: str | None = None
    hint: str | None = None


def carry_out(
    module: str,
    job: msgspec.Struct,
    *,
    environ: Mapping[str, str] | None = None,
    on_progress: OnProgress | None = None,
    cancelled: threading.Event | None = None,
) -> None:
    """Run `module` as a program, hand it the job and wait until it is done.

    Blocks for as long as that takes; for a thread of its own. The child never outlives the call.
    `environ`: its variables; None: those of this process.

    Raises:
        JobFailed: the child said why.
        JobCrashed: it did not.
        OutOfMemory: the kernel killed the child for that.
        JobCancelled: `cancelled` was set; noticed within a fraction of a second.
    """
    kills = oom_kills()
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=child_environment(environ),
    )
    with child:
        offer(child.pid)
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        errors = _Tail(child.stderr)
        try:
            try:
                child.stdin.write(encode_frame(job))
                child.stdin.flush()
            except BrokenPipeError:
                pass  # how the child ended tells more
            for answer in _answers(child.stdout, cancelled):
                if answer.error is not None:
                    raise JobFailed(answer.error, hint=answer.hint)
                if on_progress:
                    on_progress(answer.completed, answer.total)
                if answer.is_done:
                    return
            status = child.wait()
            if status == -signal.SIGKILL and oom_kills() > kills:
                raise OutOfMemory("the work was stopped by the system for lack of memory")
            output = errors.text()
            text = f"the process ended with status {status}{f': {output}' if output else ''}"
            raise JobCrashed(text, status=status, output=output)
        except ProtocolViolation as error:
            raise JobCrashed("the process said what nobody understands") from error
        finally:
            child.kill()


def _answers(stdout: IO[bytes], cancelled: threading.Event | None) -> Iterator[_Answer]:
    """Answers as they come, looking at `cancelled` between them."""
    decoder = msgspec.msgpack.Decoder(_Answer)
    pending = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        while True:
            if cancelled and cancelled.is_set():
                raise JobCancelled
            if not selector.select(_POLL_S):
                continue
            data = os.read(stdout.fileno(), _READ_BYTES)
            if not data:
                return
            pending += data
            while (end := _frame_end(pending)) is not None:
                payload = bytes(pending[FRAME_HEADER.size : end])
                del pending[:end]
                yield decode_payload(decoder, payload)


def _frame_end(pending: bytearray) -> int | None:
    """Where the first frame ends; None as long as it is not whole."""
    if len(pending) < FRAME_HEADER.size:
        return None
    end = FRAME_HEADER.size + payload_length(bytes(pending[: FRAME_HEADER.size]))
    return end if len(pending) >= end else None


class _Tail:
    """The end of what a child writes to standard error, read so that it never has to wait."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._bytes = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while data := os.read(self._stream.fileno(), _READ_BYTES):
            self._bytes = (self._bytes + data)[-_ERRORS_TAIL_BYTES:]

    def text(self) -> str:
        """What a dead child wrote."""
        self._thread.join()
        return self._bytes.decode(errors="replace").strip()


class Reporter:
    """The child's side of its standard output."""

    def __init__(self) -> None:
        # The libraries that do the work may print; what they print is no frame.
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)

    def progress(self, completed: int, total: int) -> None:
        """Tell how far it is."""
        self._say(_Answer(completed=completed, total=total))

    def done(self, total: int = 0) -> None:
        """Tell that all is done."""
        self._say(_Answer(completed=total, total=total, is_done=True))

    def failed(self, error: str, hint: str | None = None) -> None:
        """Tell why it cannot be done."""
        self._say(_Answer(error=error, hint=hint))

    def _say(self, answer: _Answer) -> None:
        self._out.write(encode_frame(answer))


def read_job(kind: type[_Job]) -> _Job:
    """The job on this process's standard input, whose end ends the process from now on.

    Raises:
        ProtocolViolation: it is no job of that kind.
    """
    stdin = sys.stdin.buffer
    header = stdin.read(FRAME_HEADER.size)
    payload = stdin.read(payload_length(header))
    job = decode_payload(msgspec.msgpack.Decoder(kind), payload)
    threading.Thread(target=_end_with_input, daemon=True).start()
    return job


def _end_with_input() -> None:
    while os.read(0, _READ_BYTES):
        pass
    os._exit(1)
