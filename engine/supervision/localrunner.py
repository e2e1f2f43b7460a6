"""A runner in a process of its own on this machine, the first implementation of `Runner`.

The process gets one end of a socketpair and nothing else: no path, port or token, and EOF tells
either side that the other is gone. Its output goes to the daemon's log, below warnings at debug
level; the last lines are kept for the error that tells of its death.
"""

import asyncio
import logging
import socket
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar, Unpack, cast

from olmkit.engine.childenv import child_environment
from olmkit.engine.confinement.levels import Confinement
from olmkit.engine.errors import (
    ContextExceeded,
    DeviceLost,
    EngineError,
    InvalidRequest,
    ModelUnloadable,
    OutOfMemory,
    RunnerDied,
    RunnerFailed,
    UnsupportedCapability,
)
from olmkit.engine.oomkills import offer, oom_kills
from olmkit.engine.runner.layouts import Layout
from olmkit.engine.runner.protocol import (
    Buffer,
    Completed,
    Completion,
    Detokenize,
    Embedded,
    Embedding,
    Failed,
    FailureKind,
    Health,
    Healthy,
    Load,
    Loaded,
    LoadOperation,
    LoadOptions,
    LoadProgress,
    ModelFiles,
    Ranked,
    Ranking,
    Reply,
    Request,
    SafeMode,
    Text,
    Tokenize,
    Tokens,
    UnreadVocabulary,
)
from olmkit.engine.supervision.interface import (
    CompletionOptions,
    CompletionReply,
    ExitInfo,
    ExitReason,
)
from olmkit.engine.supervision.liveness import until_stuck
from olmkit.engine.supervision.multiplex import Multiplex
from olmkit.engine.supervision.runnerexits import classify
from olmkit.registry.errors import Cancelled

TAIL_LINES: Final = 40
MAX_LINE_BYTES: Final = 2000

COMMAND: Final = (sys.executable, "-P", "-m", "olmkit.engine.runner.process.main")
"""`-P`: the current directory is no place to import from."""

_NORMAL: Final = SafeMode()
_LAST_WORDS_S: Final = 5.0
"""Time after a runner's end within which its log is read to the end, unless a child holds it."""
_MEMORY_HINT: Final = "use a smaller num_ctx or model, or stop other programs"
_LEVELS: Final = {"error": logging.ERROR, "warn": logging.WARNING}
"""First words of a runner's log lines that the daemon's log shows at any level."""

_CAPABILITIES: Final[Mapping[type[object], str]] = {Embedded: "embedding", Ranked: "rerank"}
"""What a request for a reply asks of the model; else completion."""

R = TypeVar("R")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a runner and the readers of its replies may take."""

    eof_s: float = 1.0
    """Time after EOF within which a runner ends by itself, or gets SIGTERM."""
    term_s: float = 2.0
    """Time after SIGTERM within which it ends, or gets SIGKILL."""
    unread_replies: int = 32_768
    """Replies that may wait for one reader: with more, the reader is gone or far too slow, and the
    request is cancelled."""


_PATIENCE: Final = Patience()


class LocalRunner:
    """A `Runner`: see `interface` for what every method promises."""

    caveat: Final = ""
    """See `Runner.caveat`."""

    def __init__(
        self,
        model: str,
        process: asyncio.subprocess.Process,
        stream: Multiplex,
        mode: SafeMode = _NORMAL,
        patience: Patience = _PATIENCE,
    ) -> None:
        self.model = model
        self.loaded: Loaded | None = None
        self._mode = mode
        self._patience = patience
        self.died: asyncio.Future[ExitInfo] = asyncio.get_running_loop().create_future()
        self._process = process
        self._stream = stream
        self._was_closed = False
        self._stuck: str | None = None
        """How it showed that it no longer gets on."""
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._oom_kills = oom_kills()
        self._log_task = asyncio.create_task(self._read_log())
        self._supervisor = asyncio.create_task(self._supervise())
        self._liveness = asyncio.create_task(self._watch())

    @classmethod
    async def start(
        cls,
        model: str,
        *,
        command: Sequence[str] = COMMAND,
        mode: SafeMode = _NORMAL,
        environ: Mapping[str, str] | None = None,
        confinement: Confinement = Confinement.FULL,
        patience: Patience = _PATIENCE,
    ) -> "LocalRunner":
        """A fresh runner for `model` (its name in errors and logs), not loaded yet.

        `environ`: the variables of the process; None: those of this one. `confinement`: what it
        gives up before it reads the model.

        Raises:
            RunnerDied: the process could not be started.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    *("--fd", str(theirs.fileno())),
                    *(() if confinement is Confinement.FULL else ("--confine", confinement.value)),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                    cwd="/",
                    env=child_environment(environ),
                )
            _, stream = await asyncio.get_running_loop().create_unix_connection(
                lambda: Multiplex(unread_limit=patience.unread_replies), sock=ours
            )
        except OSError as error:
            ours.close()
            text = f"the runner of {model} cannot be started: {error.strerror or error}"
            raise RunnerDied(text, model=model, exit_status=None) from error
        except BaseException:
            ours.close()  # EOF ends a process that was started already
            raise
        offer(process.pid)
        log.debug("runner started", extra={"model": model, "runner": process.pid})
        return cls(model, process, stream, mode, patience)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    async def load(
        self,
        files: ModelFiles,
        options: LoadOptions,
        *,
        operation: LoadOperation = LoadOperation.COMMIT,
        layout: Layout | None = None,
        proof: Sequence[Buffer] = (),
        unread: UnreadVocabulary | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Loaded:
        """See `Runner.load`."""
        request = Load(
            id=self._stream.next_id(),
            operation=operation,
            files=files,
            options=options,
            mode=self._mode,
            layout=layout,
            proof=list(proof),
            unread=unread,
        )
        async with aclosing(self._stream.stream(request)) as batches:
            async for replies in batches:
                reply = replies[-1]
                if isinstance(reply, LoadProgress):
                    if on_progress is not None:
                        on_progress(reply.fraction)
                else:
                    loaded = self._expect(reply, Loaded)
                    if operation in (LoadOperation.COMMIT, LoadOperation.VOCABULARY):
                        self.loaded = loaded
                    return loaded
        raise AssertionError("a load ends with a reply or raises")

    def complete(
        self,
        prompt: str | Sequence[int],
        **options: Unpack[CompletionOptions],
    ) -> AsyncGenerator[Sequence[CompletionReply], None]:
        """See `Runner.complete`."""
        request = Completion(
            id=self._stream.next_id(),
            prompt=prompt if isinstance(prompt, str) else list(prompt),
            **options,
        )
        replies = self._stream.stream(request, check=lambda reply: self._expect(reply, Completed))
        return cast("AsyncGenerator[Sequence[CompletionReply], None]", replies)

    async def embed(
        self, inputs: Sequence[str], *, truncate: bool = True, context_tokens: int = 0
    ) -> Embedded:
        """See `Runner.embed`."""
        request = Embedding(
            id=self._stream.next_id(),
            inputs=list(inputs),
            truncate=truncate,
            context_tokens=context_tokens,
        )
        return await self._call(request, Embedded)

    async def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        truncate: bool = False,
        context_tokens: int = 0,
    ) -> Ranked:
        """See `Runner.rank`."""
        request = Ranking(
            id=self._stream.next_id(),
            query=query,
            documents=list(documents),
            truncate=truncate,
            context_tokens=context_tokens,
        )
        return await self._call(request, Ranked)

    async def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """See `Runner.tokenize`."""
        request = Tokenize(
            id=self._stream.next_id(),
            text=text,
            add_special=add_special,
            parse_special=parse_special,
        )
        return (await self._call(request, Tokens)).tokens

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """See `Runner.detokenize`."""
        request = Detokenize(id=self._stream.next_id(), tokens=list(tokens))
        return (await self._call(request, Text)).text

    async def health(self) -> Healthy:
        """See `Runner.health`."""
        return await self._call(Health(id=self._stream.next_id()), Healthy)

    async def close(self) -> None:
        """See `Runner.close`. EOF, then SIGTERM, then SIGKILL, with time in between."""
        self._was_closed = True
        self._stream.close()
        await asyncio.shield(self.died)

    async def _call(self, request: Request, kind: type[R]) -> R:
        return self._expect(await self._stream.call(request), kind)

    def _expect(self, reply: Reply, kind: type[R]) -> R:
        if isinstance(reply, kind):
            return reply
        if isinstance(reply, Failed):
            raise self._failure(reply, _CAPABILITIES.get(kind, "completion"))
        text = f"the runner of {self.model} answered with {type(reply).__name__}"
        raise RunnerFailed(text, model=self.model)

    def _failure(self, failed: Failed, capability: str) -> EngineError | Cancelled:
        text = failed.message
        match failed.kind:
            case FailureKind.BAD_MODEL:
                return ModelUnloadable(text, model=self.model)
            case FailureKind.OUT_OF_MEMORY:
                return OutOfMemory(text, device=failed.device)
            case FailureKind.DEVICE_LOST:
                return DeviceLost(text, model=self.model)
            case FailureKind.CONTEXT_EXCEEDED:
                return ContextExceeded(
                    text,
                    given_tokens=failed.given_tokens or 0,
                    limit_tokens=failed.limit_tokens or 0,
                    input_index=failed.input_index,
                )
            case FailureKind.UNSUPPORTED:
                return UnsupportedCapability(text, model=self.model, capability=capability)
            case FailureKind.BAD_REQUEST:
                return InvalidRequest(text)
            case FailureKind.CANCELLED:
                return Cancelled(text)
            case FailureKind.INTERNAL:
                return RunnerFailed(text, model=self.model)

    async def _supervise(self) -> None:
        """Wait for the end, see to it that it is one, and tell everybody."""
        exited = asyncio.create_task(self._process.wait())
        await asyncio.wait((exited, self._stream.ended), return_when=asyncio.FIRST_COMPLETED)
        for grace_s, end in (
            (self._patience.eof_s, self._process.terminate),
            (self._patience.term_s, self._process.kill),
        ):
            await asyncio.wait((exited,), timeout=grace_s)
            if exited.done():
                break
            with suppress(ProcessLookupError):
                end()
        status = await exited
        self._stream.close()
        violation = await self._stream.ended
        await asyncio.wait((self._log_task,), timeout=_LAST_WORDS_S)
        self._log_task.cancel()
        info = classify(
            status,
            log_tail="\n".join(self._tail),
            was_closed=self._was_closed,
            violation=violation,
            was_oom_killed=oom_kills() > self._oom_kills,
        )
        self._tell(info)

    async def _watch(self) -> None:
        """Kill a runner that owes an answer and does not get on."""
        why = await until_stuck(
            self.pid,
            heard_s=lambda: self._stream.waiting_since_s,
            is_loading=lambda: self._stream.is_loading,
        )
        self._stuck = why
        log.error(f"runner {why}: it is killed", extra={"model": self.model, "runner": self.pid})
        with suppress(ProcessLookupError):
            self._process.kill()

    def _tell(self, info: ExitInfo) -> None:
        self._liveness.cancel()
        if self._stuck is not None and info.reason is not ExitReason.CLOSED:
            info = replace(info, description=f"{self._stuck} and was killed")

        def death() -> EngineError | Cancelled:
            if info.reason is ExitReason.CLOSED:
                return Cancelled(f"{self.model} was unloaded")
            text = f"the runner of {self.model} {info.description}"
            if info.reason is ExitReason.OUT_OF_MEMORY:
                return OutOfMemory(text, hint=_MEMORY_HINT)
            return RunnerDied(
                text, model=self.model, exit_status=info.exit_status, log_tail=info.log_tail
            )

        facts = {"model": self.model, "runner": self.pid, "status": info.exit_status}
        if info.reason is ExitReason.CLOSED:
            log.debug("runner closed", extra=facts)
        else:
            log.error(f"runner {info.description}", extra=facts | {"log": info.log_tail})
        self.died.set_result(info)
        self._stream.fail(death)

    async def _read_log(self) -> None:
        """Keep the last lines, hand all of them on; a line without end is cut."""
        stream = self._process.stdout
        assert stream is not None
        rest = b""
        while block := await stream.read(8192):
            *lines, rest = (rest + block).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._keep(line)
        if rest:
            self._keep(rest)

    def _keep(self, line: bytes) -> None:
        text = line[:MAX_LINE_BYTES].decode("utf-8", "replace").rstrip()
        if text:
            self._tail.append(text)
            level = _LEVELS.get(text.partition(" ")[0], logging.DEBUG)
            log.log(level, text, extra={"model": self.model, "runner": self.pid})
