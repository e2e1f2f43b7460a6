"""One generation, whatever API asked for it: lease, render, complete, with honest numbers.

The families of endpoints (Ollama's, OpenAI's, Anthropic's) turn their requests into an `Ask` and
the events into their own wire forms. Nothing of a prompt or an answer is logged.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from olmkit.engine.chat.rendering import without_bos
from olmkit.engine.errors import RequestCancelled
from olmkit.engine.models.options import LoadDefaults, Options
from olmkit.engine.models.spec import ModelSpec
from olmkit.engine.runner.protocol import (
    Completed,
    Constraint,
    ConstraintKind,
    EndReason,
    LoadOptions,
    Piece,
    TokenLogprob,
)
from olmkit.engine.scheduling.pool import Lease
from olmkit.engine.services import Services

__all__ = [
    "Ask",
    "Constraint",
    "ConstraintKind",
    "EndReason",
    "Finished",
    "Text",
    "TokenLogprob",
    "complete",
    "load",
    "load_options",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is wanted of a model."""

    spec: ModelSpec
    options: Options
    render: Callable[[], Awaitable[str]]
    """Makes the prompt's text; runs while the model loads."""
    began_ns: int
    """`time.perf_counter_ns()` when the request came in."""
    keep_alive_s: float | None = None
    top_logprobs: int | None = None
    constraint: Constraint | None = None
    """What the answer must look like."""
    earlier_tokens: tuple[int, ...] = ()
    """Tokens put before the prompt."""
    wants_tokens: bool = False
    """The end shall tell the tokens of prompt and answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A piece of the answer."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The answer's end, always the last event."""

    reason: EndReason
    stop_string: str | None
    total_ns: int
    load_ns: int
    """From the request's arrival until the model was ready."""
    prompt_tokens: int
    cached_tokens: int
    prompt_ns: int
    completion_tokens: int
    completion_ns: int
    tokens: tuple[int, ...] = ()


def load_options(services: Services, spec: ModelSpec, options: Options) -> LoadOptions:
    """How to load a model for a request with these options."""
    settings = services.settings
    defaults = LoadDefaults(
        context_tokens=settings.context_tokens,
        sequences=settings.parallel,
        flash_attention=settings.flash_attention,
        kv_cache_type=settings.kv_cache_type,
    )
    return options.load_options(defaults, embedding=spec.computes_embeddings)


async def load(
    services: Services, spec: ModelSpec, options: Options, keep_alive_s: float | None
) -> None:
    """Load the model and let it be.

    Raises:
        EngineError: as `Pool.lease`.
    """
    async with services.pool.lease(spec, load_options(services, spec, options), keep_alive_s):
        pass


async def complete(services: Services, ask: Ask) -> AsyncGenerator[Text | Finished, None]:
    """The pieces of the answer as they come, then `Finished`.

    Raises:
        EngineError: the model cannot be loaded, the template fails, the prompt is too long, the
            runner dies, before or after the first piece.
    """
    rendering = asyncio.ensure_future(ask.render())
    try:
        settings = load_options(services, ask.spec, ask.options)
        async with services.pool.lease(ask.spec, settings, ask.keep_alive_s) as lease:
            load_ns = time.perf_counter_ns() - ask.began_ns
            prompt = await _prompt(ask, lease, await rendering)
            async with aclosing(_run(ask, lease, prompt, load_ns)) as events:
                async for event in events:
                    yield event
    finally:
        rendering.cancel()
        await asyncio.gather(rendering, return_exceptions=True)


async def _prompt(ask: Ask, lease: Lease, text: str) -> str | list[int]:
    """What the runner gets: text, or tokens when the request needs to know them."""
    text = without_bos(text, lease.loaded.bos_token, adds_bos=lease.loaded.adds_bos)
    if not ask.wants_tokens and not ask.earlier_tokens:
        return text
    tokens = await lease.runner.tokenize(text, add_special=not ask.earlier_tokens)
    return [*ask.earlier_tokens, *tokens]


async def _run(
    ask: Ask, lease: Lease, prompt: str | list[int], load_ns: int
) -> AsyncGenerator[Text | Finished, None]:
    tokens: list[int] = [] if isinstance(prompt, str) else list(prompt)
    completion = lease.runner.complete(
        prompt,
        sampling=ask.options.sampling,
        max_tokens=ask.options.max_tokens,
        stop=ask.options.stop,
        top_logprobs=ask.top_logprobs,
        constraint=ask.constraint,
    )
    async with aclosing(completion) as events:
        async for event in events:
            match event:
                case Piece():
                    tokens += event.tokens if ask.wants_tokens else []
                    if event.text or event.logprobs:
                        yield Text(text=event.text, logprobs=tuple(event.logprobs))
                case Completed(reason=EndReason.CANCELLED):
                    raise RequestCancelled("request canceled")
                case Completed():
                    if event.text:
                        yield Text(text=event.text)
                    yield Finished(
                        reason=event.reason,
                        stop_string=event.stop_string,
                        total_ns=time.perf_counter_ns() - ask.began_ns,
                        load_ns=load_ns,
                        prompt_tokens=event.prompt_tokens,
                        cached_tokens=event.cached_tokens,
                        prompt_ns=event.prompt_ns,
                        completion_tokens=event.completion_tokens,
                        completion_ns=event.completion_ns,
                        tokens=tuple(tokens),
                    )
                case _:
                    pass  # progress of a long prompt: no API tells it yet
