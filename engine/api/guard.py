"""Checks of the headers `Origin` and `Host`, against web pages that send requests to the daemon.

A browser on this machine lets any page send requests to any address. `Origin` says which site the
page is from. `Host` is the name in the address: it differs from this machine's names when a site
lets its own name resolve to 127.0.0.1 (DNS rebinding). A refusal names the setting to change.
Source: `allowedHostsMiddleware` of https://github.com/ollama/ollama/blob/v0.17.4/server/routes.go
and `AllowedOrigins` of https://github.com/ollama/ollama/blob/v0.17.4/envconfig/config.go
"""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from olmkit.engine.access.origins import Origins
from olmkit.engine.addresses.address import Address
from olmkit.engine.api.native.blobuploads import OFFSET_HEADER
from olmkit.engine.api.operations import replyheaders
from olmkit.engine.api.statuses import Failure
from olmkit.engine.api.streams import JSON

PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS",
    "Access-Control-Allow-Headers": (
        "Authorization,Content-Type,Content-Encoding,Content-Range,User-Agent,Accept,"
        "X-Requested-With,X-Request-Id,X-Api-Key,Api-Key,Traceparent,Tracestate,"
        "X-Olm-Priority,X-Olm-Timeout,X-Olm-Progress,"
        "Anthropic-Version,Anthropic-Beta,Anthropic-Dangerous-Direct-Browser-Access,"
        "Openai-Beta,Openai-Organization,Openai-Project,"
        + ",".join(
            f"X-Stainless-{name}"
            for name in (
                *("Arch", "Async", "Custom-Poll-Interval", "Helper-Method", "Lang", "Os"),
                *("Package-Version", "Poll-Helper", "Retry-Count", "Runtime"),
                *("Runtime-Version", "Timeout"),
            )
        )
    ),
    "Access-Control-Max-Age": "43200",
    "Vary": "Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
}

EXPOSED: Final = ",".join(
    (*replyheaders.EXPOSED, OFFSET_HEADER, "Retry-After", "X-Olm-Queue-Position")
)
"""What pages of allowed origins may read, besides what the Fetch standard lets them read."""
_ASKS_FOR_NETWORK: Final = "access-control-request-private-network"
"""A page of the internet asks this machine; https://wicg.github.io/private-network-access/."""


class Guard:
    """ASGI middleware: refuses strange origins and hosts, answers preflights, names the server."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        address: Address,
        origins: Iterable[str],
        server: str,
        hosts: Iterable[str] = (),
    ) -> None:
        self._app = app
        self._origins = Origins(origins)
        self._server = server
        self._hosts = Hosts(hosts) if address.is_loopback and not address.is_unix else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer preflights and refuse what is not allowed here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        extra = {"Server": self._server}
        if not self._origins.allows_all:
            extra["Vary"] = "Origin"  # also without one: what is kept may be shown to another page
        is_cross = origin is not None and origin not in (f"http://{host}", f"https://{host}")
        if is_cross and origin is not None:
            if not self._origins.allow(origin):
                await _refuse_origin(origin, extra)(scope, receive, send)
                return
            extra["Access-Control-Allow-Origin"] = "*" if self._origins.allows_all else origin
            if scope["method"] == "OPTIONS":
                if headers.get(_ASKS_FOR_NETWORK) == "true":
                    extra["Access-Control-Allow-Private-Network"] = "true"
                await Response(None, 204, extra | PREFLIGHT)(scope, receive, send)
                return
            extra["Access-Control-Expose-Headers"] = EXPOSED
        if self._hosts is not None and not self._hosts.allow(host):
            await _refuse_host(host, extra)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                reply_headers = MutableHeaders(scope=message)
                for name, value in extra.items():
                    reply_headers[name] = value
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Hosts:
    """The names under which a daemon that listens on loopback may be addressed.

    Loopback's, this machine's own, and those that the user adds. No suffix but `.localhost`, which
    is loopback by RFC 6761: whoever owns a name below another one decides where it leads.
    """

    def __init__(self, added: Iterable[str] = ()) -> None:
        self._names = {"", "localhost", socket.gethostname().lower(), *map(str.lower, added)}

    def allow(self, host_header: str) -> bool:
        """Whether a `Host` header names this machine."""
        host = _without_port(host_header).lower()
        try:
            return _is_near(ipaddress.ip_address(host.strip("[]")))
        except ValueError:
            return host in self._names or host.endswith(".localhost")


def _is_near(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    if address.is_loopback or address.is_unspecified:
        return True
    import psutil

    return any(
        str(address) == entry.address.split("%")[0]
        for entries in psutil.net_if_addrs().values()
        for entry in entries
    )


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]


def _refuse(text: str, hint: str, headers: dict[str, str]) -> Response:
    failure = Failure(status=403, code="forbidden", text=text, hint=hint)
    return Response(failure.body, 403, headers, media_type=JSON)


def _refuse_origin(origin: str, headers: dict[str, str]) -> Response:
    return _refuse(
        f"the origin {origin[:200]} is not allowed",
        f"start the daemon with OLM_ORIGINS={origin[:200]} to allow it",
        headers,
    )


def _refuse_host(host: str, headers: dict[str, str]) -> Response:
    return _refuse(
        f"the host {host[:200]} is not this machine's",
        f"use localhost or 127.0.0.1, or start the daemon with OLM_HOSTS={host[:200]} to allow it",
        headers,
    )
