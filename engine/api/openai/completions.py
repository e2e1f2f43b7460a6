"""POST /v1/completions.

Source: https://platform.openai.com/docs/api-reference/completions. The prompt is continued as it
stands: no chat template is put around it. With `suffix` the model's own template for filling in
the middle is used.
"""

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.checks import (
    check_top_logprobs,
    find_model,
    overflow_of,
    require_capability,
    require_extras,
    require_model,
)
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.native.endings import lost_members
from olmkit.engine.api.openai.bodies import CompletionBody
from olmkit.engine.api.openai.embeddings import parse_inputs
from olmkit.engine.api.openai.failures import error_frames
from olmkit.engine.api.openai.sampling import parse_count, parse_options
from olmkit.engine.api.openai.wire import finish_reason, new_id, usage
from olmkit.engine.api.sse import DONE, data_frame, event_stream
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply, until_disconnect
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.inference.inference import (
    CompletionRequest,
    Finished,
    Text,
    TokenLogprob,
    complete,
    repeated,
)
from olmkit.engine.inference.several import several
from olmkit.engine.models.options import Options, parse_keep_alive
from olmkit.engine.models.spec import ModelSpec


async def completions(request: Request) -> Response:
    """Continue one text or several, each once or several times."""
    began_ns = time.perf_counter_ns()
    api, body = api_of(request), await decode_body(request, CompletionBody)
    name = require_model(body.model)
    options = parse_options(body, max_tokens=body.max_tokens)
    count = parse_count(body.n)
    if (body.best_of or count) != count:
        raise InvalidRequest("best_of is not supported: ask for n answers", field="best_of")
    top_logprobs = check_top_logprobs(logprobs=bool(body.logprobs), top_logprobs=body.logprobs)
    prompts = parse_inputs(body.prompt if body.prompt is not None else "")
    if body.echo and (body.logprobs or body.suffix):
        raise InvalidRequest("echo goes with neither logprobs nor suffix", field="echo")
    if body.suffix and not all(isinstance(prompt, str) for prompt in prompts):
        raise InvalidRequest("a suffix goes with a text as prompt", field="suffix")
    spec = await find_model(api, name, not_found=f"model '{name}' not found")
    found = await api.catalog.capabilities(spec)
    require_capability(spec, name, found, verb="completions")
    require_extras(spec, ["insert"] if body.suffix else [], found)
    overflow = overflow_of(api, truncate=body.truncate, shift=body.shift)
    wanted = CompletionRequest(
        spec=spec,
        options=Options.layered(spec.parameters, options),
        render=_no_text,
        began_ns=began_ns,
        keep_alive_s=parse_keep_alive(body.keep_alive),
        top_logprobs=top_logprobs,
        truncate=overflow.truncate,
        shift=overflow.shift,
    )
    requests = [
        choice
        for prompt in prompts
        for choice in repeated(_prompted(api, spec, wanted, prompt, body.suffix), count)
    ]
    echoes = [await _shown(api, spec, prompt) if body.echo else "" for prompt in prompts]
    reply = _Reply(model=name, echoes=[echo for echo in echoes for _ in range(count)])
    if body.stream:
        wants_usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        frames = _frames(api, requests, reply, wants_usage=wants_usage)
        return await event_stream(request, frames, on_failure=error_frames)
    return json_reply(await until_disconnect(request.receive, _collected(api, requests, reply)))


async def _no_text() -> str:
    return ""


def _prompted(
    api: Api,
    spec: ModelSpec,
    wanted: CompletionRequest,
    prompt: str | list[int],
    suffix: str | None,
) -> CompletionRequest:
    if isinstance(prompt, list):
        return replace(wanted, earlier_tokens=tuple(prompt))

    async def render() -> str:
        if suffix:
            return await api.renderer.render_insert(spec, prompt=prompt, suffix=suffix)
        return prompt

    return replace(wanted, render=render)


async def _shown(api: Api, spec: ModelSpec, prompt: str | list[int]) -> str:
    if isinstance(prompt, str):
        return prompt
    return await api.vocabularies.detokenize(spec, prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reply:
    """What all objects of one reply have in common."""

    model: str
    echoes: list[str]
    """By the index of a choice: what is put before its text."""
    id: str = field(default_factory=lambda: new_id("cmpl-"))
    created: int = field(default_factory=lambda: int(time.time()))

    def object(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """One object; chunks and whole replies have the same form."""
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "fp_olm",
            "choices": choices,
        }


async def _frames(
    api: Api, requests: list[CompletionRequest], reply: _Reply, *, wants_usage: bool
) -> AsyncGenerator[bytes, None]:
    ends: dict[int, Finished] = {}
    offsets = [len(echo) for echo in reply.echoes]

    def chunk(index: int, text: str, **more: Any) -> bytes:
        members = {"text": text, "index": index, "logprobs": None, "finish_reason": None} | more
        return data_frame(reply.object([members]))

    for index, echo in enumerate(reply.echoes):
        if echo:
            yield chunk(index, echo)
    async for choice in several([partial(complete, api.services, request) for request in requests]):
        frames: list[bytes] = []
        for event in choice.events:
            match event:
                case Text(text=text, logprobs=entries):
                    offset = offsets[choice.index]
                    offsets[choice.index] += len(text)
                    logprobs = _logprobs(entries, offset)
                    frames.append(chunk(choice.index, text, logprobs=logprobs))
                case Finished() as end:
                    ends[choice.index] = end
                    reason = finish_reason(end, has_calls=False)
                    lost = lost_members(end)
                    frames.append(chunk(choice.index, "", finish_reason=reason, **lost))
        if frames:
            yield b"".join(frames)
    if wants_usage:
        yield data_frame(reply.object([]) | {"usage": usage(list(ends.values()))})
    yield DONE


async def _collected(api: Api, requests: list[CompletionRequest], reply: _Reply) -> dict[str, Any]:
    texts: list[list[str]] = [[echo] for echo in reply.echoes]
    entries: list[list[TokenLogprob]] = [[] for _ in requests]
    ends: dict[int, Finished] = {}
    async for choice in several([partial(complete, api.services, request) for request in requests]):
        for event in choice.events:
            match event:
                case Text(text=text, logprobs=some):
                    texts[choice.index].append(text)
                    entries[choice.index] += some
                case Finished() as end:
                    ends[choice.index] = end
    choices = [
        {
            "text": "".join(texts[index]),
            "index": index,
            "logprobs": _logprobs(entries[index], len(reply.echoes[index])),
            "finish_reason": finish_reason(end, has_calls=False),
            **lost_members(end),
        }
        for index, end in sorted(ends.items())
    ]
    return reply.object(choices) | {"usage": usage(list(ends.values()))}


def _logprobs(
    entries: "tuple[TokenLogprob, ...] | list[TokenLogprob]", offset: int
) -> dict[str, Any] | None:
    """Log-probabilities in the form of completions; `offset` is where their text begins."""
    if not entries:
        return None
    offsets = []
    for entry in entries:
        offsets.append(offset)
        offset += len(entry.token)
    return {
        "tokens": [entry.token for entry in entries],
        "token_logprobs": [entry.logprob for entry in entries],
        "top_logprobs": [{other.token: other.logprob for other in e.top} for e in entries],
        "text_offset": offsets,
    }
