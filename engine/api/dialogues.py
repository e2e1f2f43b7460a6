"""A request for the next turn of a conversation, checked against its model: for every API alike."""

from collections import deque
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from olmkit.engine.api.checks import (
    check_top_logprobs,
    find_model,
    overflow_of,
    require_capability,
    require_extras,
    require_model,
    settle_think,
)
from olmkit.engine.api.native.chat import with_stored
from olmkit.engine.api.state import Api
from olmkit.engine.chat.conversation import (
    Conversation,
    Message,
    PartKind,
    Think,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)
from olmkit.engine.chat.output.deltas import OutputEvent
from olmkit.engine.errors import UnsupportedCapability
from olmkit.engine.inference.answering import AnswerRequest, answer
from olmkit.engine.inference.inference import CompletionRequest, Constraint, Finished, History
from olmkit.engine.models.options import Options, parse_keep_alive
from olmkit.engine.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class DialogueRequest:
    """What a request says, in olm's own values."""

    name: str
    """The model's, as the client sent it."""
    began_ns: int
    """`time.perf_counter_ns()` when the request came in."""
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    think: Think = None
    drops_think: bool = False
    """A model that cannot think answers all the same when it shall."""
    thinking_budget: int | None = None
    constraint: Constraint | None = None
    options: dict[str, Any] = field(default_factory=dict)
    keep_alive: Any = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    truncate: bool | None = None
    shift: bool | None = None
    """What to do when the context is too short; None: what the daemon's setting says."""


async def prepare(api: Api, wanted: DialogueRequest) -> AnswerRequest:
    """The request as the model gets it.

    Raises:
        InvalidRequest, ModelNotFound, UnsupportedCapability: it cannot be answered.
    """
    name = require_model(wanted.name)
    keep_alive_s = parse_keep_alive(wanted.keep_alive)
    top_logprobs = check_top_logprobs(logprobs=wanted.logprobs, top_logprobs=wanted.top_logprobs)
    spec = await find_model(api, name, not_found=f"model '{name}' not found")
    found = await api.catalog.capabilities(spec)
    require_capability(spec, name, found, verb="chat")
    offers = bool(wanted.tools) and wanted.tool_choice.mode is not ToolChoiceMode.NONE
    require_extras(spec, ["tools"] if offers else [], found)
    _require_text(spec, wanted.messages)
    think = None if wanted.drops_think and "thinking" not in found else wanted.think
    think = settle_think(think, name, spec, found)
    conversation = Conversation(
        messages=with_stored(spec, wanted.messages),
        tools=wanted.tools if offers else (),
        think=think,
    )

    async def render(turns: Conversation = conversation) -> str:
        facts = await api.catalog.template_facts(spec)
        return (await api.renderer.render(spec, turns, go_facts=facts)).text

    overflow = overflow_of(api, truncate=wanted.truncate, shift=wanted.shift)
    return AnswerRequest(
        completion=CompletionRequest(
            spec=spec,
            options=Options.layered(spec.parameters, wanted.options),
            render=render,
            began_ns=wanted.began_ns,
            keep_alive_s=keep_alive_s,
            top_logprobs=top_logprobs,
            constraint=wanted.constraint,
            truncate=overflow.truncate,
            shift=overflow.shift,
            history=History(
                cuts=conversation.cuts,
                render_from=lambda turn: render(conversation.since(turn)),
            ),
        ),
        output_format=await api.output_format(spec),
        tools=wanted.tools,
        tool_choice=wanted.tool_choice,
        thinks=bool(think),
        thinking_budget=wanted.thinking_budget,
    )


def _require_text(spec: ModelSpec, messages: tuple[Message, ...]) -> None:
    for message in messages:
        for part in message.parts:
            if part.kind is not PartKind.TEXT:
                capability = "vision" if part.kind is PartKind.IMAGE else "audio"
                raise UnsupportedCapability(
                    f"{spec.full_name} does not support {part.kind} input",
                    model=spec.name,
                    capability=capability,
                )


class Assembly(Protocol):
    """A reply that is put together of an answer's events, and tells what each of them changes."""

    def add(self, event: OutputEvent) -> Iterator[object]:
        """Take an event in."""
        ...

    def close(self) -> Iterator[object]:
        """End what is still open."""
        ...


async def assemble(api: Api, wanted: AnswerRequest, reply: Assembly) -> Finished:
    """Take a whole answer into `reply`; returns how it ended. Raises: as `answer`."""
    end: Finished | None = None
    async with aclosing(answer(api.services, wanted)) as parts:
        async for part in parts:
            if isinstance(part, Finished):
                end = part
                continue
            for event in part.events:
                deque(reply.add(event), maxlen=0)
    deque(reply.close(), maxlen=0)
    assert end is not None
    return end
