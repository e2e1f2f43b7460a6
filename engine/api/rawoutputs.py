"""POST /api/parse, olm's own: a model's raw output as the API would return it."""

from collections.abc import Iterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.checks import find_model, parse_tools, require_model
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.native.endings import parts_of
from olmkit.engine.api.native.types import ParseReply, ParseRequest, ReplyMessage
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply
from olmkit.engine.chat.output.deltas import OutputEvent
from olmkit.engine.chat.output.detection import QUESTION, named_format
from olmkit.engine.chat.output.families import FAMILIES
from olmkit.engine.chat.output.formats import OutputFormat
from olmkit.engine.chat.output.stage import OutputStage
from olmkit.engine.errors import InvalidRequest


async def parse(request: Request) -> Response:
    """Text, thoughts and calls of an output, read as that of a model or of a family."""
    api, body = api_of(request), await decode_body(request, ParseRequest)
    tools = parse_tools(body.tools or ())
    output_format, prompt = await _format(api, body)
    stage = OutputStage(output_format, tools=tools, prompt=prompt)
    events: list[OutputEvent] = []
    for piece in _pieces(body.text or "", body.chunks or 1):
        events += stage.feed(piece)
    events += stage.finish(is_cut=bool(body.cut))
    text, thought, calls = parts_of(events)
    return json_reply(
        ParseReply(
            family=output_format.name,
            message=ReplyMessage(
                content=text,
                thinking=thought or msgspec.UNSET,
                tool_calls=calls or msgspec.UNSET,
            ),
        )
    )


async def _format(api: Api, body: ParseRequest) -> tuple[OutputFormat, str]:
    """How the output is written, and the prompt before it as far as that matters."""
    prompt = body.prompt
    if body.family:
        family = named_format(body.family, "")
        if family is None:
            raise InvalidRequest(
                f"unknown family {body.family!r}",
                field="family",
                hint=f"known are {', '.join(sorted(FAMILIES))}",
            )
        return family, prompt or family.prompt_end
    name = require_model(body.model)
    spec = await find_model(api, name, not_found=f"model '{name}' not found")
    output_format = await api.output_format(spec)
    if prompt is None:
        facts = await api.catalog.template_facts(spec)
        prompt = (await api.renderer.render(spec, QUESTION, go_facts=facts)).text
    return output_format, prompt


def _pieces(text: str, count: int) -> Iterator[str]:
    """The text in `count` pieces of about one length."""
    size = max(1, -(-len(text) // max(1, count)))
    for start in range(0, len(text), size):
        yield text[start : start + size]
