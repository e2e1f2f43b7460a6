"""POST /v1/embeddings.

Source: https://platform.openai.com/docs/api-reference/embeddings
"""

import base64
import time
from array import array
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.checks import find_model, require_model
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.native.embed import embedded
from olmkit.engine.api.openai.bodies import EmbeddingBody
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply, until_disconnect
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.models.options import Options, parse_keep_alive
from olmkit.engine.models.spec import ModelSpec


async def embeddings(request: Request) -> Response:
    """The vectors of texts, or of token ids, in order."""
    began_ns = time.perf_counter_ns()
    api, body = api_of(request), await decode_body(request, EmbeddingBody)
    encoding = (body.encoding_format or "float").lower()
    if encoding not in ("float", "base64"):
        raise InvalidRequest(
            f"Invalid value for 'encoding_format' = {body.encoding_format}. "
            "Supported values: ['float', 'base64'].",
            field="encoding_format",
        )
    name = require_model(body.model)
    keep_alive_s = parse_keep_alive(body.keep_alive)
    given = parse_inputs(body.input)
    spec = await find_model(api, name, not_found=f"model '{name}' not found")
    options = Options.layered(spec.parameters, body.options or {})
    work = embedded(
        api,
        spec,
        options,
        await _texts(api, spec, given),
        began_ns=began_ns,
        keep_alive_s=keep_alive_s,
        truncate=False,
        dimensions=body.dimensions,
    )
    result = await until_disconnect(request.receive, work)
    data = [
        {
            "object": "embedding",
            "embedding": _encoded(vector, encoding),
            "index": index,
        }
        for index, vector in enumerate(result.vectors)
    ]
    tokens = {"prompt_tokens": result.prompt_tokens, "total_tokens": result.prompt_tokens}
    return json_reply({"object": "list", "data": data, "model": name, "usage": tokens})


def parse_inputs(given: Any) -> list[str | list[int]]:
    """The inputs, each a text or the ids of its tokens.

    Raises:
        InvalidRequest: there is none, or it is neither.
    """
    if given is None or given == []:
        raise InvalidRequest("invalid input", field="input")
    if isinstance(given, str):
        return [given]
    if isinstance(given, list):
        if _are_tokens(given):
            return [given]
        if all(isinstance(item, str) or (item and _are_tokens(item)) for item in given):
            return given
    raise InvalidRequest("invalid input type", field="input")


def _are_tokens(given: Any) -> bool:
    return isinstance(given, list) and all(type(item) is int and item >= 0 for item in given)


async def _texts(api: Api, spec: ModelSpec, inputs: Sequence[str | list[int]]) -> list[str]:
    """The texts of all inputs.

    The tokens that a model puts around every text are taken away where token ids bring them: they
    are put there again.
    """
    if all(isinstance(item, str) for item in inputs):
        return [item for item in inputs if isinstance(item, str)]
    around = await api.vocabularies.tokenize(spec, "", add_special=True)
    return [
        item
        if isinstance(item, str)
        else await api.vocabularies.detokenize(spec, without_around(item, around))
        for item in inputs
    ]


def without_around(tokens: list[int], around: list[int]) -> list[int]:
    """The tokens without those of `around`, what a model makes of an empty text."""
    first, last = around[:1], around[-1:]
    begin = 1 if first and tokens[:1] == first else 0
    end = len(tokens) - (1 if last and len(tokens) > begin and tokens[-1:] == last else 0)
    return tokens[begin:end]


def _encoded(vector: list[float], encoding: str) -> list[float] | str:
    if encoding == "float":
        return vector
    return base64.b64encode(array("f", vector).tobytes()).decode()
