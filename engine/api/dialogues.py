"""A request for the next turn of a conversation, checked against its model: for every API alike."""

from collections.abc import AsyncGenerator, Iterator, Sequence
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
from olmkit.engine.inference.inference import (
    CompletionRequest,
    Constraint,
    Finished,
    History,
    PromptCounts,
)
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
    return await prepare_answer(api, wanted, await prepare_completion(api, wanted))


async def prepare_answer(
    api: Api, wanted: DialogueRequest, completion: CompletionRequest
) -> AnswerRequest:
    """How the completion is to be read. Raises: InvalidRequest, EngineError."""
    return AnswerRequest(
        completion=completion,
        output_format=await api.output_format(completion.spec),
        tools=wanted.tools,
        tool_choice=wanted.tool_choice,
        thinking_budget=wanted.thinking_budget,
    )


async def prepare_completion(api: Api, wanted: DialogueRequest) -> CompletionRequest:
    """The completion that gives the next turn, however its text is to be read.

    Raises:
        InvalidRequest, ModelNotFound, UnsupportedCapability: it cannot be computed.
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
        messages=_with_stored(spec, wanted.messages),
        tools=wanted.tools if offers else (),
        think=think,
    )

    async def render(turns: Conversation = conversation) -> str:
        facts = await api.catalog.template_facts(spec)
        return (await api.renderer.render(spec, turns, go_facts=facts)).text

    overflow = overflow_of(api, truncate=wanted.truncate, shift=wanted.shift)
    return CompletionRequest(
        spec=spec,
        options=Options.layered(spec.parameters, wanted.options),
        render=render,
        began_ns=wanted.began_ns,
        keep_alive_s=keep_alive_s,
        top_logprobs=top_logprobs,
        constraint=wanted.constraint,
        thinks=bool(think),
        history=History(
            cuts=conversation.cuts,
            render_from=lambda turn: render(conversation.since(turn)),
        ),
        truncate=overflow.truncate,
        shift=overflow.shift,
    )


def _with_stored(spec: ModelSpec, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The request's turns behind those that the model starts with.

    The system prompt comes before both: the request's, when it begins with one, else the model's.
    """
    stored = tuple(Message(role=turn.role, content=turn.content) for turn in spec.messages)
    begin = next((i for i, one in enumerate(messages) if one.role != "system"), len(messages))
    system = messages[:begin]
    if spec.system and not system:
        system = (Message(role="system", content=spec.system),)
    return system + stored + messages[begin:]


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


Told = tuple[str, dict[str, Any]]
"""Name and members of one event of a stream."""


class Assembly(Protocol):
    """A reply that is put together of an answer's events, and tells what each of them changes."""

    def begin(self, prompt: PromptCounts | None) -> Iterator[Told]:
        """The reply before its first part. `prompt` None: how long it was is not known."""
        ...

    def add(self, event: OutputEvent) -> Iterator[Told]:
        """Take an event in."""
        ...

    def finish(self, end: Finished) -> Iterator[Told]:
        """End what is still open, and the reply."""
        ...


async def told(
    api: Api, wanted: AnswerRequest, reply: Assembly
) -> AsyncGenerator[Sequence[Told], None]:
    """What to tell of an answer, at a time of what came together.

    Raises:
        EngineError: as `answer`.
    """
    has_begun = False
    async with aclosing(answer(api.services, wanted)) as batches:
        async for parts in batches:
            events: list[Told] = []
            for part in parts:
                if not has_begun:
                    has_begun = True
                    events += reply.begin(None if isinstance(part, Finished) else part.prompt)
                if isinstance(part, Finished):
                    events += reply.finish(part)
                else:
                    for event in part.events:
                        events += reply.add(event)
            if events:
                yield events


async def assemble(api: Api, wanted: AnswerRequest, reply: Assembly) -> None:
    """Take a whole answer into `reply`. Raises: as `answer`."""
    async with aclosing(told(api, wanted, reply)) as steps:
        async for _ in steps:
            pass
