"""POST /api/tokenize and /api/detokenize: the tokens of a text, without the model's weights.

Olm's own endpoints; Ollama has none. A runner that reads the vocabulary alone does the work and
goes, so nothing is loaded, and nothing that is loaded is touched. What a prompt looks like before
it is tokenized, `_debug_render_only` of generate and chat tells.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
from olmkit.engine.chat.rendering import without_bos
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.models.spec import ModelSpec
from olmkit.engine.runner.protocol import Loaded, LoadOperation, LoadOptions
from olmkit.engine.supervision.steadyrunner import SteadyRunner


async def tokenize(request: Request) -> Response:
    """The token ids that a prompt becomes: those that a generation from it starts with."""
    api, body = api_of(request), await decode_body(request, TokenizeRequest)
    spec = await _model(api, body.model)
    if body.prompt is None:
        raise InvalidRequest("prompt is required", field="prompt")
    work = _tokenize(api, spec, body.prompt, add_special=body.add_special is not False)
    return json_reply(await until_disconnect(request.receive, work))


async def detokenize(request: Request) -> Response:
    """The text of token ids."""
    api, body = api_of(request), await decode_body(request, DetokenizeRequest)
    spec = await _model(api, body.model)
    if body.tokens is None:
        raise InvalidRequest("tokens is required", field="tokens")
    work = _detokenize(api, spec, body.tokens)
    return json_reply(await until_disconnect(request.receive, work))


async def _model(api: Api, name: str | None) -> ModelSpec:
    name = require_model(name)
    return await find_model(api, name, not_found=f"model '{name}' not found")


async def _tokenize(api: Api, spec: ModelSpec, text: str, *, add_special: bool) -> TokenizeReply:
    async with _vocabulary(api, spec) as (runner, loaded):
        if add_special:
            text = without_bos(text, loaded.bos_token, adds_bos=loaded.adds_bos)
        tokens = await runner.tokenize(text, add_special=add_special)
    return TokenizeReply(model=spec.name, tokens=tokens)


async def _detokenize(api: Api, spec: ModelSpec, tokens: list[int]) -> DetokenizeReply:
    async with _vocabulary(api, spec) as (runner, _):
        return DetokenizeReply(model=spec.name, text=await runner.detokenize(tokens))


@asynccontextmanager
async def _vocabulary(api: Api, spec: ModelSpec) -> AsyncIterator[tuple[SteadyRunner, Loaded]]:
    """A runner that knows the model's vocabulary, for the block.

    Raises:
        ModelUnloadable, RunnerDied: there is none.
    """
    async with api.vocabularies:
        runner = await SteadyRunner.start(spec.name, api.services.safeguard)
        try:
            options = LoadOptions(context_tokens=1)
            yield (
                runner,
                await runner.load(spec.files, options, operation=LoadOperation.VOCABULARY),
            )
        finally:
            await runner.close()
