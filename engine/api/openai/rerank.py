"""POST /v1/rerank and /api/rerank: how well documents answer a query, by a model made for it.

The first answers as Jina, Cohere and llama-server do, the second with the native API's timings.
Source: https://api.jina.ai/redoc#tag/rerank, https://docs.cohere.com/reference/rerank
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.checks import find_model, require_model
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.openai.bodies import RerankBody
from olmkit.engine.api.openai.wire import new_id
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply, until_disconnect
from olmkit.engine.errors import ContextExceeded, InvalidRequest, UnsupportedCapability
from olmkit.engine.inference.inference import with_model
from olmkit.engine.models.options import Options, parse_keep_alive
from olmkit.engine.models.spec import ModelSpec
from olmkit.engine.scheduling.leases import Lease

MOST_DOCUMENTS: Final = 4096
_GIVE_PROBABILITIES: Final = frozenset(("qwen3", "qwen3vl"))
"""Architectures whose scores llama.cpp has put through a softmax (`build_pooling`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """A request, checked."""

    spec: ModelSpec
    options: Options
    query: str
    documents: list[str]
    top: int
    """How many of the best documents are told."""
    keep_alive_s: float | None
    truncate: bool
    gives_raw: bool
    gives_documents: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """The best documents, the best first, as the API tells them."""

    results: list[dict[str, Any]]
    prompt_tokens: int
    load_ns: int


async def rerank(request: Request) -> Response:
    """The documents in the order in which they answer the query, in the form of /v1."""
    began_ns = time.perf_counter_ns()
    body, ranks = await _answered(request, began_ns)
    tokens = {"prompt_tokens": ranks.prompt_tokens, "total_tokens": ranks.prompt_tokens}
    return json_reply(
        {
            "id": new_id("rerank-"),
            "object": "list",
            "model": body.model,
            "results": ranks.results,
            "usage": tokens,
        }
    )


async def native_rerank(request: Request) -> Response:
    """The documents in the order in which they answer the query, in the native form."""
    began_ns = time.perf_counter_ns()
    body, ranks = await _answered(request, began_ns)
    return json_reply(
        {
            "model": body.model,
            "results": ranks.results,
            "total_duration": time.perf_counter_ns() - began_ns,
            "load_duration": ranks.load_ns,
            "prompt_eval_count": ranks.prompt_tokens,
        }
    )


async def _answered(request: Request, began_ns: int) -> tuple[RerankBody, Ranks]:
    api, body = api_of(request), await decode_body(request, RerankBody)
    work = _ranked(api, await _parsed(api, body), began_ns)
    return body, await until_disconnect(request.receive, work)


async def _parsed(api: Api, body: RerankBody) -> Ranking:
    """What a request asks for.

    Raises:
        InvalidRequest, ModelNotFound, UnsupportedCapability: it cannot be done.
    """
    name = require_model(body.model)
    if not body.query:
        raise InvalidRequest("query is required", field="query")
    documents = _documents(body.documents)
    top = len(documents) if body.top_n is None else body.top_n
    if top < 1:
        raise InvalidRequest("top_n must be at least 1", field="top_n")
    keep_alive_s = parse_keep_alive(body.keep_alive)
    spec = await find_model(api, name, not_found=f"model '{name}' not found")
    if not spec.ranks:
        raise UnsupportedCapability(
            f'"{name}" does not support rerank',
            model=spec.name,
            capability="rerank",
            hint="it takes a model with a classifier, whose capabilities name rerank",
        )
    return Ranking(
        spec=spec,
        options=Options.layered(spec.parameters, body.options or {}),
        query=body.query,
        documents=documents,
        top=top,
        keep_alive_s=keep_alive_s,
        truncate=body.truncate is True,
        gives_raw=body.raw_scores is True,
        gives_documents=body.return_documents is True,
    )


def _documents(given: Any) -> list[str]:
    """The texts to rank: texts, or objects with one. Raises: InvalidRequest."""
    if not isinstance(given, list) or not given:
        raise InvalidRequest(
            "documents must be an array of texts, and not empty", field="documents"
        )
    if len(given) > MOST_DOCUMENTS:
        raise InvalidRequest(
            f"{len(given)} documents are over the limit of {MOST_DOCUMENTS}", field="documents"
        )
    return [_document(one, place) for place, one in enumerate(given)]


def _document(given: Any, place: int) -> str:
    text = given.get("text") if isinstance(given, dict) else given
    if not isinstance(text, str):
        raise InvalidRequest(
            f"documents[{place}] must be a text, or an object with a text", field="documents"
        )
    return text


async def _ranked(api: Api, wanted: Ranking, began_ns: int) -> Ranks:
    """The best documents with their scores.

    A score is a probability, 0 to 1; with `gives_raw` what the model's classifier says.

    Raises:
        InvalidRequest: the query and a document are too long together.
        EngineError: the model cannot be loaded, or its runner dies.
    """

    async def work(lease: Lease) -> tuple[Sequence[float], int, int]:
        load_ns = time.perf_counter_ns() - began_ns
        try:
            reply = await lease.runner.rank(
                wanted.query,
                wanted.documents,
                truncate=wanted.truncate,
                context_tokens=wanted.options.context_tokens,
            )
            return reply.scores, reply.prompt_tokens, load_ns
        except ContextExceeded as error:
            raise InvalidRequest(
                f"the query and a document exceed the context length {error.numbers('documents')}",
                field="documents",
                hint="truncate: true cuts documents",
            ) from error

    scores, prompt_tokens, load_ns = await with_model(
        api.services,
        wanted.spec,
        wanted.options,
        wanted.keep_alive_s,
        began_ns=began_ns,
        work=work,
    )
    return Ranks(results=_best(wanted, scores), prompt_tokens=prompt_tokens, load_ns=load_ns)


def _best(wanted: Ranking, scores: Sequence[float]) -> list[dict[str, Any]]:
    is_logit = wanted.spec.gguf.architecture not in _GIVE_PROBABILITIES
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    results: list[dict[str, Any]] = []
    for index in order[: wanted.top]:
        score = scores[index]
        if is_logit and not wanted.gives_raw:
            score = 0.5 + 0.5 * math.tanh(score / 2)  # the logistic function, without overflow
        result: dict[str, Any] = {"index": index, "relevance_score": score}
        if wanted.gives_documents:
            result["document"] = {"text": wanted.documents[index]}
        results.append(result)
    return results
