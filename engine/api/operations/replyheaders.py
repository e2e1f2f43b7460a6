"""The headers by which replies tell what became of a request; docs/observability.md explains them.

They go before the body: a streamed answer has those that are known at its first token.
"""

from typing import Final

from olmkit.engine.telemetry.requestrecord import RequestRecord

REQUEST_ID: Final = "X-Request-Id"
ANTHROPIC_REQUEST_ID: Final = "request-id"
"""Where Anthropic's clients look for it."""
PRIORITY: Final = "X-Olm-Priority"
TIMEOUT: Final = "X-Olm-Timeout"
"""Of requests: what options of the same names say, for clients that cannot send options."""
PROGRESS: Final = "X-Olm-Progress"
"""Of requests: a stream shall tell how far the load and the prompt are before its answer begins."""
DEVICE: Final = "X-Olm-Device"
CONTEXT_LENGTH: Final = "X-Olm-Context-Length"
CONTEXT_USED: Final = "X-Olm-Context-Used"
CACHED_TOKENS: Final = "X-Olm-Cached-Tokens"
TRUNCATED: Final = "X-Olm-Truncated"
SCHEMA_IGNORED: Final = "X-Olm-Schema-Ignored"
TOOLS_IGNORED: Final = "X-Olm-Tools-Ignored"
EXPOSED: Final = (
    *(REQUEST_ID, ANTHROPIC_REQUEST_ID, DEVICE, CONTEXT_LENGTH, CONTEXT_USED),
    *(CACHED_TOKENS, TRUNCATED, SCHEMA_IGNORED, TOOLS_IGNORED),
)
"""All of them."""


def headers_of(record: RequestRecord, path: str) -> dict[str, str]:
    """What is known of a request now, for the reply to it."""
    headers = {REQUEST_ID: record.id}
    if path.startswith("/v1/messages"):
        headers[ANTHROPIC_REQUEST_ID] = record.id
    numbers = {
        CONTEXT_LENGTH: record.context_tokens,
        CONTEXT_USED: record.used_tokens,
        CACHED_TOKENS: record.cached_tokens,
    }
    headers |= {name: str(number) for name, number in numbers.items() if number is not None}
    if record.device:
        headers[DEVICE] = record.device
    if record.lost:
        headers[TRUNCATED] = ", ".join(f"{what}={count}" for what, count in record.lost.items())
    return headers
