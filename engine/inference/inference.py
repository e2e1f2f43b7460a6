"""One completion, whatever API asked for it: lease the model, render the prompt, generate.

The families of endpoints (Ollama's, OpenAI's, Anthropic's) turn their requests into a
`CompletionRequest` and the events into their own wire forms. Nothing of a prompt or an answer is
logged.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from olmkit.engine.chat.conversation import Cut
from olmkit.engine.chat.rendering import without_bos
from olmkit.engine.errors import ContextExceeded, EngineUnusable, RunnerDied
from olmkit.engine.framing import wire_path
from olmkit.engine.inference.completionevents import (
    CompletionEvent,
    Finished,
    PromptCounts,
    Text,
)
from olmkit.engine.inference.completionreader import CompletionReader
from olmkit.engine.inference.completionwatch import CompletionWatch
from olmkit.engine.models.options import LoadDefaults, Options
from olmkit.engine.models.spec import ModelSpec
from olmkit.engine.models.urgency import Urgency
from olmkit.engine.planning.available import has_accelerator
from olmkit.engine.runner.protocol import (
    AdapterUse,
    Constraint,
    ConstraintKind,
    EndReason,
    LoadOptions,
    Room,
    TokenLogprob,
)
from olmkit.engine.scheduling.deadlines import Deadline, deadline_after
from olmkit.engine.scheduling.leases import Lease
from olmkit.engine.services import Services
from olmkit.engine.supervision.interface import CompletionReply
from olmkit.engine.telemetry.requestrecord import current_record

T = TypeVar("T")
log = logging.getLogger(__name__)

__all__ = [
    "CompletionRequest",
    "Constraint",
    "ConstraintKind",
    "EndReason",
    "Finished",
    "History",
    "PromptCounts",
    "Text",
    "TokenLogprob",
    "complete",
    "compute",
    "load",
    "load_options",
    "repeated",
    "watch_of",
]


LEAST_ANSWER_PART: Final = 0.25
"""Once turns must go, so many go that this part of the context is free for the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A conversation that can be shortened by its oldest turns."""

    cuts: tuple[Cut, ...]
    """Turns that a shortened conversation may begin with, the earliest first."""
    render_from: Callable[[int], Awaitable[str]]
    """The prompt's text from such a turn on, with all system messages before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """One completion to compute, whatever API asked for it."""

    spec: ModelSpec
    options: Options
    render: Callable[[], Awaitable[str]]
    """Makes the prompt's text; runs while the model loads."""
    began_ns: int
    """`time.perf_counter_ns()` when the request came in."""
    keep_alive_s: float | None = None
    top_logprobs: int | None = None
    thinks: bool = False
    """The model may think before it answers."""
    constraint: Constraint | None = None
    """The grammar or schema that the answer follows."""
    marks: tuple[str, ...] = ()
    """Texts of control tokens that whoever reads the answer must see."""
    earlier_tokens: tuple[int, ...] = ()
    """Tokens put before the prompt."""
    wants_tokens: bool = False
    """Whether `Finished` tells the tokens of prompt and answer."""
    history: History | None = None
    """What may go of the prompt when it is too long; None: it is one text."""
    truncate: bool = True
    """Whether a prompt that is too long is shortened; else it is refused."""
    shift: bool = True
    """Whether, when the context is full, half of it is forgotten and the answer goes on; also
    whether a single text that is too long may lose its middle."""

    @property
    def may_cut(self) -> bool:
        """Whether the prompt may lose its middle."""
        return self.truncate and self.shift

    @property
    def adapters(self) -> list[AdapterUse]:
        """The model's adapters, as strong as its options say."""
        scale = self.options.adapter_scale
        return [AdapterUse(path=wire_path(path), scale=scale) for path in self.spec.adapters]


def repeated(request: CompletionRequest, count: int) -> list[CompletionRequest]:
    """The request `count` times, with seeds that follow each other where it has one."""
    seed = request.options.sampling.seed
    if seed < 0:
        return [request] * count
    return [
        replace(request, options=request.options.with_values({"seed": seed + index}))
        for index in range(count)
    ]


class Kind(Protocol):
    """What must be known of a model to choose how to load it."""

    @property
    def pools(self) -> bool:
        """Whether it generates nothing."""
        ...


def load_options(services: Services, spec: Kind, options: Options) -> LoadOptions:
    """How to load a model for a request with these options."""
    settings = services.settings
    defaults = LoadDefaults(
        context_tokens=settings.context_tokens,
        sequences=settings.parallel,
        contexts=settings.parallel if "parallel" in settings.sources else 1,
        flash_attention=settings.flash_attention,
        kv_cache_type=settings.kv_cache_type,
        prompt_cache_bytes=settings.prompt_cache_bytes,
        prompt_store=wire_path(settings.prompt_store),
        prompt_store_bytes=settings.prompt_store_bytes,
        has_accelerator=has_accelerator() or bool(settings.rpc_servers),
    )
    return options.load_options(defaults, embedding=spec.pools)


async def load(
    services: Services, spec: ModelSpec, options: Options, keep_alive_s: float | None
) -> None:
    """Load the model and leave it loaded.

    Raises:
        EngineError: as `Pool.lease`.
    """
    urgency = urgency_of(options)
    deadline = deadline_after(urgency.timeout_s, elapsed_s=0)
    settings = load_options(services, spec, options)
    async with services.pool.lease(
        spec, settings, keep_alive_s, deadline=deadline, is_batch=urgency.is_batch
    ):
        pass


def urgency_of(options: Options) -> Urgency:
    """How urgent the request is that is worked on: by its options, else by its headers.

    Raises:
        InvalidRequest: a header says what means nothing.
    """
    record, said = current_record(), options.urgency
    if record is None:
        return said
    in_headers = Urgency().refined(record.priority, record.timeout)
    return Urgency(
        priority=said.priority or in_headers.priority,
        timeout_s=in_headers.timeout_s if said.timeout_s is None else said.timeout_s,
    )


def deadline_of(urgency: Urgency, began_ns: int) -> Deadline:
    """The deadline of a request that came at `began_ns` of `time.perf_counter_ns()`."""
    elapsed_s = (time.perf_counter_ns() - began_ns) / 1e9
    return deadline_after(urgency.timeout_s, elapsed_s=elapsed_s)


async def complete(
    services: Services, request: CompletionRequest
) -> AsyncGenerator[Sequence[CompletionEvent], None]:
    """How long the prompt was, the pieces of the answer, then `Finished`; at a time those events
    that came together.

    Raises:
        EngineError: the model cannot be loaded, the template fails, the prompt is too long, the
            runner dies, before or after the first piece.
    """
    with watch_of(services, request) as watch:
        async with aclosing(compute(services, request, watch)) as batches:
            async for events in batches:
                if isinstance(events[-1], Finished):
                    watch.finished(events[-1])
                yield events


def watch_of(services: Services, request: CompletionRequest) -> CompletionWatch:
    """What measures the answer to a request."""
    return CompletionWatch(
        services.metrics,
        model=request.spec.name,
        began_ns=request.began_ns,
        options=request.options,
    )


async def compute(
    services: Services, request: CompletionRequest, watch: CompletionWatch
) -> AsyncGenerator[Sequence[CompletionEvent], None]:
    """As `complete`, for one of several completions that make one answer; `watch` is told.

    Where a runner dies before anything came of it, another one is asked, once.
    """
    has_begun = False
    try:
        async with aclosing(_computed(services, request, watch)) as batches:
            async for events in batches:
                has_begun = True
                yield events
        return
    except RunnerDied as error:
        if has_begun or isinstance(error, EngineUnusable):
            raise
        _tell_of_retry(services, request.spec, error)
    async with aclosing(_computed(services, request, watch)) as batches:
        async for events in batches:
            yield events


async def with_model(
    services: Services,
    spec: ModelSpec,
    options: Options,
    keep_alive_s: float | None,
    *,
    began_ns: int,
    work: Callable[[Lease], Awaitable[T]],
) -> T:
    """What the work makes with the loaded model, in the time that the request allows.

    Where a runner dies, another one is asked, once.

    Raises:
        EngineError: as `Pool.lease`, and what the work raises.
    """
    settings = load_options(services, spec, options)
    urgency = urgency_of(options)
    deadline, may_retry = deadline_of(urgency, began_ns), True
    while True:
        try:
            async with services.pool.lease(
                spec, settings, keep_alive_s, deadline=deadline, is_batch=urgency.is_batch
            ) as lease:
                return await deadline.keep(work(lease))
        except RunnerDied as error:
            if not may_retry or isinstance(error, EngineUnusable):
                raise
            may_retry = False
            _tell_of_retry(services, spec, error)


def _tell_of_retry(services: Services, spec: ModelSpec, error: RunnerDied) -> None:
    log.warning("a request is asked again", extra={"model": spec.name, "reason": str(error)})
    record = current_record()
    services.events.record("request", "retry", spec.name, request=record.id if record else "")


async def _computed(
    services: Services, request: CompletionRequest, watch: CompletionWatch
) -> AsyncGenerator[Sequence[CompletionEvent], None]:
    """The answer of one runner.

    The runner says whether a prompt is too long, so that those which fit cost nothing; then the
    oldest turns of its history are left out, and it is asked again.
    """
    rendering = asyncio.ensure_future(request.render())
    try:
        await asyncio.sleep(0)  # another process renders while this one goes on
        settings = load_options(services, request.spec, request.options)
        urgency = urgency_of(request.options)
        deadline = deadline_of(urgency, request.began_ns)
        async with services.pool.lease(
            request.spec,
            settings,
            request.keep_alive_s,
            deadline=deadline,
            is_batch=urgency.is_batch,
        ) as lease:
            load_ns = time.perf_counter_ns() - request.began_ns
            watch.leased(lease, context_tokens=request.options.context_tokens)
            text = await deadline.keep(rendering)
            watch.prompted(text)
            prompt = await deadline.keep(_prompt(request, lease, text))
            history = _history(request)
            reader = CompletionReader(
                watch,
                began_ns=request.began_ns,
                load_ns=load_ns,
                wants_tokens=request.wants_tokens,
            )
            while True:
                may_cut = request.may_cut and not history
                replies = _asked(request, lease, prompt, may_cut=may_cut, is_batch=urgency.is_batch)
                if deadline.at_s is not None:
                    replies = deadline.keep_each(replies)
                try:
                    async with aclosing(replies):
                        async for together in replies:
                            if events := reader.events(together):
                                yield events
                    return
                except ContextExceeded as error:
                    if history is None:
                        raise
                    limit_tokens = error.limit_tokens
                shortening = _shortened(request, history, lease, limit_tokens)
                dropped, prompt = await deadline.keep(shortening)
                history, reader.dropped_turns = None, dropped
                watch.shortened(dropped)
    finally:
        rendering.cancel()
        await asyncio.gather(rendering, return_exceptions=True)


async def _prompt(request: CompletionRequest, lease: Lease, text: str) -> str | list[int]:
    """What the runner gets: text, or tokens where some come before it."""
    text = without_bos(text, lease.loaded.bos_token, adds_bos=lease.loaded.adds_bos)
    if not request.earlier_tokens:
        return text
    tokens = await lease.runner.tokenize(text, add_special=False)
    return [*request.earlier_tokens, *tokens]


def _history(request: CompletionRequest) -> History | None:
    """What of the prompt may go; None: nothing."""
    may_go = request.truncate and not request.earlier_tokens
    return request.history if may_go and request.history and request.history.cuts else None


async def _shortened(
    request: CompletionRequest, history: History, lease: Lease, limit_tokens: int
) -> tuple[int, list[int]]:
    """How many turns to leave out, and the tokens of the others.

    As few as leave room for the answer; all that may go where even that does not suffice.
    """
    wanted = request.options.max_tokens
    answer_tokens = int(LEAST_ANSWER_PART * limit_tokens)
    answer_tokens = max(1, min(answer_tokens, wanted) if wanted > 0 else answer_tokens)

    async def tokens_from(turn: int) -> list[int]:
        text = await history.render_from(turn)
        text = without_bos(text, lease.loaded.bos_token, adds_bos=lease.loaded.adds_bos)
        return await lease.runner.tokenize(text)

    low, high = 0, len(history.cuts) - 1
    prompt = await tokens_from(history.cuts[high].turn)
    while low < high:
        middle = (low + high) // 2
        tokens = await tokens_from(history.cuts[middle].turn)
        if len(tokens) + answer_tokens <= limit_tokens:
            high, prompt = middle, tokens
        else:
            low = middle + 1
    return history.cuts[high].dropped, prompt


def _asked(
    request: CompletionRequest,
    lease: Lease,
    prompt: str | list[int],
    *,
    may_cut: bool,
    is_batch: bool,
) -> AsyncGenerator[Sequence[CompletionReply], None]:
    """What the runner answers; `may_cut`: it may leave out the middle of the prompt."""
    options = request.options
    return lease.runner.complete(
        prompt,
        adapters=request.adapters,
        sampling=options.sampling,
        max_tokens=options.max_tokens,
        stop=options.stop,
        top_logprobs=request.top_logprobs,
        constraint=request.constraint,
        logit_bias=options.logit_bias,
        ignore_eos=options.ignores_end,
        marks=request.marks,
        tells_prompt=request.wants_tokens,
        room=Room(
            context_tokens=options.context_tokens,
            truncate=may_cut,
            shift=request.shift,
            keep_tokens=options.keep_tokens,
        ),
        reproducible=options.is_reproducible,
        draft_tokens=options.draft_tokens,
        is_batch=is_batch,
        batch_tokens=options.batch_tokens if options.is_reproducible else 0,
    )
