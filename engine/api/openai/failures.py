"""Errors as OpenAI's API tells them.

Source: https://platform.openai.com/docs/guides/error-codes; the types are Ollama's.
"""

from typing import Any, Final

from starlette.responses import Response

from olmkit.engine.api.sse import data_frame
from olmkit.engine.api.statuses import Failure
from olmkit.engine.api.streams import json_reply

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_object(failure: Failure) -> dict[str, Any]:
    """The member `error`."""
    text = failure.text if not failure.hint else f"{failure.text} ({failure.hint})"
    return {
        "message": text,
        "type": _TYPES.get(failure.status, "api_error"),
        "param": None,
        "code": failure.code,
    }


def error_reply(failure: Failure) -> Response:
    """The reply that tells of an error."""
    reply = json_reply({"error": error_object(failure)}, status=failure.status)
    reply.headers.update(failure.headers)
    return reply


def error_frames(failure: Failure) -> bytes:
    """The last frame of a stream that fails."""
    return data_frame({"error": error_object(failure)})
