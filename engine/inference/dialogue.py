"""An answer taken apart while it comes: text, thoughts, calls, with honest numbers at the end."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from olmkit.engine.chat.conversation import Tool
from olmkit.engine.chat.output.events import OutputEvent
from olmkit.engine.chat.output.formats import OutputFormat
from olmkit.engine.chat.output.stage import OutputStage
from olmkit.engine.inference.inference import (
    CompletionRequest,
    EndReason,
    Finished,
    Text,
    TokenLogprob,
    complete,
    repeated,
)
from olmkit.engine.services import Services


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialogue:
    """A request for the next turn of a conversation."""

    request: CompletionRequest
    output_format: OutputFormat
    tools: tuple[Tool, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Logprobs:
    """Log-probabilities of the tokens behind the next events."""

    entries: tuple[TokenLogprob, ...]


async def converse(
    services: Services, dialogue: Dialogue
) -> AsyncGenerator[OutputEvent | Logprobs | Finished, None]:
    """The parts of the answer as they come, then `Finished`.

    Raises:
        EngineError: as `complete`.
    """
    prompt = ""

    async def render() -> str:
        nonlocal prompt
        prompt = await dialogue.request.render()
        return prompt

    stage: OutputStage | None = None
    async with aclosing(complete(services, replace(dialogue.request, render=render))) as events:
        async for event in events:
            if stage is None:
                stage = OutputStage(
                    dialogue.output_format,
                    tools=dialogue.tools,
                    prompt=prompt,
                    parses_calls=bool(dialogue.tools),
                )
            match event:
                case Text():
                    if event.logprobs:
                        yield Logprobs(entries=event.logprobs)
                    for part in stage.feed(event.text):
                        yield part
                case Finished():
                    for part in stage.finish(is_cut=event.reason is EndReason.LENGTH):
                        yield part
                    yield event


def choices(
    services: Services, dialogue: Dialogue, count: int
) -> list[Callable[[], AsyncGenerator[OutputEvent | Logprobs | Finished, None]]]:
    """Makers of `count` answers to one request."""
    return [
        partial(converse, services, replace(dialogue, request=request))
        for request in repeated(dialogue.request, count)
    ]
