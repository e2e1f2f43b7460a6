"""A synchronous client of a real runner process, over the socketpair that the daemon uses."""

import itertools
import resource
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from olmkit.engine import framing
from olmkit.engine.runner import protocol as p

R = TypeVar("R")
TERMINAL = (p.Failed, p.Loaded, p.Completed, p.Embedded, p.Tokens, p.Text, p.Healthy)


class RunnerFailure(Exception):
    """A `Failed` where something else was wanted."""

    def __init__(self, failed: p.Failed) -> None:
        super().__init__(f"{failed.kind}: {failed.message}")
        self.failed = failed


class Completion:
    """The whole of one completion, put together."""

    def __init__(self, replies: Sequence[p.Reply]) -> None:
        self.progress = [one for one in replies if isinstance(one, p.PromptProgress)]
        self.pieces = [one for one in replies if isinstance(one, p.Piece)]
        end = replies[-1]
        if isinstance(end, p.Failed):
            raise RunnerFailure(end)
        assert isinstance(end, p.Completed)
        self.end = end
        self.text = "".join(piece.text for piece in self.pieces) + end.text
        self.tokens = [token for piece in self.pieces for token in piece.tokens]
        self.logprobs = [entry for piece in self.pieces for entry in piece.logprobs]


class RunnerClient:
    """One runner process and the daemon's end of its socketpair."""

    def __init__(self, *arguments: str) -> None:
        self.socket, theirs = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        command = [sys.executable, "-P", "-m", "olmkit.engine.runner.process.main", *arguments]
        with theirs:
            self.process = subprocess.Popen(
                [*command, "--fd", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                pass_fds=(theirs.fileno(),),
            )
        self._ids = itertools.count(1)
        self._received = bytearray()
        self._replies: deque[p.Reply] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> int:
        """Ends the process by EOF, by force after a while; returns its status."""
        self.socket.close()
        try:
            return self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self._log.close()

    @property
    def log(self) -> str:
        """What the runner wrote to stderr until now."""
        self._log.seek(0)
        return self._log.read().decode()

    def limit_memory(self, size_bytes: int) -> None:
        """Sets the address space that the process may have."""
        resource.prlimit(self.process.pid, resource.RLIMIT_AS, (size_bytes, size_bytes))

    # --- frames ------------------------------------------------------------------------------

    def new_id(self) -> int:
        return next(self._ids)

    def send(self, request: p.Request) -> int:
        """Sends a request; returns its id."""
        self.socket.sendall(framing.encode_frame(request))
        return request.id

    def next_reply(self, timeout_s: float = 60) -> p.Reply:
        """The next reply of any request.

        Raises:
            EOFError: the runner has closed its end.
        """
        deadline = time.monotonic() + timeout_s
        while not self._replies:
            ready, _, _ = select.select([self.socket], [], [], deadline - time.monotonic())
            assert ready, "the runner does not answer"
            data = self.socket.recv(1 << 20)
            if not data:
                raise EOFError
            self._received += data
            self._take_frames()
        return self._replies.popleft()

    def _take_frames(self) -> None:
        size = framing.FRAME_HEADER.size
        while len(self._received) >= size:
            end = size + framing.payload_length(bytes(self._received[:size]))
            if len(self._received) < end:
                return
            self._replies += p.decode_replies(bytes(self._received[size:end]))
            del self._received[:end]

    def replies(self, *ids: int) -> dict[int, list[p.Reply]]:
        """All replies of these requests, until each has its last one; others are dropped."""
        found: dict[int, list[p.Reply]] = {one: [] for one in ids}
        missing = set(ids)
        while missing:
            reply = self.next_reply()
            if reply.id in found:
                found[reply.id].append(reply)
            if isinstance(reply, TERMINAL):
                missing.discard(reply.id)
        return found

    def call(self, request: p.Request, kind: type[R]) -> R:
        """The one answer to a request.

        Raises:
            RunnerFailure: it is a failure.
        """
        answer = self.replies(self.send(request))[request.id][-1]
        if isinstance(answer, p.Failed):
            raise RunnerFailure(answer)
        assert isinstance(answer, kind)
        return answer

    # --- requests ----------------------------------------------------------------------------

    def load(
        self,
        path: Path,
        *,
        operation: p.LoadOperation = p.LoadOperation.COMMIT,
        adapters: Sequence[Path] = (),
        draft: Path | None = None,
        head: bool = False,
        **options: object,
    ) -> p.Loaded:
        """Loads a model, with a context of 1024 tokens if nothing else is asked for.

        One thread: two collapse beside anything else that runs on a machine with two cores.
        """
        files = p.ModelFiles(
            weights_path=str(path),
            adapter_paths=[str(one) for one in adapters],
            draft_path=str(draft) if draft else None,
            has_draft_head=head,
        )
        given = p.LoadOptions(**{"context_tokens": 1024, "threads": 1, **options})  # type: ignore[arg-type]
        request = p.Load(id=self.new_id(), operation=operation, files=files, options=given)
        return self.call(request, p.Loaded)

    def start(self, prompt: str | list[int], **fields: object) -> int:
        """Starts a completion, greedy if nothing else is asked for; returns its id.

        Fields of `Room` are given like those of `Completion`.
        """
        sampling = fields.pop("sampling", p.Sampling(temperature=0))
        room = {name: fields.pop(name) for name in p.Room.__struct_fields__ if name in fields}
        request = p.Completion(
            id=self.new_id(),
            prompt=prompt,
            sampling=sampling,  # type: ignore[arg-type]
            room=p.Room(**room),  # type: ignore[arg-type]
            **fields,  # type: ignore[arg-type]
        )
        return self.send(request)

    def complete(self, prompt: str | list[int], **fields: object) -> Completion:
        """A completion from beginning to end; arguments as of `start`."""
        one = self.start(prompt, **fields)
        return Completion(self.replies(one)[one])

    def complete_all(self, prompts: Sequence[str], **fields: object) -> list[Completion]:
        """Completions side by side."""
        ids = [self.start(prompt, **fields) for prompt in prompts]
        found = self.replies(*ids)
        return [Completion(found[one]) for one in ids]

    def cancel(self, request_id: int) -> None:
        self.send(p.Cancel(id=request_id))

    def embed(self, inputs: list[str], *, truncate: bool = True) -> p.Embedded:
        request = p.Embedding(id=self.new_id(), inputs=inputs, truncate=truncate)
        return self.call(request, p.Embedded)

    def tokenize(self, text: str, *, add_special: bool = True) -> list[int]:
        request = p.Tokenize(id=self.new_id(), text=text, add_special=add_special)
        return self.call(request, p.Tokens).tokens

    def detokenize(self, tokens: list[int]) -> str:
        return self.call(p.Detokenize(id=self.new_id(), tokens=tokens), p.Text).text

    def health(self) -> p.Healthy:
        return self.call(p.Health(id=self.new_id()), p.Healthy)


@contextmanager
def loaded_runner(path: Path, **options: object) -> Iterator[RunnerClient]:
    """A runner with a model, ended afterwards."""
    with RunnerClient() as client:
        client.load(path, **options)  # type: ignore[arg-type]
        yield client


def wait_for_end(pid: int, timeout_s: float = 10) -> None:
    """Waits until no process has this id (or only a dead one nobody has waited for)."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} still runs")
