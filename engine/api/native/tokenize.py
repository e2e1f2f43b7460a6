"""POST /api/tokenize and /api/detokenize: the tokens of a text, without the model's weights.

Olm's own endpoints; Ollama has none. What a prompt looks like before it is tokenized,
`_debug_render_only` of generate and chat tells.
"""

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.checks import find_model, require_model
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.native.types import (
    DetokenizeReply,
    DetokenizeRequest,
    TokenizeReply,
    TokenizeRequest,
)
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply, until_disconnect
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.models.spec import ModelSpec


async def tokenize(request: Request) -> Response:
    """The token ids that a prompt becomes: those that a generation from it starts with."""
    api, body = api_of(request), await decode_body(request, TokenizeRequest)
    spec = await _model(api, body.model)
    if body.prompt is None:
        raise InvalidRequest("prompt is required", field="prompt")
    work = api.vocabularies.tokenize(spec, body.prompt, add_special=body.add_special is not False)
    tokens = await until_disconnect(request.receive, work)
    return json_reply(TokenizeReply(model=spec.name, tokens=tokens))


async def detokenize(request: Request) -> Response:
    """The text of token ids."""
    api, body = api_of(request), await decode_body(request, DetokenizeRequest)
    spec = await _model(api, body.model)
    if body.tokens is None:
        raise InvalidRequest("tokens is required", field="tokens")
    text = await until_disconnect(request.receive, api.vocabularies.detokenize(spec, body.tokens))
    return json_reply(DetokenizeReply(model=spec.name, text=text))


async def _model(api: Api, name: str | None) -> ModelSpec:
    name = require_model(name)
    return await find_model(api, name, not_found=f"model '{name}' not found")
