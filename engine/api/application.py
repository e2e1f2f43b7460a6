"""The daemon's ASGI application: routes, and what every reply has in common."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

import olmkit
from olmkit.engine.access.caller import enter
from olmkit.engine.access.scopes import Need
from olmkit.engine.api import dialects
from olmkit.engine.api.connections import PRIVATE
from olmkit.engine.api.guard import Guard
from olmkit.engine.api.operations.endpoints import ENDPOINTS, Handler
from olmkit.engine.api.operations.observer import Observer
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.statuses import KNOWN_ERRORS
from olmkit.engine.services import Services
from olmkit.engine.telemetry.requestrecord import current_record

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
        exception_handlers={
            404: _not_found,
            405: _wrong_method,
            Exception: _failed,
            **dict.fromkeys(KNOWN_ERRORS, _failed),
        },
    )
    app.router = _Router(routes(), redirect_slashes=False, lifespan=lifespan)
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
    return Observer(guard, services.metrics, services.tracing, services.events)


def routes() -> list[Route]:
    """A route for each endpoint."""
    return [
        _ExactRoute(
            each.path, _asked_for_a_key(each.handler, each.need), methods=list(each.methods)
        )
        for each in ENDPOINTS
    ]


def _asked_for_a_key(handler: Handler, need: Need) -> Handler:
    """The handler, for those whom the doorkeeper lets in."""

    async def handle(request: Request) -> Response:
        is_private = request.scope.get(PRIVATE) is True
        enter(api_of(request).doorkeeper.admit(need, request.headers, is_private=is_private))
        return await handler(request)

    return handle


class _ModelConvertor(PathConvertor):
    """The name of a model in a path: with slashes, none of them the last."""

    regex = ".*[^/]"


register_url_convertor("model", _ModelConvertor())


class _ExactRoute(Route):
    """A route with exactly the methods that are given: Starlette's own adds HEAD to every GET."""

    def __init__(self, path: str, endpoint: Handler, *, methods: list[str]) -> None:
        super().__init__(path, endpoint, methods=methods)
        self.methods = set(methods)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse the method; what is told of the request names the route."""
        if (record := current_record()) is not None:
            record.route = self.path_format
        await super().handle(scope, receive, send)


class _Router(Router):
    """Finds an endpoint at once where its path has no parts that vary: most requests' do not."""

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or do what Starlette does: look through all routes in turn."""
        route = self._exact.get((scope["method"], scope["path"])) if "method" in scope else None
        if route is None:
            await super().app(scope, receive, send)
            return
        scope["endpoint"], scope["path_params"] = route.endpoint, {}
        await route.handle(scope, receive, send)

    @cached_property
    def _exact(self) -> dict[tuple[str, str], Route]:
        """Routes by method and path."""
        exact = [one for one in self.routes if isinstance(one, Route) and not one.param_convertors]
        return {(method, one.path): one for one in exact for method in one.methods or ()}


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
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if request.method == "OPTIONS":  # RFC 9110, section 9.3.7
        return Response(None, 204, {"Allow": f"{headers.get('Allow', '')}, OPTIONS".strip(", ")})
    return PlainTextResponse("405 method not allowed", 405, headers)


async def _failed(request: Request, error: Exception) -> Response:
    return dialects.error_reply(request.url.path, error)
