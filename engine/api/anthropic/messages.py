"""POST /v1/messages and /v1/messages/count_tokens.

Source: https://docs.anthropic.com/en/api/messages, …/messages-count-tokens
"""

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.anthropic.blocks import Blocks
from olmkit.engine.api.anthropic.failures import error_frame
from olmkit.engine.api.anthropic.messagesbody import (
    MessagesBody,
    check_required,
    parse_conversation,
    parse_options,
    parse_thinking,
    parse_thinking_budget,
    parse_tool_choice,
    parse_tools,
    requested_format,
)
from olmkit.engine.api.checks import parse_format, schema_headers
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.dialogues import DialogueRequest, Told, assemble, prepare, told
from olmkit.engine.api.native.endings import lost_members
from olmkit.engine.api.openai.wire import new_id
from olmkit.engine.api.sse import event_frame, event_stream
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply, until_disconnect
from olmkit.engine.chat.output.deltas import OutputEvent
from olmkit.engine.inference.answering import AnswerRequest
from olmkit.engine.inference.inference import Constraint, Finished, PromptCounts


async def messages(request: Request) -> Response:
    """Answer a conversation."""
    began_ns = time.perf_counter_ns()
    api, body = api_of(request), await decode_body(request, MessagesBody)
    check_required(body, needs_max_tokens=True)
    constraint, ignored = parse_format(requested_format(body))
    headers = schema_headers(ignored)
    answering = await prepare(api, _request_of(body, began_ns, constraint))
    reply = _Reply(model=body.model or "")
    if body.stream:
        return await event_stream(
            request, _frames(api, answering, reply), on_failure=error_frame, headers=headers
        )
    work = _collected(api, answering, reply)
    return json_reply(await until_disconnect(request.receive, work), headers=headers)


async def count_tokens(request: Request) -> Response:
    """How many tokens the prompt of a request has, its template and tools included."""
    began_ns = time.perf_counter_ns()
    api, body = api_of(request), await decode_body(request, MessagesBody)
    check_required(body, needs_max_tokens=False)
    answering = await prepare(api, _request_of(body, began_ns))

    async def count() -> int:
        prompt = await answering.completion.render()
        tokens = await api.vocabularies.tokenize(
            answering.completion.spec, prompt, add_special=True
        )
        return len(tokens)

    return json_reply({"input_tokens": await until_disconnect(request.receive, count())})


def _request_of(
    body: MessagesBody, began_ns: int, constraint: Constraint | None = None
) -> DialogueRequest:
    tools = parse_tools(body.tools)
    return DialogueRequest(
        name=body.model or "",
        began_ns=began_ns,
        messages=parse_conversation(body),
        tools=tools,
        tool_choice=parse_tool_choice(body.tool_choice, tools),
        think=parse_thinking(body),
        drops_think=True,
        thinking_budget=parse_thinking_budget(body),
        constraint=constraint,
        options=parse_options(body),
        keep_alive=body.keep_alive,
        truncate=body.truncate,
        shift=body.shift,
    )


@dataclass(slots=True)
class _Reply:
    """One message, from its beginning to its end."""

    model: str
    id: str = field(default_factory=lambda: new_id("msg_"))
    blocks: Blocks = field(default_factory=Blocks)
    end: Finished | None = None

    def _head(self) -> dict[str, Any]:
        """The message before its first block."""
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }

    def whole(self) -> dict[str, Any]:
        """The message at its end."""
        return self._head() | {"content": self.blocks.finished} | self._stop() | self._usage()

    def begin(self, prompt: PromptCounts | None) -> Iterator[Told]:
        """See `Assembly`."""
        counts = _prompt_usage(prompt.prompt_tokens, prompt.cached_tokens) if prompt else {}
        usage = {"input_tokens": 0, "output_tokens": 0} | counts
        yield ("message_start", {"message": self._head() | {"usage": usage}})

    def add(self, event: OutputEvent) -> Iterator[Told]:
        """See `Assembly`."""
        return self.blocks.add(event)

    def finish(self, end: Finished) -> Iterator[Told]:
        """See `Assembly`."""
        self.end = end
        yield from self.blocks.close()
        yield ("message_delta", {"delta": self._stop(), **self._usage()})
        yield ("message_stop", {})

    def _stop(self) -> dict[str, Any]:
        """Why the message ended."""
        assert self.end is not None
        reason = "max_tokens" if self.end.is_cut else "end_turn"
        if self.end.stop_string:
            return {"stop_reason": "stop_sequence", "stop_sequence": self.end.stop_string}
        if self.blocks.has_calls and reason == "end_turn":
            reason = "tool_use"
        return {"stop_reason": reason, "stop_sequence": None}

    def _usage(self) -> dict[str, Any]:
        assert self.end is not None
        prompt = _prompt_usage(self.end.prompt_tokens, self.end.cached_tokens)
        usage = prompt | {"output_tokens": self.end.completion_tokens}
        return {"usage": usage, **lost_members(self.end)}


def _prompt_usage(prompt_tokens: int, cached_tokens: int) -> dict[str, int]:
    """Counts of the prompt; tokens that came from the cache stand apart."""
    return {
        "input_tokens": prompt_tokens - cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached_tokens,
    }


async def _frames(api: Api, answering: AnswerRequest, reply: _Reply) -> AsyncGenerator[bytes, None]:
    async with aclosing(told(api, answering, reply)) as steps:
        async for events in steps:
            yield b"".join(event_frame(name, {"type": name} | members) for name, members in events)


async def _collected(api: Api, answering: AnswerRequest, reply: _Reply) -> dict[str, Any]:
    await assemble(api, answering, reply)
    return reply.whole()
