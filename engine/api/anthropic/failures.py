"""Errors as Anthropic's API tells them.

Source: https://docs.anthropic.com/en/api/errors
"""

from typing import Any, Final

from starlette.responses import Response

from olmkit.engine.api.sse import event_frame
from olmkit.engine.api.statuses import Failure
from olmkit.engine.api.streams import json_reply
from olmkit.engine.telemetry.requestrecord import current_record

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}


def _body(failure: Failure) -> dict[str, Any]:
    text = failure.text if not failure.hint else f"{failure.text} ({failure.hint})"
    error = {"type": _TYPES.get(failure.status, "api_error"), "message": text}
    record = current_record()
    return {"type": "error", "error": error, "request_id": record.id if record else None}


def error_reply(failure: Failure) -> Response:
    """The reply that tells of an error."""
    reply = json_reply(_body(failure), status=failure.status)
    reply.headers.update(failure.headers)
    return reply


def error_frame(failure: Failure) -> bytes:
    """The last event of a stream that fails."""
    return event_frame("error", _body(failure))
