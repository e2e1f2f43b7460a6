"""POST /api/embed and the older /api/embeddings.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/api.md#generate-embeddings
"""

import asyncio
import math
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.checks import find_model, hint_for, overflow_of, require_model
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.native.types import Dropped, EmbeddingsRequest, EmbedReply, EmbedRequest
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply, until_disconnect
from olmkit.engine.errors import (
    ContextExceeded,
    InvalidRequest,
    UnsupportedCapability,
)
from olmkit.engine.inference import inference
from olmkit.engine.models.options import Options, parse_keep_alive
from olmkit.engine.models.spec import ModelSpec
from olmkit.engine.scheduling.leases import Lease
from olmkit.engine.telemetry.requestrecord import current_record


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Embeddings of all inputs of a request, in order."""

    vectors: list[list[float]]
    prompt_tokens: int
    load_ns: int
    truncated: Sequence[int]
    """Which inputs lost their end, counted from 0."""


async def embed(request: Request) -> Response:
    """The vectors of one text or several, in order, each of length 1."""
    began_ns = time.perf_counter_ns()
    api, body = api_of(request), await decode_body(request, EmbedRequest)
    name = body.model or ""
    inputs = _inputs(body.input)
    keep_alive_s = parse_keep_alive(body.keep_alive)
    not_found = f'model "{name}" not found, try pulling it first' if name else "model '' not found"
    spec = await find_model(api, name, not_found=not_found)
    options = Options.layered(spec.parameters, body.options or {})
    if not inputs:
        await until_disconnect(
            request.receive, inference.load(api.services, spec, options, keep_alive_s)
        )
        return json_reply(EmbedReply(model=name, embeddings=[]))
    work = embedded(
        api,
        spec,
        options,
        inputs,
        began_ns=began_ns,
        keep_alive_s=keep_alive_s,
        truncate=overflow_of(api, truncate=body.truncate, shift=None).truncate,
        dimensions=body.dimensions or None,
    )
    result = await until_disconnect(request.receive, work)
    return json_reply(
        EmbedReply(
            model=name,
            embeddings=result.vectors,
            total_duration=time.perf_counter_ns() - began_ns,
            load_duration=result.load_ns,
            prompt_eval_count=result.prompt_tokens,
            olm=_truncated(result.truncated),
        )
    )


def _truncated(which: Sequence[int]) -> Dropped | None:
    if not which:
        return None
    return Dropped(truncated_inputs=len(which), truncated_indices=list(which))


async def embeddings(request: Request) -> Response:
    """The vector of one text, in the older form."""
    began_ns = time.perf_counter_ns()
    api, body = api_of(request), await decode_body(request, EmbeddingsRequest)
    name = require_model(body.model)
    keep_alive_s = parse_keep_alive(body.keep_alive)
    not_found = f'model "{name}" not found, try pulling it first'
    spec = await find_model(api, name, not_found=not_found)
    options = Options.layered(spec.parameters, body.options or {})
    if not body.prompt:
        await until_disconnect(
            request.receive, inference.load(api.services, spec, options, keep_alive_s)
        )
        return json_reply({"embedding": []})
    work = embedded(
        api,
        spec,
        options,
        [body.prompt],
        began_ns=began_ns,
        keep_alive_s=keep_alive_s,
        truncate=overflow_of(api, truncate=None, shift=None).truncate,
    )
    result = await until_disconnect(request.receive, work)
    return json_reply({"embedding": result.vectors[0]})


def _inputs(given: Any) -> list[str]:
    """The texts to embed; none for nothing. Raises: InvalidRequest."""
    if given is None or given == "":
        return []
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and all(isinstance(item, str) for item in given):
        return given
    raise InvalidRequest("invalid input type", field="input")


async def embedded(
    api: Api,
    spec: ModelSpec,
    options: Options,
    inputs: Sequence[str],
    *,
    began_ns: int,
    keep_alive_s: float | None,
    truncate: bool = True,
    dimensions: int | None = None,
) -> Vectors:
    """The vectors of the inputs; with `dimensions` only their beginnings, at length 1 again.

    Raises:
        UnsupportedCapability: the model computes none.
        InvalidRequest: an input is too long and not to be cut, or the model's vectors have fewer
            dimensions.
    """
    if not spec.pools or spec.ranks:
        raise UnsupportedCapability(
            f'"{spec.name}" does not support embeddings',
            model=spec.name,
            capability="embedding",
            hint=hint_for("rerank") if spec.ranks else None,
        )
    metrics = api.services.metrics
    label = metrics.model(spec.name)
    record = current_record()

    async def work(lease: Lease) -> tuple[Sequence[bytes], int, list[int], int]:
        metrics.queue_s.of(label).observe(lease.queued_ns / 1e9)
        if record is not None:
            record.device = lease.device
        load_ns = time.perf_counter_ns() - began_ns
        _check_dimensions(spec, dimensions, lease.loaded.embedding_length)
        try:
            reply = await lease.runner.embed(
                inputs, truncate=truncate, context_tokens=options.context_tokens
            )
            return reply.vectors, reply.prompt_tokens, reply.truncated, load_ns
        except ContextExceeded as error:
            text = "the input length exceeds the context length"
            raise InvalidRequest(f"{text} {error.numbers('input')}", field="input") from error

    packed, prompt_tokens, truncated, load_ns = await inference.with_model(
        api.services, spec, options, keep_alive_s, began_ns=began_ns, work=work
    )
    metrics.embeddings.of(label).add(len(inputs))
    metrics.prompt_tokens.of(label).add(prompt_tokens)
    vectors = await asyncio.to_thread(_unpacked, packed, dimensions)
    if record is not None:
        record.prompt_tokens = prompt_tokens
        if truncated:
            record.lost["inputs"] = len(truncated)
    return Vectors(
        vectors=vectors,
        prompt_tokens=prompt_tokens,
        load_ns=load_ns,
        truncated=truncated,
    )


def _check_dimensions(spec: ModelSpec, wanted: int | None, length: int) -> None:
    if wanted is not None and not 1 <= wanted <= length:
        raise InvalidRequest(
            f"dimensions must be between 1 and {length} for {spec.name}, not {wanted}",
            field="dimensions",
        )


def _unpacked(packed: Sequence[bytes], dimensions: int | None) -> list[list[float]]:
    return [shortened(array("f", vector), dimensions) for vector in packed]


def rounded(vector: "array[float]") -> list[float]:
    """The 32-bit values of a unit vector as numbers of nine digits at most, read back as the same.

    A 64-bit number that holds them exactly has seventeen digits, of which half are noise. Ten
    decimals tell values of 0.002 and more apart, nine digits all of them; to look for the fewest
    takes as long for a thousand short texts as a tenth of computing their vectors.
    """
    numbers = [
        round(value * 1e10) / 1e10 if -0.1 < value < 0.1 else round(value * 1e9) / 1e9
        for value in vector
    ]
    read_back = array("f", numbers)
    if read_back == vector:
        return numbers
    return [
        number if read == value else float(f"{value:.9g}")
        for number, read, value in zip(numbers, read_back, vector, strict=True)
    ]


def shortened(vector: "array[float]", dimensions: int | None) -> list[float]:
    """The first `dimensions` of a vector, at length 1 again; all of it, as it is, for None.

    That is what models trained for it allow (Matryoshka embeddings, arXiv:2205.13147).
    """
    if dimensions is None or dimensions == len(vector):
        return rounded(vector)
    head = vector[:dimensions]
    length = math.sqrt(sum(value * value for value in head)) or 1.0
    return rounded(array("f", [value / length for value in head]))
