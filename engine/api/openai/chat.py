"""POST /v1/chat/completions.

Source: https://platform.openai.com/docs/api-reference/chat. Beside it, as other local servers do,
thoughts stand in `reasoning_content` and, as Ollama has it, in `reasoning`.
"""

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.checks import (
    parse_format,
    parse_tool_choice,
    parse_tools,
    schema_headers,
)
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.dialogues import DialogueRequest, prepare
from olmkit.engine.api.native.endings import lost_members
from olmkit.engine.api.openai.bodies import ChatCompletionBody
from olmkit.engine.api.openai.conversation import (
    parse_effort,
    parse_messages,
    requested_format,
)
from olmkit.engine.api.openai.failures import error_frames
from olmkit.engine.api.openai.sampling import parse_count, parse_options
from olmkit.engine.api.openai.wire import finish_reason, logprob_entries, new_id, usage
from olmkit.engine.api.sse import DONE, data_frame, event_stream
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply, until_disconnect
from olmkit.engine.chat.output.deltas import (
    AnswerDelta,
    CallArguments,
    CallFinished,
    CallStarted,
    OutputEvent,
    ThoughtDelta,
)
from olmkit.engine.inference.answering import AnswerRequest, Output, answer
from olmkit.engine.inference.inference import Finished, repeated
from olmkit.engine.inference.several import several


async def chat_completions(request: Request) -> Response:
    """Answer a conversation, once or several times."""
    began_ns = time.perf_counter_ns()
    api, body = api_of(request), await decode_body(request, ChatCompletionBody)
    tools = parse_tools(body.tools or ())
    choice = parse_tool_choice(body.tool_choice, tools)
    constraint, ignored = parse_format(requested_format(body.response_format))
    headers = schema_headers(ignored)
    wanted = DialogueRequest(
        name=body.model or "",
        began_ns=began_ns,
        messages=parse_messages(body.messages),
        tools=tools,
        tool_choice=choice
        if body.parallel_tool_calls is not False
        else replace(choice, parallel=False),
        think=parse_effort(body.reasoning_effort, body.reasoning),
        constraint=constraint,
        options=parse_options(body, max_tokens=body.max_completion_tokens or body.max_tokens),
        keep_alive=body.keep_alive,
        logprobs=body.logprobs,
        top_logprobs=body.top_logprobs,
        truncate=body.truncate,
        shift=body.shift,
    )
    answers = _repeated(await prepare(api, wanted), parse_count(body.n))
    reply = _Reply(model=wanted.name)
    if body.stream:
        wants_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        frames = _frames(api, answers, reply, wants_usage=wants_usage)
        return await event_stream(request, frames, on_failure=error_frames, headers=headers)
    work = _collected(api, answers, reply)
    return json_reply(await until_disconnect(request.receive, work), headers=headers)


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
    api: Api, answers: list[AnswerRequest], reply: _Reply, *, wants_usage: bool
) -> AsyncGenerator[bytes, None]:
    ends: list[Finished] = []
    head = reply.members("chat.completion.chunk")

    def chunk(index: int, delta: dict[str, Any], **more: Any) -> bytes:
        members = {"index": index, "delta": delta, "finish_reason": None} | more
        return data_frame(head | {"choices": [members]})

    has_role: set[int] = set()
    has_calls: set[int] = set()
    async for choice in several([partial(answer, api.services, wanted) for wanted in answers]):
        index, frames = choice.index, list[bytes]()
        if index not in has_role:
            has_role.add(index)
            frames.append(chunk(index, {"role": "assistant", "content": ""}))
        for part in choice.events:
            if isinstance(part, Finished):
                ends.append(part)
                reason = finish_reason(part, index in has_calls)
                frames.append(chunk(index, {}, finish_reason=reason, **lost_members(part)))
                continue
            if part.logprobs:
                entries = {"content": logprob_entries(part.logprobs)}
                frames.append(chunk(index, {}, logprobs=entries))
            for event in part.events:
                if isinstance(event, CallStarted):
                    has_calls.add(index)
                if (delta := _delta(event)) is not None:
                    frames.append(chunk(index, delta))
        if frames:
            yield b"".join(frames)
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

    def add(self, part: Output | Finished) -> None:
        """Take a part of the answer in."""
        if isinstance(part, Finished):
            self.end = part
            return
        self.logprobs += logprob_entries(part.logprobs)
        for event in part.events:
            match event:
                case AnswerDelta():
                    self.texts.append(event.text)
                case ThoughtDelta():
                    self.thoughts.append(event.text)
                case CallFinished():
                    self.calls.append(_call(event))
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
            **lost_members(self.end),
        }


def _call(event: CallFinished) -> dict[str, Any]:
    function = {"name": event.call.name, "arguments": event.arguments_json}
    head = {"id": event.call.id, "index": event.call.index, "type": "function"}
    return head | {"function": function}


async def _collected(api: Api, answers: list[AnswerRequest], reply: _Reply) -> dict[str, Any]:
    messages = [_Message() for _ in answers]
    async for choice in several([partial(answer, api.services, wanted) for wanted in answers]):
        for part in choice.events:
            messages[choice.index].add(part)
    ends = [message.end for message in messages if message.end is not None]
    return reply.members("chat.completion") | {
        "choices": [message.as_choice(index) for index, message in enumerate(messages)],
        "usage": usage(ends),
    }


def _repeated(wanted: AnswerRequest, count: int) -> list[AnswerRequest]:
    """The request once for each answer."""
    return [replace(wanted, completion=each) for each in repeated(wanted.completion, count)]
