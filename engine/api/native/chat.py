"""POST /api/chat.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/api.md#generate-a-chat-completion
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.checks import (
    CommonParameters,
    check_images,
    common_parameters,
    find_model,
    parse_tool_choice,
    parse_tools,
    require_model,
    schema_headers,
)
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.dialogues import DialogueRequest, prepare_answer, prepare_completion
from olmkit.engine.api.jsontext import encode_lines
from olmkit.engine.api.native import types
from olmkit.engine.api.native.endings import (
    debug_reply,
    ending,
    load_reply,
    logprobs,
    parts_of,
    waiting_facts,
)
from olmkit.engine.api.native.types import ChatReply, ChatRequest, ReplyMessage
from olmkit.engine.api.state import api_of
from olmkit.engine.api.streams import json_reply, reply_with
from olmkit.engine.chat.conversation import Message, Part, PartKind, ToolCall
from olmkit.engine.inference import inference
from olmkit.engine.inference.answering import Output, Outputs, answer
from olmkit.engine.inference.inference import Finished
from olmkit.engine.telemetry.requestprogress import RequestProgress


async def chat(request: Request) -> Response:
    """Answer a conversation; load or unload the model when there is none."""
    api, body = api_of(request), await decode_body(request, ChatRequest)
    common = common_parameters(body)
    require_model(body.model)
    tools = parse_tools(body.tools or ())
    choice = parse_tool_choice(body.tool_choice, tools)
    if not body.messages and common.keep_alive_s == 0:
        spec = await find_model(api, common.name, not_found=f"model '{common.name}' not found")
        api.services.pool.unload(spec.model_key)
        return json_reply(_idle(common, "unload"))
    wanted = DialogueRequest(
        name=common.name,
        began_ns=common.began_ns,
        messages=tuple(_message(given) for given in body.messages or ()),
        tools=tools,
        tool_choice=choice,
        think=common.think,
        thinking_budget=common.thinking_budget,
        constraint=common.constraint,
        options=common.given_options,
        keep_alive=body.keep_alive,
        logprobs=body.logprobs,
        top_logprobs=body.top_logprobs,
        truncate=body.truncate,
        shift=body.shift,
    )
    completion = await prepare_completion(api, wanted)
    waiting = partial(_waiting, common.name)
    if not body.messages:
        loading = partial(
            inference.load,
            api.services,
            completion.spec,
            completion.options,
            common.keep_alive_s,
        )
        return await load_reply(
            request, loading, partial(_idle, common, "load"), stream=body.stream, waiting=waiting
        )
    if body.debug_render_only:
        empty = {"message": {"role": "", "content": ""}}
        return debug_reply(common.name, empty, await completion.render())
    answering = await prepare_answer(api, wanted, completion)
    return await reply_with(
        request,
        answer(api.services, answering),
        stream=body.stream is not False,
        collect=partial(_collect, common.name),
        encode=lambda together: encode_lines(_replies(together, common.name)),
        headers=schema_headers(common.ignored),
        waiting=waiting,
    )


def _message(given: types.Message) -> Message:
    functions = [(call.id or "", call.function) for call in given.tool_calls or ()]
    return Message(
        role=(given.role or "").lower(),
        content=given.content or "",
        parts=_parts(given),
        thinking=given.thinking or "",
        tool_calls=tuple(
            ToolCall(
                name=function.name or "",
                arguments=function.arguments or {},
                id=call_id,
                index=position,
            )
            for position, (call_id, function) in enumerate(functions)
            if function is not None
        ),
        tool_name=given.tool_name or "",
        tool_call_id=given.tool_call_id or "",
    )


def _parts(given: types.Message) -> tuple[Part, ...]:
    """The message's text and images; none where it is a text alone."""
    if not given.images:
        return ()
    check_images(given.images)
    images = (Part(kind=PartKind.IMAGE) for _ in given.images)
    return (Part(kind=PartKind.TEXT, text=given.content or ""), *images)


def _idle(common: CommonParameters, reason: str) -> ChatReply:
    return ChatReply(
        model=common.name,
        created_at=types.now(),
        message=ReplyMessage(),
        done=True,
        done_reason=reason,
    )


def _waiting(name: str, progress: RequestProgress) -> ChatReply:
    return ChatReply(
        model=name,
        created_at=types.now(),
        message=ReplyMessage(),
        done=False,
        olm=waiting_facts(progress),
    )


def _replies(together: Sequence[Output | Finished], name: str) -> list[ChatReply]:
    """What is told of the parts of an answer that came together."""
    now = types.now()
    return [told for one in together if (told := _reply(one, name, now)) is not None]


def _reply(output: Output | Finished, name: str, now: datetime) -> ChatReply | None:
    """What is told of a part of the answer; None: nothing."""
    if isinstance(output, Finished):
        return ChatReply(
            model=name,
            created_at=now,
            message=ReplyMessage(),
            done=True,
            **ending(output),
        )
    text, thought, calls = parts_of(output.events)
    if not (text or thought or calls or output.logprobs):
        return None
    return ChatReply(
        model=name,
        created_at=now,
        message=ReplyMessage(
            content=text,
            thinking=thought or msgspec.UNSET,
            tool_calls=calls or msgspec.UNSET,  # whole, when they are complete
        ),
        done=False,
        logprobs=logprobs(output.logprobs) if output.logprobs else [],
    )


async def _collect(name: str, outputs: Outputs) -> ChatReply:
    every = [reply async for together in outputs for reply in _replies(together, name)]
    messages = [reply.message for reply in every]
    calls = [call for message in messages for call in message.tool_calls or ()]
    return msgspec.structs.replace(
        every[-1],
        message=ReplyMessage(
            content="".join(message.content for message in messages),
            thinking="".join(message.thinking or "" for message in messages) or msgspec.UNSET,
            tool_calls=calls or msgspec.UNSET,
        ),
        logprobs=[entry for reply in every for entry in reply.logprobs],
    )
