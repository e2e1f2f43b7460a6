"""The daemon's ASGI application: routes, and what every reply has in common."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Scope

import olmkit
from olmkit.engine.api import dialects
from olmkit.engine.api.anthropic.messages import count_tokens, messages
from olmkit.engine.api.guard import Guard
from olmkit.engine.api.native import (
    blobuploads,
    housekeeping,
    listing,
    pullcreate,
    push,
    saveload,
    status,
    tokenize,
)
from olmkit.engine.api.native.chat import chat
from olmkit.engine.api.native.embed import embed, embeddings
from olmkit.engine.api.native.generate import generate
from olmkit.engine.api.openai.chat import chat_completions
from olmkit.engine.api.openai.completions import completions
from olmkit.engine.api.openai.embeddings import embeddings as openai_embeddings
from olmkit.engine.api.openai.models import get_model, list_models
from olmkit.engine.api.openai.rerank import native_rerank, rerank
from olmkit.engine.api.openai.responses import responses
from olmkit.engine.api.operations.observer import ROUTE, Observer
from olmkit.engine.api.operations.plan import plan
from olmkit.engine.api.operations.probes import healthz, readyz
from olmkit.engine.api.operations.scrape import metrics
from olmkit.engine.api.rawoutputs import parse
from olmkit.engine.api.state import Api
from olmkit.engine.api.statuses import KNOWN_ERRORS
from olmkit.engine.services import Services

Handler = Callable[[Request], Awaitable[Response]]

log = logging.getLogger(__name__)


def create_app(services: Services) -> ASGIApp:
    """The application that serves olm's API with these services. Call it in the event loop."""
    api = Api(services)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        api.start()
        yield
        await api.close()

    app = Starlette(
        routes=_routes(),
        exception_handlers={
            404: _not_found,
            405: _wrong_method,
            Exception: _failed,
            **dict.fromkeys(KNOWN_ERRORS, _failed),
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    app.state.api = api
    settings = services.settings
    # Both outside of the app, so that also an internal error carries the server's name and an id.
    guard = Guard(
        app,
        address=settings.address,
        origins=settings.origins,
        hosts=settings.hosts,
        server=f"olm/{olmkit.__version__}",
    )
    return Observer(guard, services.metrics)


def _routes() -> list[Route]:
    table: tuple[tuple[str, Handler, str], ...] = (
        ("/", status.root, "GET HEAD"),
        ("/api/version", status.version, "GET HEAD"),
        ("/api/status", status.status, "GET"),
        ("/api/me", status.me, "POST"),
        ("/api/ps", status.ps, "GET"),
        ("/api/tags", listing.tags, "GET HEAD"),
        ("/api/show", listing.show, "POST"),
        ("/api/copy", listing.copy, "POST"),
        ("/api/delete", listing.delete, "DELETE"),
        ("/api/generate", generate, "POST"),
        ("/api/chat", chat, "POST"),
        ("/api/embed", embed, "POST"),
        ("/api/embeddings", embeddings, "POST"),
        ("/api/rerank", native_rerank, "POST"),
        ("/api/parse", parse, "POST"),
        ("/api/plan", plan, "POST"),
        ("/api/tokenize", tokenize.tokenize, "POST"),
        ("/api/detokenize", tokenize.detokenize, "POST"),
        ("/api/pull", pullcreate.pull, "POST"),
        ("/api/push", push.push, "POST"),
        ("/api/create", pullcreate.create_model, "POST"),
        ("/api/import", pullcreate.import_file, "POST"),
        ("/api/inspect", housekeeping.inspect, "POST"),
        ("/api/usage", housekeeping.used, "GET"),
        ("/api/prune", housekeeping.prune, "POST"),
        ("/api/verify", housekeeping.verify, "POST"),
        ("/api/save", saveload.save, "POST"),
        ("/api/load", saveload.load, "POST"),
        ("/api/blobs/{digest}", blobuploads.blob, "HEAD POST"),
        ("/v1/chat/completions", chat_completions, "POST"),
        ("/v1/completions", completions, "POST"),
        ("/v1/embeddings", openai_embeddings, "POST"),
        ("/v1/rerank", rerank, "POST"),
        ("/v1/models", list_models, "GET"),
        ("/v1/models/{name:model}", get_model, "GET"),
        ("/v1/responses", responses, "POST"),
        ("/v1/messages", messages, "POST"),
        ("/v1/messages/count_tokens", count_tokens, "POST"),
        ("/healthz", healthz, "GET HEAD"),
        ("/readyz", readyz, "GET HEAD"),
        ("/metrics", metrics, "GET"),
    )
    return [_ExactRoute(path, handler, methods=methods.split()) for path, handler, methods in table]


class _ModelConvertor(PathConvertor):
    """The name of a model in a path: with slashes, none of them the last."""

    regex = ".*[^/]"


register_url_convertor("model", _ModelConvertor())


class _ExactRoute(Route):
    """A route with exactly the methods that are given: Starlette's own adds HEAD to every GET."""

    def __init__(self, path: str, endpoint: Handler, *, methods: list[str]) -> None:
        super().__init__(path, endpoint, methods=methods)
        self.methods = set(methods)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the route is that of a request; the scope is told which one it is."""
        match, found = super().matches(scope)
        return match, {**found, ROUTE: self.path_format}


async def _not_found(request: Request, error: Exception) -> Response:
    path = request.scope["path"]
    clean = "/" + "/".join(part for part in path.split("/") if part)
    is_known = any(route.path_regex.fullmatch(clean) for route in request.app.routes)
    if clean != path and is_known:
        query = f"?{request.url.query}" if request.url.query else ""
        status = 301 if request.method == "GET" else 307
        return Response(status_code=status, headers={"Location": quote(clean, safe="/:") + query})
    return dialects.no_such_endpoint(path, [route.path for route in request.app.routes])


async def _wrong_method(request: Request, error: Exception) -> Response:
    headers = error.headers if isinstance(error, HTTPException) else None
    return PlainTextResponse("405 method not allowed", 405, headers)


async def _failed(request: Request, error: Exception) -> Response:
    return dialects.error_reply(request.url.path, error)
