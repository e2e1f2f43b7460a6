"""ASGI middleware: gives each request its id, counts it, and says in headers what became of it.

Outermost, so that what is refused counts too.
"""

import logging
import time
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from olmkit.engine.api.operations.replyheaders import (
    PRIORITY,
    PROGRESS,
    REQUEST_ID,
    TIMEOUT,
    headers_of,
)
from olmkit.engine.api.streams import BODY_SEND
from olmkit.engine.configuration.settingreader import DEBUG
from olmkit.engine.telemetry.eventlog import EventLog, Fact
from olmkit.engine.telemetry.metrics import Metrics
from olmkit.engine.telemetry.requestrecord import RequestRecord, begin_record
from olmkit.engine.telemetry.tracing import Tracing

NO_ROUTE: Final = "none"
LEFT: Final = 499
"""Stands for a status where the client left before there was one."""

log = logging.getLogger(__name__)


class Observer:
    """See the module."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        tracing: Tracing | None = None,
        events: EventLog | None = None,
    ) -> None:
        self._app = app
        self._events = events or EventLog()
        self._tracing = tracing
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.perf_counter()
        given = Headers(scope=scope)
        record = begin_record(given.get(REQUEST_ID))
        record.priority, record.timeout = given.get(PRIORITY), given.get(TIMEOUT)
        record.wants_progress = given.get(PROGRESS)
        if self._tracing is not None:
            record.trace = self._tracing.request(scope["method"], scope["path"], given)
        scope[BODY_SEND] = send
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in headers_of(record, scope["path"]).items():
                    headers[name] = value
            await send(message)

        self._metrics.in_progress += 1
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._metrics.in_progress -= 1
            if record.trace is not None:
                record.trace.end(record.route or None, scope["method"], status, record.id)
            took_s = time.perf_counter() - began_s
            self._count(record.route or NO_ROUTE, scope["method"], status, took_s)
            if record.model:
                self._record(record, status, took_s)

    def _record(self, record: RequestRecord, status: int, took_s: float) -> None:
        """An event for a request to a model: numbers and names, nothing of its text."""
        facts: dict[str, Fact] = {
            "request": record.id,
            "route": record.route,
            "status": status or LEFT,
            "took_s": round(took_s, 3),
        }
        told: dict[str, Fact] = {
            "end": record.end,
            "prompt_tokens": record.prompt_tokens,
            "cached_tokens": record.cached_tokens or 0,
            "completion_tokens": record.completion_tokens,
        }
        facts |= {name: value for name, value in told.items() if value}
        self._events.record("request", "end", record.model, **facts)

    def _count(self, route: str, method: str, status: int, took_s: float) -> None:
        method = self._metrics.method(method)
        self._metrics.requests.of(route, method, str(status or LEFT)).add()
        self._metrics.request_s.of(route).observe(took_s)
        if log.isEnabledFor(DEBUG):
            took_ms = round(took_s * 1e3, 1)
            facts = {"route": route, "method": method, "status": status, "took_ms": took_ms}
            log.debug("answered", extra=facts)
