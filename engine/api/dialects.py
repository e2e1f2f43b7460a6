"""Errors in the form of the API that a path belongs to."""

import re
from collections.abc import Iterable

from starlette.responses import PlainTextResponse, Response

from olmkit.engine.api.anthropic import failures as anthropic_failures
from olmkit.engine.api.openai import failures as openai_failures
from olmkit.engine.api.statuses import Failure, classify
from olmkit.engine.api.streams import error_reply as native_reply


def error_reply(path: str, error: Exception) -> Response:
    """The reply that tells of an error to who asked for this path."""
    if _is_below(path, "/v1/messages"):
        return anthropic_failures.error_reply(classify(error))
    if _is_below(path, "/v1"):
        return openai_failures.error_reply(classify(error))
    return native_reply(error)


def no_such_endpoint(path: str, paths: Iterable[str]) -> Response:
    """The reply to a path that leads nowhere; below /v1 it names those that lead somewhere."""
    if not _is_below(path, "/v1"):
        return PlainTextResponse("404 page not found", 404)
    # A route's convertor, as in {name:model}, is no part of the address.
    plain = (re.sub(r":\w+\}", "}", other) for other in paths if _is_below(other, "/v1"))
    known = ", ".join(plain)
    failure = Failure(
        status=404,
        code="unknown_endpoint",
        text=f"{path[:200]} is not served here; there are {known}",
    )
    if _is_below(path, "/v1/messages"):
        return anthropic_failures.error_reply(failure)
    return openai_failures.error_reply(failure)


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")
