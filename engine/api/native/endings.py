"""What the answers to generate and chat have in common."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.native import types
from olmkit.engine.api.streams import asked_progress, json_reply, reply_with
from olmkit.engine.chat.conversation import ToolCall
from olmkit.engine.chat.output.deltas import (
    AnswerDelta,
    CallFinished,
    OutputEvent,
    ThoughtDelta,
)
from olmkit.engine.inference.inference import EndReason, Finished, TokenLogprob
from olmkit.engine.telemetry.requestprogress import RequestProgress

Reply = TypeVar("Reply")

DONE_REASONS = {
    EndReason.STOP: "stop",
    EndReason.LENGTH: "length",
    EndReason.REPEAT_LIMIT: "repeat",
}


def ending(event: Finished) -> dict[str, Any]:
    """The members that the last object has."""
    return {
        "olm": dropped(event),
        "done_reason": DONE_REASONS.get(event.reason, str(event.reason)),
        "total_duration": event.total_ns,
        "load_duration": event.load_ns,
        "prompt_eval_count": event.prompt_tokens,
        "prompt_eval_cached_count": event.cached_tokens,
        "prompt_eval_duration": event.prompt_ns,
        "eval_count": event.completion_tokens,
        "eval_duration": event.completion_ns,
    }


async def load_reply(
    request: Request,
    load: Callable[[], Awaitable[None]],
    loaded: Callable[[], Reply],
    *,
    stream: bool | None,
    waiting: Callable[[RequestProgress], Reply],
) -> Response:
    """The reply to a request that only loads a model: one object, as Ollama has it.

    A client that streams and asked what it waits for gets lines of that before it.

    Raises:
        EngineError: it cannot be loaded.
    """

    async def replies() -> AsyncGenerator[Reply, None]:
        await load()
        yield loaded()

    async def collect(whole: AsyncGenerator[Reply, None]) -> Reply:
        return await anext(whole)

    tells = stream is not False and asked_progress() is not None
    return await reply_with(request, replies(), stream=tells, collect=collect, waiting=waiting)


def waiting_facts(progress: RequestProgress) -> types.AnswerFacts:
    """The member `olm` of an object that tells what the client waits for."""
    return types.AnswerFacts(progress=progress)


def parts_of(events: Iterable[OutputEvent]) -> tuple[str, str, list[types.ReplyToolCall]]:
    """The answer's text in events, what the model thinks, and the calls that they complete."""
    text = thought = ""
    calls: list[types.ReplyToolCall] = []
    for event in events:
        if isinstance(event, AnswerDelta):
            text += event.text
        elif isinstance(event, ThoughtDelta):
            thought += event.text
        elif isinstance(event, CallFinished):
            calls.append(_reply_call(event.call))
    return text, thought, calls


def _reply_call(call: ToolCall) -> types.ReplyToolCall:
    function = types.ReplyFunction(index=call.index, name=call.name, arguments=dict(call.arguments))
    return types.ReplyToolCall(id=call.id, function=function)


def dropped(event: Finished) -> types.AnswerFacts | None:
    """What a request lost to a context that was too short; None: nothing."""
    counts = (event.dropped_turns, event.dropped_tokens, event.shifted_tokens)
    if not any(counts):
        return None
    return types.AnswerFacts(
        dropped_messages=event.dropped_turns,
        dropped_prompt_tokens=event.dropped_tokens,
        shifted_tokens=event.shifted_tokens,
    )


def lost_members(event: Finished) -> dict[str, Any]:
    """The member `olm` of other APIs' replies: what a request lost; none for nothing."""
    lost = dropped(event)
    return {} if lost is None else {"olm": lost}


def logprobs(given: tuple[TokenLogprob, ...]) -> list[types.TokenLogprob]:
    """Log-probabilities in the API's form."""
    return [
        types.TokenLogprob(
            token=entry.token,
            logprob=entry.logprob,
            bytes=list(entry.raw),
            top_logprobs=[
                types.TokenAlternative(
                    token=other.token, logprob=other.logprob, bytes=list(other.raw)
                )
                for other in entry.top
            ],
        )
        for entry in given
    ]


def debug_reply(name: str, empty: dict[str, Any], prompt: str) -> Response:
    """The answer to `_debug_render_only`: the prompt instead of a generation."""
    return json_reply(
        {
            "model": name,
            "created_at": types.now(),
            **empty,
            "done": False,
            "_debug_info": types.DebugInfo(rendered_template=prompt),
        }
    )
