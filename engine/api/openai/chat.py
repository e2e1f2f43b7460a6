"""POST /v1/chat/completions.

Source: https://platform.openai.com/docs/api-reference/chat. Beside it, as other local servers do,
thoughts stand in `reasoning_content` and, as Ollama has it, in `reasoning`.
"""

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.dialogues import DialogueRequest, prepare
from olmkit.engine.api.openai.bodies import ChatCompletionBody
from olmkit.engine.api.openai.conversation import (
    parse_effort,
    parse_messages,
    parse_response_format,
    parse_tool_choice,
    parse_tools,
)
from olmkit.engine.api.openai.failures import error_frames
from olmkit.engine.api.openai.sampling import parse_count, parse_options
from olmkit.engine.api.openai.wire import finish_reason, logprob_entries, new_id, usage
from olmkit.engine.api.sse import DONE, data_frame, event_stream
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply, until_disconnect
from olmkit.engine.chat.output.events import (
    AnswerDelta,
    CallArguments,
    CallFinished,
    CallStarted,
    OutputEvent,
    ThoughtDelta,
)
from olmkit.engine.inference.dialogue import Dialogue, Logprobs, choices
from olmkit.engine.inference.inference import Finished
from olmkit.engine.inference.several import several


async def chat_completions(request: Request) -> Response:
    """Answer a conversation, once or several times."""
    began_ns = time.perf_counter_ns()
    api, body = api_of(request), await decode_body(request, ChatCompletionBody)
    tools = parse_tools(body.tools)
    choice = parse_tool_choice(body.tool_choice, tools, parallel=body.parallel_tool_calls)
    wanted = DialogueRequest(
        name=body.model or "",
        began_ns=began_ns,
        messages=parse_messages(body.messages),
        tools=tools,
        tool_choice=choice,
        think=parse_effort(body.reasoning_effort, body.reasoning),
        constraint=parse_response_format(body.response_format),
        options=parse_options(body, max_tokens=body.max_completion_tokens or body.max_tokens),
        keep_alive=body.keep_alive,
        logprobs=body.logprobs,
        top_logprobs=body.top_logprobs,
    )
    count = parse_count(body.n)
    dialogue = await prepare(api, wanted)
    reply = _Reply(model=wanted.name)
    if body.stream:
        wants_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        frames = _frames(api, dialogue, reply, count, wants_usage=wants_usage)
        return await event_stream(request, frames, on_failure=error_frames)
    work = _collected(api, dialogue, reply, count)
    return json_reply(await until_disconnect(request.receive, work))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """What all objects of one reply have in common."""

    model: str
    id: str = field(default_factory=lambda: new_id("chatcmpl-"))
    created: int = field(default_factory=lambda: int(time.time()))

    def members(self, kind: str) -> dict[str, Any]:
        """The head of an object."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_olm",
        }


async def _frames(
    api: Api, dialogue: Dialogue, reply: _Reply, count: int, *, wants_usage: bool
) -> AsyncGenerator[bytes, None]:
    ends: list[Finished] = []
    head = reply.members("chat.completion.chunk")

    def chunk(index: int, delta: dict[str, Any], **more: Any) -> bytes:
        members = {"index": index, "delta": delta, "finish_reason": None} | more
        return data_frame(head | {"choices": [members]})

    has_role: set[int] = set()
    has_calls: set[int] = set()
    async for choice in several(choices(api.services, dialogue, count)):
        index, event = choice.index, choice.event
        if index not in has_role:
            has_role.add(index)
            yield chunk(index, {"role": "assistant", "content": ""})
        match event:
            case Logprobs():
                yield chunk(index, {}, logprobs={"content": logprob_entries(event.entries)})
            case Finished():
                ends.append(event)
                yield chunk(index, {}, finish_reason=finish_reason(event, index in has_calls))
            case _:
                if isinstance(event, CallStarted):
                    has_calls.add(index)
                if (delta := _delta(event)) is not None:
                    yield chunk(index, delta)
    if wants_usage:
        yield data_frame(head | {"choices": [], "usage": usage(ends)})
    yield DONE


def _delta(event: OutputEvent) -> dict[str, Any] | None:
    """What a part of an answer adds to the message; None for nothing."""
    match event:
        case AnswerDelta():
            return {"content": event.text}
        case ThoughtDelta():
            return {"reasoning": event.text, "reasoning_content": event.text}
        case CallStarted():
            function = {"name": event.name, "arguments": ""}
            call = {"index": event.index, "id": event.id, "type": "function", "function": function}
            return {"tool_calls": [call]}
        case CallArguments():
            call = {"index": event.index, "function": {"arguments": event.text}}
            return {"tool_calls": [call]}
        case _:
            return None


@dataclass(slots=True)
class _Message:
    """One message being put together."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    end: Finished | None = None

    def add(self, event: OutputEvent | Logprobs | Finished) -> None:
        """Take a part of the answer in."""
        match event:
            case AnswerDelta():
                self.texts.append(event.text)
            case ThoughtDelta():
                self.thoughts.append(event.text)
            case CallFinished():
                function = {"name": event.call.name, "arguments": event.arguments_json}
                self.calls.append(
                    {
                        "id": event.call.id,
                        "index": event.call.index,
                        "type": "function",
                        "function": function,
                    }
                )
            case Logprobs():
                self.logprobs += logprob_entries(event.entries)
            case Finished():
                self.end = event
            case _:
                pass

    def as_choice(self, index: int) -> dict[str, Any]:
        """The member of `choices`."""
        assert self.end is not None
        text = "".join(self.texts)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self.thoughts:
            thought = "".join(self.thoughts)
            message |= {"reasoning": thought, "reasoning_content": thought}
        if self.calls:
            message |= {"content": text or None, "tool_calls": self.calls}
        return {
            "index": index,
            "message": message,
            "logprobs": {"content": self.logprobs} if self.logprobs else None,
            "finish_reason": finish_reason(self.end, bool(self.calls)),
        }


async def _collected(api: Api, dialogue: Dialogue, reply: _Reply, count: int) -> dict[str, Any]:
    messages = [_Message() for _ in range(count)]
    async for choice in several(choices(api.services, dialogue, count)):
        messages[choice.index].add(choice.event)
    ends = [message.end for message in messages if message.end is not None]
    return reply.members("chat.completion") | {
        "choices": [message.as_choice(index) for index, message in enumerate(messages)],
        "usage": usage(ends),
    }
