"""A `Runner` that outlives an engine which does not fit the machine.

It has a process that does the work. Where that one dies of what the safe mode cures, another one
takes its place, without what killed the first: requests that had no answer yet are asked again,
and nobody notices but by the log, `ps` and the pace. Any other death is the runner's own.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar, Unpack

from olmkit.engine.errors import RunnerDied, RunnerFailed
from olmkit.engine.runner.layouts import Layout
from olmkit.engine.runner.protocol import (
    Buffer,
    Embedded,
    Healthy,
    Loaded,
    LoadOperation,
    LoadOptions,
    ModelFiles,
    PromptProgress,
    Ranked,
    UnreadVocabulary,
)
from olmkit.engine.safemode.safeguard import Known, Safeguard
from olmkit.engine.supervision.interface import (
    CompletionOptions,
    CompletionReply,
    ExitInfo,
    ExitReason,
)
from olmkit.engine.supervision.localrunner import LocalRunner
from olmkit.engine.telemetry.eventlog import EventLog
from olmkit.registry.errors import Cancelled

R = TypeVar("R")
log = logging.getLogger(__name__)


class SteadyRunner:
    """A `Runner`: see `interface` for what every method promises."""

    def __init__(
        self,
        model: str,
        guard: Safeguard,
        known: Known,
        process: LocalRunner,
        events: EventLog | None = None,
    ) -> None:
        self.model = model
        self._events = events or EventLog()
        self.died: asyncio.Future[ExitInfo] = asyncio.get_running_loop().create_future()
        self.loaded: Loaded | None = None
        self._guard = guard
        self._known = known
        self._process = process
        self._is_proven = True
        self._is_closing = False
        self._load: Callable[[LocalRunner], Awaitable[Loaded]] | None = None
        """Loads the model into a process, once it was loaded into one."""
        self._loaded_in: LocalRunner | None = None
        self._reloading: asyncio.Task[None] | None = None
        """Loads the model into the present process, whoever waits for it or gives up."""
        self._turn = asyncio.Event()
        """Set, and replaced, when another process takes over or none will."""
        self._life = asyncio.create_task(self._live())

    @classmethod
    async def start(
        cls, model: str, guard: Safeguard, events: EventLog | None = None
    ) -> "SteadyRunner":
        """A fresh runner for `model`, in the mode in which the engine is known to work.

        `events`: where it is told that its process was replaced.

        Raises:
            RunnerDied: the process could not be started.
        """
        known = guard.known()
        return cls(model, guard, known, await _start(model, guard, known), events)

    @property
    def pid(self) -> int | None:
        """See `Runner.pid`."""
        return self._process.pid

    @property
    def caveat(self) -> str:
        """See `Runner.caveat`."""
        return self._known.caveat

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

        is_lasting = operation in (LoadOperation.COMMIT, LoadOperation.VOCABULARY)

        async def work(process: LocalRunner) -> Loaded:
            loaded = await process.load(
                files,
                options,
                operation=operation,
                layout=layout,
                proof=proof,
                unread=unread,
                on_progress=on_progress,
            )
            if is_lasting:
                self._loaded_in = process
            return loaded

        loaded = await self._steadily(work)
        if is_lasting:
            self.loaded = loaded
            self._load = lambda process: process.load(
                files, options, operation=operation, layout=layout
            )
        return loaded

    async def complete(
        self,
        prompt: str | Sequence[int],
        **options: Unpack[CompletionOptions],
    ) -> AsyncGenerator[Sequence[CompletionReply], None]:
        """See `Runner.complete`."""
        has_answered = False
        while True:
            process = self._process
            try:
                await self._prepare(process)
                completion = process.complete(prompt, **options)
                async with aclosing(completion) as batches:
                    async for replies in batches:
                        if not has_answered and not isinstance(replies[-1], PromptProgress):
                            has_answered = True
                            self._prove(process)
                        yield replies
                return
            except RunnerDied as error:
                await self._succeed(process, error)
                if has_answered:
                    text = f"the engine died while {self.model} answered, and was started again"
                    hint = f"ask again: it goes on in the {self.caveat}"
                    raise RunnerFailed(text, model=self.model, hint=hint) from error

    async def embed(
        self, inputs: Sequence[str], *, truncate: bool = True, context_tokens: int = 0
    ) -> Embedded:
        """See `Runner.embed`."""
        return await self._steadily(
            lambda process: process.embed(inputs, truncate=truncate, context_tokens=context_tokens)
        )

    async def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        truncate: bool = False,
        context_tokens: int = 0,
    ) -> Ranked:
        """See `Runner.rank`."""
        return await self._steadily(
            lambda process: process.rank(
                query, documents, truncate=truncate, context_tokens=context_tokens
            )
        )

    async def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """See `Runner.tokenize`."""
        return await self._steadily(
            lambda process: process.tokenize(
                text, add_special=add_special, parse_special=parse_special
            )
        )

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """See `Runner.detokenize`."""
        return await self._steadily(lambda process: process.detokenize(tokens))

    async def health(self) -> Healthy:
        """See `Runner.health`."""
        return await self._steadily(lambda process: process.health())

    async def close(self) -> None:
        """See `Runner.close`."""
        self._is_closing = True
        await self._process.close()
        await asyncio.shield(self.died)
        if self._reloading is not None:
            await asyncio.wait((self._reloading,))

    async def _steadily(self, work: Callable[[LocalRunner], Awaitable[R]]) -> R:
        """What the work gives, done by one process after the other while there are any."""
        while True:
            process = self._process
            try:
                await self._prepare(process)
                result = await work(process)
            except RunnerDied as error:
                await self._succeed(process, error)
            else:
                self._prove(process)
                return result

    async def _prepare(self, process: LocalRunner) -> None:
        """See to it that the process has the model that was loaded into its predecessor."""
        if self._load is None or self._loaded_in is process:
            return
        if self._reloading is None:
            self._reloading = asyncio.create_task(self._reload(process, self._load))
            self._reloading.add_done_callback(_retrieve)
        await asyncio.shield(self._reloading)

    async def _reload(
        self, process: LocalRunner, load: Callable[[LocalRunner], Awaitable[Loaded]]
    ) -> None:
        try:
            self.loaded = await load(process)
            self._loaded_in = process
        finally:
            self._reloading = None

    async def _succeed(self, process: LocalRunner, error: RunnerDied) -> None:
        """Return when another process has taken over from one that died.

        Raises:
            EngineUnusable, RunnerDied, Cancelled: none will.
        """
        while self._process is process and not self.died.done():
            await self._turn.wait()
        if self._process is not process:
            return
        if self._is_closing:
            raise Cancelled(f"{self.model} was unloaded") from error
        status, tail = error.exit_status, error.log_tail
        raise self._guard.unusable(self.model, exit_status=status, log_tail=tail) or error

    def _prove(self, process: LocalRunner) -> None:
        """The process has done something: if its mode is a new one, it is a mode that works."""
        if not self._is_proven and process is self._process:
            self._is_proven = True
            self._guard.learn(self._known)

    async def _live(self) -> None:
        """Put another process in the place of one that died of what has a cure, to the end."""
        while True:
            info = await asyncio.shield(self._process.died)
            successor = await self._successor(info)
            if successor is None:
                break
            self._process, self._is_proven = successor, False
            self._turn.set()
            self._turn = asyncio.Event()
            if self._is_closing:
                await successor.close()
        self.died.set_result(info)
        self._turn.set()

    async def _successor(self, info: ExitInfo) -> LocalRunner | None:
        if self._is_closing or info.reason is ExitReason.CLOSED:
            return None
        status, tail = info.exit_status, info.log_tail
        known = self._guard.after(self._known, exit_status=status, log_tail=tail)
        if known is None:
            return None
        facts = {"model": self.model, "died": info.description}
        log.warning(f"starting the engine again in the {known.caveat}", extra=facts)
        try:
            process = await _start(self.model, self._guard, known)
        except RunnerDied:
            return None
        self._known = known
        how, mode = info.description, known.caveat
        self._events.record("model", "restart", self.model, how=how, mode=mode)
        return process


async def _start(model: str, guard: Safeguard, known: Known) -> LocalRunner:
    return await LocalRunner.start(
        model,
        mode=known.mode,
        environ=guard.environment(known.mode),
        confinement=guard.confinement,
    )


def _retrieve(task: asyncio.Task[None]) -> None:
    """Those who waited for the task have its error; nobody may be left."""
    if not task.cancelled():
        task.exception()
