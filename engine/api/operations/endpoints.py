"""All that the daemon can be asked: the table that routes and description are both made of."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.access.scopes import Need
from olmkit.engine.api.anthropic.messages import count_tokens, messages
from olmkit.engine.api.anthropic.messagesbody import MessagesBody
from olmkit.engine.api.native import (
    blobuploads,
    housekeeping,
    listing,
    pullcreate,
    push,
    saveload,
    status,
    tokenize,
    types,
)
from olmkit.engine.api.native.chat import chat
from olmkit.engine.api.native.embed import embed, embeddings
from olmkit.engine.api.native.generate import generate
from olmkit.engine.api.openai import bodies
from olmkit.engine.api.openai.chat import chat_completions
from olmkit.engine.api.openai.completions import completions
from olmkit.engine.api.openai.embeddings import embeddings as openai_embeddings
from olmkit.engine.api.openai.models import get_model, list_models
from olmkit.engine.api.openai.rerank import native_rerank, rerank
from olmkit.engine.api.openai.responses import (
    forget_response,
    responses,
    stored_input_items,
    stored_response,
)
from olmkit.engine.api.operations import anthropicreplies, openaireplies
from olmkit.engine.api.operations.descriptions import docs, openapi
from olmkit.engine.api.operations.events import events
from olmkit.engine.api.operations.plan import plan
from olmkit.engine.api.operations.probes import healthz, readyz
from olmkit.engine.api.operations.promptkeeping import ForgetRequest, forget_prompts, kept_prompts
from olmkit.engine.api.operations.scrape import metrics
from olmkit.engine.api.operations.stats import stats
from olmkit.engine.api.rawoutputs import parse
from olmkit.engine.api.sse import EVENT_STREAM
from olmkit.engine.api.streams import NDJSON
from olmkit.engine.api.trust import signatures

Handler = Callable[[Request], Awaitable[Response]]
Body = type[msgspec.Struct]

JSON: Final = "application/json"
TEXT: Final = "text/plain"
HTML: Final = "text/html"
TAR: Final = "application/x-tar"
BYTES: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One path, and what is said there. The handler's docstring describes it."""

    path: str
    """As starlette writes it: `{name}` or `{name:convertor}` for what varies."""
    handler: Handler
    methods: tuple[str, ...]
    need: Need
    """What it asks of a key."""
    body: Body | None = None
    """What the handler decodes; None: nothing, or bytes."""
    takes: str = ""
    """The media type of a body that is no JSON."""
    reply: Any = None
    """The JSON of a reply; None: an object that is described nowhere else."""
    gives: str = JSON
    """The media type of a reply."""
    streams: str = ""
    """The media type of a streamed reply; empty: it never streams."""

    @property
    def tells_progress(self) -> bool:
        """Whether a stream tells what its client waits for, where `X-Olm-Progress` asks for it."""
        return bool(self.streams) and self.need is Need.INFER


def _of(
    path: str, handler: Handler, methods: str, need: Need, body: Body | None = None, **more: Any
) -> Endpoint:
    words = tuple(methods.split())
    return Endpoint(path=path, handler=handler, methods=words, need=need, body=body, **more)


ENDPOINTS: Final = (
    _of("/", status.root, "GET HEAD", Need.NOTHING, gives=TEXT),
    _of("/api/version", status.version, "GET HEAD", Need.NOTHING),
    _of("/api/status", status.status, "GET", Need.LIST),
    _of("/api/me", status.me, "POST", Need.LIST),
    _of("/api/signout", status.signout, "POST", Need.LIST),
    _of("/api/user/keys/{key}", status.signout, "DELETE", Need.LIST),
    _of("/api/experimental/web_search", status.cloud_search, "POST", Need.LIST),
    _of("/api/experimental/web_fetch", status.cloud_search, "POST", Need.LIST),
    _of("/api/experimental/model-recommendations", status.recommendations, "GET", Need.LIST),
    _of("/api/ps", status.ps, "GET", Need.READ, reply=types.RunningModels),
    _of("/api/tags", listing.tags, "GET HEAD", Need.LIST, reply=types.ListedModels),
    _of("/api/show", listing.show, "POST", Need.LIST, types.ShowRequest),
    _of("/api/copy", listing.copy, "POST", Need.MANAGE, types.CopyRequest, gives=""),
    _of("/api/delete", listing.delete, "DELETE", Need.MANAGE, types.DeleteRequest, gives=""),
    _of(
        "/api/generate",
        generate,
        "POST",
        Need.INFER,
        types.GenerateRequest,
        reply=types.GenerateReply,
        streams=NDJSON,
    ),
    _of(
        "/api/chat",
        chat,
        "POST",
        Need.INFER,
        types.ChatRequest,
        reply=types.ChatReply,
        streams=NDJSON,
    ),
    _of("/api/embed", embed, "POST", Need.INFER, types.EmbedRequest, reply=types.EmbedReply),
    _of("/api/embeddings", embeddings, "POST", Need.INFER, types.EmbeddingsRequest),
    _of(
        "/api/rerank",
        native_rerank,
        "POST",
        Need.INFER,
        bodies.RerankBody,
        reply=openaireplies.NativeRanked,
    ),
    _of("/api/parse", parse, "POST", Need.INFER, types.ParseRequest, reply=types.ParseReply),
    _of("/api/plan", plan, "POST", Need.LIST, types.PlanRequest),
    _of(
        "/api/tokenize",
        tokenize.tokenize,
        "POST",
        Need.INFER,
        types.TokenizeRequest,
        reply=types.TokenizeReply,
    ),
    _of(
        "/api/detokenize",
        tokenize.detokenize,
        "POST",
        Need.INFER,
        types.DetokenizeRequest,
        reply=types.DetokenizeReply,
    ),
    _of(
        "/api/pull",
        pullcreate.pull,
        "POST",
        Need.MANAGE,
        types.PullRequest,
        reply=types.Progress,
        streams=NDJSON,
    ),
    _of(
        "/api/push",
        push.push,
        "POST",
        Need.MANAGE,
        types.PushRequest,
        reply=types.Progress,
        streams=NDJSON,
    ),
    _of(
        "/api/create",
        pullcreate.create_model,
        "POST",
        Need.MANAGE,
        types.CreateRequest,
        reply=types.Progress,
        streams=NDJSON,
    ),
    _of(
        "/api/import",
        pullcreate.import_file,
        "POST",
        Need.MANAGE,
        types.ImportRequest,
        reply=types.Progress,
        streams=NDJSON,
    ),
    _of("/api/inspect", housekeeping.inspect, "POST", Need.READ, housekeeping.InspectRequest),
    _of("/api/usage", housekeeping.used, "GET", Need.READ),
    _of(
        "/api/prune",
        housekeeping.prune,
        "POST",
        Need.MANAGE,
        housekeeping.PruneRequest,
        streams=NDJSON,
    ),
    _of(
        "/api/verify",
        housekeeping.verify,
        "POST",
        Need.MANAGE,
        housekeeping.VerifyRequest,
        gives=NDJSON,
    ),
    _of(
        "/api/signatures",
        signatures.signatures,
        "POST",
        Need.MANAGE,
        signatures.SignaturesRequest,
    ),
    _of("/api/sign", signatures.sign, "POST", Need.MANAGE, signatures.SignRequest),
    _of("/api/events", events, "GET", Need.READ, gives=NDJSON),
    _of("/api/stats", stats, "GET", Need.READ),
    _of("/api/cache", kept_prompts, "GET", Need.READ),
    _of("/api/cache", forget_prompts, "DELETE", Need.MANAGE, ForgetRequest),
    _of("/api/save", saveload.save, "POST", Need.MANAGE, saveload.SaveRequest, gives=TAR),
    _of("/api/load", saveload.load, "POST", Need.MANAGE, takes=TAR, gives=NDJSON),
    _of("/api/blobs/{digest}", blobuploads.blob, "HEAD POST", Need.MANAGE, takes=BYTES, gives=""),
    _of(
        "/v1/chat/completions",
        chat_completions,
        "POST",
        Need.INFER,
        bodies.ChatCompletionBody,
        reply=openaireplies.ChatCompletion,
        streams=EVENT_STREAM,
    ),
    _of(
        "/v1/completions",
        completions,
        "POST",
        Need.INFER,
        bodies.CompletionBody,
        reply=openaireplies.Completion,
        streams=EVENT_STREAM,
    ),
    _of(
        "/v1/embeddings",
        openai_embeddings,
        "POST",
        Need.INFER,
        bodies.EmbeddingBody,
        reply=openaireplies.EmbeddingList,
    ),
    _of("/v1/rerank", rerank, "POST", Need.INFER, bodies.RerankBody, reply=openaireplies.Ranked),
    _of("/v1/models", list_models, "GET", Need.LIST, reply=openaireplies.ModelList),
    _of("/v1/models/{name:model}", get_model, "GET", Need.LIST, reply=openaireplies.ModelObject),
    _of(
        "/v1/responses",
        responses,
        "POST",
        Need.INFER,
        bodies.ResponseBody,
        reply=openaireplies.ResponseObject,
        streams=EVENT_STREAM,
    ),
    _of(
        "/v1/responses/{id}",
        stored_response,
        "GET",
        Need.INFER,
        reply=openaireplies.ResponseObject,
    ),
    _of(
        "/v1/responses/{id}",
        forget_response,
        "DELETE",
        Need.INFER,
        reply=openaireplies.ResponseForgotten,
    ),
    _of(
        "/v1/responses/{id}/input_items",
        stored_input_items,
        "GET",
        Need.INFER,
        reply=openaireplies.ResponseInputItems,
    ),
    _of(
        "/v1/messages",
        messages,
        "POST",
        Need.INFER,
        MessagesBody,
        reply=anthropicreplies.MessageObject,
        streams=EVENT_STREAM,
    ),
    _of(
        "/v1/messages/count_tokens",
        count_tokens,
        "POST",
        Need.INFER,
        MessagesBody,
        reply=anthropicreplies.TokenCount,
    ),
    _of("/healthz", healthz, "GET HEAD", Need.NOTHING),
    _of("/readyz", readyz, "GET HEAD", Need.NOTHING),
    _of("/metrics", metrics, "GET", Need.READ, gives=TEXT),
    _of("/openapi.json", openapi, "GET", Need.NOTHING),
    _of("/docs", docs, "GET", Need.NOTHING, gives=HTML),
)
