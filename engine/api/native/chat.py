"""POST /api/chat.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/api.md#generate-a-chat-completion
"""

from collections.abc import AsyncGenerator, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.checks import (
    CommonParameters,
    common_parameters,
    find_model,
    overflow_of,
    parse_tool_choice,
    parse_tools,
    require_capability,
    require_extras,
    require_model,
    require_no_images,
    schema_headers,
    settle_think,
)
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.native import types
from olmkit.engine.api.native.endings import (
    answer_text,
    debug_reply,
    ending,
    logprobs,
    thought_text,
    tool_calls,
)
from olmkit.engine.api.native.types import ChatReply, ChatRequest, ReplyMessage
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply, reply_with, until_disconnect
from olmkit.engine.chat.conversation import Conversation, Message, ToolCall, ToolChoiceMode
from olmkit.engine.chat.output.deltas import OutputEvent
from olmkit.engine.inference import inference
from olmkit.engine.inference.answering import AnswerRequest, Output, answer
from olmkit.engine.inference.inference import CompletionRequest, Finished, History
from olmkit.engine.models.spec import ModelSpec


async def chat(request: Request) -> Response:
    """Answer a conversation; load or unload the model when there is none."""
    api, body = api_of(request), await decode_body(request, ChatRequest)
    common = common_parameters(body)
    require_model(body.model)
    tools = parse_tools(body.tools or ())
    choice = parse_tool_choice(body.tool_choice, tools)
    messages = tuple(_message(given) for given in body.messages or ())
    spec = await find_model(api, common.name, not_found=f"model '{common.name}' not found")
    if not messages and common.keep_alive_s == 0:
        api.services.pool.unload(spec.model_key)
        return _idle_reply(common, "unload")
    found = await api.catalog.capabilities(spec)
    require_capability(spec, common.name, found, verb="chat")
    require_extras(spec, ["tools"] if body.tools else [], found)
    for given in body.messages or ():
        require_no_images(given.images, spec)
    think = settle_think(common.think, common.name, spec, found)
    options = common.options(spec)
    if not messages:
        loading = inference.load(api.services, spec, options, common.keep_alive_s)
        await until_disconnect(request.receive, loading)
        return _idle_reply(common, "load")
    conversation = Conversation(
        messages=with_stored(spec, messages),
        tools=() if choice.mode is ToolChoiceMode.NONE else tools,
        think=think,
    )
    if body.debug_render_only:
        prompt = await _render(api, spec, conversation)
        return debug_reply(common.name, {"message": {"role": "", "content": ""}}, prompt)
    overflow = overflow_of(api, truncate=body.truncate, shift=body.shift)
    completion = CompletionRequest(
        spec=spec,
        options=options,
        render=lambda: _render(api, spec, conversation),
        began_ns=common.began_ns,
        keep_alive_s=common.keep_alive_s,
        top_logprobs=common.top_logprobs,
        constraint=common.constraint,
        history=History(
            cuts=conversation.cuts,
            render_from=lambda turn: _render(api, spec, conversation.since(turn)),
        ),
        truncate=overflow.truncate,
        shift=overflow.shift,
    )
    wanted = AnswerRequest(
        completion=completion,
        output_format=await api.output_format(spec),
        tools=tools,
        tool_choice=choice,
        thinks=bool(think),
        thinking_budget=common.thinking_budget,
    )
    replies = _replies(answer(api.services, wanted), common.name)
    return await reply_with(
        request,
        replies,
        stream=body.stream is not False,
        collect=_collect,
        headers=schema_headers(common.ignored),
    )


def with_stored(spec: ModelSpec, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The request's turns behind those that the model starts with.

    The system prompt comes before both: the request's, when it begins with one, else the model's.
    """
    stored = tuple(Message(role=turn.role, content=turn.content) for turn in spec.messages)
    begin = next((i for i, one in enumerate(messages) if one.role != "system"), len(messages))
    system = messages[:begin]
    if spec.system and not system:
        system = (Message(role="system", content=spec.system),)
    return system + stored + messages[begin:]


async def _render(api: Api, spec: ModelSpec, conversation: Conversation) -> str:
    facts = await api.catalog.template_facts(spec)
    return (await api.renderer.render(spec, conversation, go_facts=facts)).text


def _message(given: types.Message) -> Message:
    functions = [(call.id or "", call.function) for call in given.tool_calls or ()]
    return Message(
        role=(given.role or "").lower(),
        content=given.content or "",
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


def _idle_reply(common: CommonParameters, reason: str) -> Response:
    return json_reply(
        ChatReply(
            model=common.name,
            created_at=types.now(),
            message=ReplyMessage(),
            done=True,
            done_reason=reason,
        )
    )


async def _replies(
    outputs: AsyncGenerator[Output | Finished, None], name: str
) -> AsyncGenerator[ChatReply, None]:
    try:
        async for output in outputs:
            if isinstance(output, Finished):
                yield ChatReply(
                    model=name,
                    created_at=types.now(),
                    message=ReplyMessage(),
                    done=True,
                    **ending(output),
                )
                continue
            message = _reply_message(output.events)
            if message is not None or output.logprobs:
                yield ChatReply(
                    model=name,
                    created_at=types.now(),
                    message=message or ReplyMessage(),
                    done=False,
                    logprobs=logprobs(output.logprobs),
                )
    finally:
        await outputs.aclose()


def _reply_message(events: Sequence[OutputEvent]) -> ReplyMessage | None:
    """What events add to the message; a call comes whole, when it is complete. None: nothing."""
    text, thought, calls = answer_text(events), thought_text(events), tool_calls(events)
    if not (text or thought or calls):
        return None
    return ReplyMessage(
        content=text, thinking=thought or msgspec.UNSET, tool_calls=calls or msgspec.UNSET
    )


async def _collect(replies: AsyncGenerator[ChatReply, None]) -> ChatReply:
    every = [reply async for reply in replies]
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
