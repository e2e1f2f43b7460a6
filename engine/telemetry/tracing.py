"""Traces over OTLP, where the extra `olmkit[otel]` is installed and an endpoint is set.

OpenTelemetry's own variables configure it: endpoint, headers, sampling, names. A request is a span,
the answer of a model one below it, by the semantic conventions for generative AI; what was asked
and answered is left out unless OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is true.
Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/,
https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

import json
import logging
from collections.abc import Mapping
from typing import Any, Final

import olmkit
from olmkit.engine.settings import Settings

CLOSE_MS: Final = 2000
"""So long at most the last spans are waited for at the daemon's end."""
_OPERATIONS: Final = {
    "/api/generate": "text_completion",
    "/v1/completions": "text_completion",
    "/api/embed": "embeddings",
    "/api/embeddings": "embeddings",
    "/v1/embeddings": "embeddings",
}
PROVIDER: Final = "olm"

log = logging.getLogger(__name__)


def start_tracing(settings: Settings) -> "Tracing | None":
    """What makes spans; None where no endpoint is set, or the extra is missing."""
    if not settings.traces:
        return None
    try:
        return Tracing(with_content=settings.traces_content)
    except ImportError:
        hint = "pip install 'olmkit[otel]'"
        log.warning("no traces: OpenTelemetry is not installed", extra={"mend": hint})
        return None


class Tracing:
    """Makes the spans of requests. Spans leave in a thread of OpenTelemetry's."""

    def __init__(self, *, with_content: bool) -> None:
        """Raises: ImportError, the extra is not installed."""
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over what is given here.
        named = {"service.name": "olm", "service.version": olmkit.__version__}
        resource = Resource(named).merge(Resource.create({}))
        if resource.attributes.get("service.name") == "unknown_service":
            resource = resource.merge(Resource(named))
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("olm", olmkit.__version__)
        self._parents = TraceContextTextMapPropagator()
        self._trace = trace
        self._with_content = with_content

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> "RequestTrace":
        """The span of a request, below the client's where it sent one (`traceparent`)."""
        parent = self._parents.extract(dict(headers))
        span = self._tracer.start_span(
            method,
            context=parent,
            kind=self._trace.SpanKind.SERVER,
            attributes={"http.request.method": method, "url.path": path[:200]},
        )
        below = self._trace.set_span_in_context(span)
        return RequestTrace(span, below, self._tracer, with_content=self._with_content)

    def close(self) -> None:
        """Send what is left, for a bounded time. Blocks."""
        self._provider.force_flush(CLOSE_MS)
        self._provider.shutdown()


class RequestTrace:
    """The span of one request."""

    def __init__(self, span: Any, below: Any, tracer: Any, *, with_content: bool) -> None:
        self._span = span
        self._below = below
        self._tracer = tracer
        self._with_content = with_content

    def answer(self, route: str, model: str, asked: Mapping[str, Any]) -> "AnswerTrace":
        """The span of an answer; `asked` are the parameters by their conventional names."""
        operation = _OPERATIONS.get(route, "chat")
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": model,
            "gen_ai.response.model": model,
            **{f"gen_ai.request.{name}": value for name, value in asked.items()},
        }
        span = self._tracer.start_span(
            f"{operation} {model}", context=self._below, attributes=attributes
        )
        return AnswerTrace(span, with_content=self._with_content)

    def end(self, route: str | None, method: str, status: int, request_id: str) -> None:
        """The request was answered; status 0: its client left."""
        self._span.set_attribute("olm.request.id", request_id)
        if route is not None:
            self._span.update_name(f"{method} {route}")
            self._span.set_attribute("http.route", route)
        if status:
            self._span.set_attribute("http.response.status_code", status)
        if status >= 500 or not status:
            self._span.set_attribute("error.type", str(status or "cancelled"))
            _fail(self._span, "")
        self._span.end()


class AnswerTrace:
    """The span of one answer."""

    def __init__(self, span: Any, *, with_content: bool) -> None:
        self._span = span
        self.with_content = with_content

    def asked(self, prompt: str) -> None:
        """The prompt, as the model gets it."""
        parts = [{"type": "text", "content": prompt}]
        told = json.dumps([{"role": "user", "parts": parts}], ensure_ascii=False)
        self._span.set_attribute("gen_ai.input.messages", told)

    def answered(self, text: str, reason: str) -> None:
        """The answer, as the model wrote it."""
        parts = [{"type": "text", "content": text}]
        message = {"role": "assistant", "parts": parts, "finish_reason": reason}
        told = json.dumps([message], ensure_ascii=False)
        self._span.set_attribute("gen_ai.output.messages", told)

    def end(self, facts: Mapping[str, Any], error: str = "", why: str = "") -> None:
        """The answer's end; `error` is the kind of failure, empty for none."""
        for name, value in facts.items():
            self._span.set_attribute(name, value)
        if error:
            self._span.set_attribute("error.type", error)
            _fail(self._span, why)
        self._span.end()


def _fail(span: Any, why: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.ERROR, why or None))
