"""POST /v1/responses, GET and DELETE /v1/responses/{id}, GET /v1/responses/{id}/input_items.

Source: https://platform.openai.com/docs/api-reference/responses. Responses are stored only where
`OLM_STORED_RESPONSES` says so; else `previous_response_id` is refused. `conversation` and
`background` always are.
"""

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.checks import parse_format, parse_tool_choice, schema_headers
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.dialogues import DialogueRequest, Told, assemble, prepare, told
from olmkit.engine.api.native.endings import lost_members
from olmkit.engine.api.openai.bodies import ResponseBody
from olmkit.engine.api.openai.conversation import parse_effort
from olmkit.engine.api.openai.failures import error_object
from olmkit.engine.api.openai.responseinput import (
    input_items,
    parse_input,
    requested_text_format,
)
from olmkit.engine.api.openai.responseoutput import ResponseItems
from olmkit.engine.api.openai.responsestore import Item, ResponseStore, StoredResponse
from olmkit.engine.api.openai.responsetools import ResponseTools
from olmkit.engine.api.openai.wire import new_id
from olmkit.engine.api.sse import event_frame, event_stream
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.statuses import Failure
from olmkit.engine.api.streams import json_reply, until_disconnect
from olmkit.engine.chat.output.deltas import OutputEvent
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.inference.answering import AnswerRequest
from olmkit.engine.inference.inference import Finished, PromptCounts

_TRUNCATION: Final = {"auto": True, "disabled": False}
DEFAULT_PAGE: Final = 20
MOST_PAGE: Final = 100


async def responses(request: Request) -> Response:
    """Answer an input."""
    began_ns = time.perf_counter_ns()
    api, body = api_of(request), await decode_body(request, ResponseBody)
    earlier = _earlier_items(api, body)
    items = (*earlier, *input_items(body.input))
    tools = ResponseTools.parse(body.tools)
    choice = parse_tool_choice(body.tool_choice, tools.functions)
    constraint, ignored = parse_format(requested_text_format(body.text))
    headers = schema_headers(ignored) | tools.headers
    wanted = DialogueRequest(
        name=body.model or "",
        began_ns=began_ns,
        messages=parse_input(items, body.instructions, earlier=len(earlier)),
        tools=tools.functions,
        tool_choice=choice
        if body.parallel_tool_calls is not False
        else replace(choice, parallel=False),
        think=parse_effort(None, body.reasoning),
        constraint=constraint,
        options=_options(body),
        keep_alive=body.keep_alive,
        truncate=_TRUNCATION.get(body.truncation or ""),
    )
    answering = await prepare(api, wanted)
    truncates = answering.completion.truncate
    stores = api.responses.is_on and body.store is not False
    reply = _Reply(
        body=body,
        tools=tools,
        items=ResponseItems(tools=tools),
        keeper=api.responses if stores else None,
        input=items,
        truncates=truncates,
    )
    if body.stream:
        stream = _Stream(reply)
        frames = _frames(api, answering, reply, stream)
        return await event_stream(request, frames, on_failure=stream.failed, headers=headers)
    work = _collected(api, answering, reply)
    return json_reply(await until_disconnect(request.receive, work), headers=headers)


def _earlier_items(api: Api, body: ResponseBody) -> tuple[Item, ...]:
    """The conversation that the request goes on with.

    Raises:
        InvalidRequest: it needs a state that is not kept.
        ResponseNotStored: the response that it names is not, or no longer.
    """
    for name in ("conversation", "background"):
        if getattr(body, name):
            raise InvalidRequest(f"{name} is not supported; send the whole input", field=name)
    if not body.previous_response_id:
        return ()
    if not api.responses.is_on:
        raise InvalidRequest(
            "previous_response_id is not supported: no response is stored; send the whole input",
            field="previous_response_id",
            hint="OLM_STORED_RESPONSES=100 makes the daemon keep so many",
        )
    return api.responses.get(body.previous_response_id).items


def _options(body: ResponseBody) -> dict[str, Any]:
    if body.max_output_tokens is not None and body.max_output_tokens < 1:
        raise InvalidRequest("max_output_tokens must be at least 1", field="max_output_tokens")
    given = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "num_predict": body.max_output_tokens,
    }
    said = {name: value for name, value in given.items() if value is not None}
    return (body.options or {}) | said


@dataclass(slots=True)
class _Reply:
    """The response object, from its beginning to its end."""

    body: ResponseBody
    keeper: ResponseStore | None
    """Where it is stored; None: nowhere."""
    input: tuple[Item, ...]
    tools: ResponseTools
    items: ResponseItems
    truncates: bool
    id: str = field(default_factory=lambda: new_id("resp_"))
    created_at: int = field(default_factory=lambda: int(time.time()))
    end: Finished | None = None

    def object(self, status: str, *, error: dict[str, Any] | None = None) -> dict[str, Any]:
        """The response as it is now."""
        body, end = self.body, self.end
        is_cut = end is not None and end.is_cut
        details = {"reason": "max_output_tokens"} if is_cut else None
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created_at,
            "completed_at": int(time.time()) if end else None,
            "status": status,
            "error": error,
            "incomplete_details": details,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "model": body.model,
            "output": list(self.items.finished),
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "reasoning": body.reasoning,
            "store": self.keeper is not None,
            "background": False,
            "temperature": body.temperature,
            "text": body.text or {"format": {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": self.tools.kept,
            "top_p": body.top_p,
            "truncation": "auto" if self.truncates else "disabled",
            "metadata": body.metadata or {},
            "usage": _usage(end) if end else None,
            **(lost_members(end) if end else {}),
        }

    def begin(self, prompt: PromptCounts | None) -> Iterator[Told]:
        """See `Assembly`."""
        for name in ("response.created", "response.in_progress"):
            yield (name, {"response": self.object("in_progress")})

    def add(self, event: OutputEvent) -> Iterator[Told]:
        """See `Assembly`."""
        return self.items.add(event)

    def finish(self, end: Finished) -> Iterator[Told]:
        """See `Assembly`."""
        yield from self.items.close(is_cut=end.is_cut)
        self.end = end
        whole = self.object(self.status)
        if self.keeper is not None:
            self.keeper.put(StoredResponse(response=whole, input=self.input))
        yield (f"response.{self.status}", {"response": whole})

    @property
    def status(self) -> str:
        """What became of the response."""
        assert self.end is not None
        return "incomplete" if self.end.is_cut else "completed"


def _usage(end: Finished) -> dict[str, Any]:
    return {
        "input_tokens": end.prompt_tokens,
        "input_tokens_details": {"cached_tokens": end.cached_tokens},
        "output_tokens": end.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": end.thought_tokens},
        "total_tokens": end.prompt_tokens + end.completion_tokens,
    }


class _Stream:
    """Numbers the events of one stream."""

    def __init__(self, reply: _Reply) -> None:
        self._reply = reply
        self._sequence = 0

    def frame(self, event: Told) -> bytes:
        """One event as a frame."""
        name, members = event
        numbered = {"type": name, "sequence_number": self._sequence} | members
        self._sequence += 1
        return event_frame(name, numbered)

    def failed(self, failure: Failure) -> bytes:
        """The last event of a stream that fails."""
        told = error_object(failure)
        error = {"code": told["code"], "message": told["message"]}
        members = {"response": self._reply.object("failed", error=error)}
        return self.frame(("response.failed", members))


async def _frames(
    api: Api, answering: AnswerRequest, reply: _Reply, stream: _Stream
) -> AsyncGenerator[bytes, None]:
    async with aclosing(told(api, answering, reply)) as steps:
        async for events in steps:
            yield b"".join(map(stream.frame, events))


async def _collected(api: Api, answering: AnswerRequest, reply: _Reply) -> dict[str, Any]:
    await assemble(api, answering, reply)
    return reply.object(reply.status)


# --- stored responses ------------------------------------------------------------------------


async def stored_response(request: Request) -> Response:
    """The response as it was sent."""
    if request.query_params.get("stream") == "true":
        raise InvalidRequest("a stored response is not streamed again", field="stream")
    return json_reply(api_of(request).responses.get(request.path_params["id"]).response)


async def forget_response(request: Request) -> Response:
    """Word that the response is kept no longer."""
    response_id = request.path_params["id"]
    api_of(request).responses.remove(response_id)
    return json_reply({"id": response_id, "object": "response", "deleted": True})


async def stored_input_items(request: Request) -> Response:
    """A page of what the model was asked, the latest first unless `order` is `asc`."""
    stored = api_of(request).responses.get(request.path_params["id"])
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("order must be asc or desc", field="order")
    items = list(stored.input if order == "asc" else reversed(stored.input))
    page, has_more = _page(
        items, request.query_params.get("after"), _limit(request.query_params.get("limit"))
    )
    ids = [item["id"] for item in page]
    return json_reply(
        {
            "object": "list",
            "data": page,
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": has_more,
        }
    )


def _limit(given: str | None) -> int:
    if given is None:
        return DEFAULT_PAGE
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= MOST_PAGE):
        raise InvalidRequest(f"limit must be between 1 and {MOST_PAGE}", field="limit")
    return int(given)


def _page(items: list[Item], after: str | None, limit: int) -> tuple[list[Item], bool]:
    """The items behind the one with the id `after`, and whether there are more of them."""
    start = 0
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise InvalidRequest(f"no item has the id {after[:80]!r}", field="after")
        start = ids.index(after) + 1
    return items[start : start + limit], len(items) > start + limit
