"""POST /api/generate.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/api.md#generate-a-completion
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
    overflow_of,
    require_capability,
    require_extras,
    require_no_images,
    schema_headers,
    settle_think,
)
from olmkit.engine.api.decoding import decode_body
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
from olmkit.engine.api.native.types import GenerateReply, GenerateRequest
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply, reply_with
from olmkit.engine.chat.conversation import Conversation, Message, Think
from olmkit.engine.chat.output.formats import PLAIN
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.inference import inference
from olmkit.engine.inference.answering import AnswerRequest, Output, Outputs, answer
from olmkit.engine.inference.inference import CompletionRequest, Finished, History
from olmkit.engine.models.spec import ModelSpec
from olmkit.engine.telemetry.requestprogress import RequestProgress


async def generate(request: Request) -> Response:
    """Answer a prompt; load or unload the model when there is none."""
    api, body = api_of(request), await decode_body(request, GenerateRequest)
    common = common_parameters(body)
    check_images(body.images)
    spec = await find_model(api, common.name, not_found=f"model '{common.name}' not found")
    is_empty = not body.prompt and not body.images
    if is_empty and common.keep_alive_s == 0:
        api.services.pool.unload(spec.model_key)
        return json_reply(_idle(common, "unload"))
    think = await _check(api, body, common, spec)
    options = common.options(spec)
    waiting = partial(_waiting, common.name)
    if is_empty:
        loading = partial(inference.load, api.services, spec, options, common.keep_alive_s)
        return await load_reply(
            request, loading, partial(_idle, common, "load"), stream=body.stream, waiting=waiting
        )
    if body.debug_render_only:
        return debug_reply(common.name, {"response": ""}, await _render(api, spec, body, think))
    overflow = overflow_of(api, truncate=body.truncate, shift=body.shift)
    completion = CompletionRequest(
        spec=spec,
        options=options,
        render=lambda: _render(api, spec, body, think),
        began_ns=common.began_ns,
        keep_alive_s=common.keep_alive_s,
        top_logprobs=common.top_logprobs,
        constraint=common.constraint,
        thinks=bool(think),
        earlier_tokens=tuple(body.context or ()),
        wants_tokens=not body.raw,
        history=_history(api, spec, body, think),
        truncate=overflow.truncate,
        shift=overflow.shift,
    )
    wanted = AnswerRequest(
        completion=completion,
        output_format=PLAIN if body.raw or body.suffix else await api.output_format(spec),
        thinking_budget=common.thinking_budget,
    )
    return await reply_with(
        request,
        answer(api.services, wanted),
        stream=body.stream is not False,
        collect=partial(_collect, common.name),
        encode=lambda together: encode_lines(_replies(together, common.name)),
        headers=schema_headers(common.ignored),
        waiting=waiting,
    )


async def _check(
    api: Api, body: GenerateRequest, common: CommonParameters, spec: ModelSpec
) -> Think:
    """Refuse what cannot be; returns whether the model shall think."""
    if body.raw and (body.template or body.system or body.context):
        raise InvalidRequest("raw mode does not support template, system, or context", field="raw")
    found = await api.catalog.capabilities(spec)
    require_capability(spec, common.name, found, verb="generate")
    require_extras(spec, ["insert"] if body.suffix else [], found)
    require_no_images(body.images, spec)
    return settle_think(common.think, common.name, spec, found)


async def _render(api: Api, spec: ModelSpec, body: GenerateRequest, think: Think) -> str:
    if body.raw:
        return body.prompt or ""
    if body.suffix:
        return await api.renderer.render_insert(
            spec, prompt=body.prompt or "", suffix=body.suffix, template=body.template or None
        )
    return await _rendered(api, spec, body, _conversation(spec, body, think))


def _conversation(spec: ModelSpec, body: GenerateRequest, think: Think) -> Conversation:
    """The turns that the model starts with, then the prompt."""
    system = body.system or spec.system
    stored = () if body.context else spec.messages
    messages = (
        *((Message(role="system", content=system),) if system else ()),
        *(Message(role=turn.role, content=turn.content) for turn in stored),
        Message(role="user", content=body.prompt or ""),
    )
    return Conversation(messages=messages, think=think)


async def _rendered(
    api: Api, spec: ModelSpec, body: GenerateRequest, conversation: Conversation
) -> str:
    facts = await api.catalog.template_facts(spec)
    prompt = await api.renderer.render(
        spec, conversation, go_facts=facts, request_template=body.template or None
    )
    return prompt.text


def _history(api: Api, spec: ModelSpec, body: GenerateRequest, think: Think) -> History | None:
    """What may go of the prompt; nothing of one that no template makes."""
    if body.raw or body.suffix:
        return None
    conversation = _conversation(spec, body, think)
    return History(
        cuts=conversation.cuts,
        render_from=lambda turn: _rendered(api, spec, body, conversation.since(turn)),
    )


def _idle(common: CommonParameters, reason: str) -> GenerateReply:
    return GenerateReply(
        model=common.name, created_at=types.now(), response="", done=True, done_reason=reason
    )


def _waiting(name: str, progress: RequestProgress) -> GenerateReply:
    return GenerateReply(
        model=name,
        created_at=types.now(),
        response="",
        done=False,
        olm=waiting_facts(progress),
    )


def _replies(together: Sequence[Output | Finished], name: str) -> list[GenerateReply]:
    """What is told of the parts of an answer that came together."""
    now = types.now()
    return [told for one in together if (told := _reply(one, name, now)) is not None]


def _reply(output: Output | Finished, name: str, now: datetime) -> GenerateReply | None:
    """What is told of a part of the answer; None: nothing."""
    if isinstance(output, Finished):
        return GenerateReply(
            model=name,
            created_at=now,
            response="",
            done=True,
            context=list(output.tokens),
            **ending(output),
        )
    text, thought, _ = parts_of(output.events)
    if not (text or thought or output.logprobs):
        return None
    return GenerateReply(
        model=name,
        created_at=now,
        response=text,
        thinking=thought,
        done=False,
        logprobs=logprobs(output.logprobs) if output.logprobs else [],
    )


async def _collect(name: str, outputs: Outputs) -> GenerateReply:
    every = [reply async for together in outputs for reply in _replies(together, name)]
    return msgspec.structs.replace(
        every[-1],
        response="".join(reply.response for reply in every),
        thinking="".join(reply.thinking for reply in every),
        logprobs=[entry for reply in every for entry in reply.logprobs],
    )
