"""GET and DELETE /v1/responses/{id}, GET /v1/responses/{id}/input_items.

Source: https://platform.openai.com/docs/api-reference/responses/get
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.openai.responsestore import Item
from olmkit.engine.api.state import api_of
from olmkit.engine.api.streams import json_reply
from olmkit.engine.errors import InvalidRequest

DEFAULT_PAGE: Final = 20
MOST_PAGE: Final = 100


async def stored_response(request: Request) -> Response:
    """The response as it was sent, or word that it is kept no longer."""
    response_id, kept = request.path_params["id"], api_of(request).responses
    if request.method == "DELETE":
        kept.remove(response_id)
        return json_reply({"id": response_id, "object": "response", "deleted": True})
    if request.query_params.get("stream") == "true":
        raise InvalidRequest("a stored response is not streamed again", field="stream")
    return json_reply(kept.get(response_id).response)


async def input_items(request: Request) -> Response:
    """A page of what the model was asked, the latest first unless `order` is `asc`."""
    stored = api_of(request).responses.get(request.path_params["id"])
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise InvalidRequest("order must be asc or desc", field="order")
    items = list(stored.input if order == "asc" else reversed(stored.input))
    page, has_more = _page(
        items, request.query_params.get("after"), _limit(request.query_params.get("limit"))
    )
    ids = [item["id"] for item in page]
    return json_reply(
        {
            "object": "list",
            "data": page,
            "first_id": ids[0] if ids else None,
            "last_id": ids[-1] if ids else None,
            "has_more": has_more,
        }
    )


def _limit(given: str | None) -> int:
    if given is None:
        return DEFAULT_PAGE
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= MOST_PAGE):
        raise InvalidRequest(f"limit must be between 1 and {MOST_PAGE}", field="limit")
    return int(given)


def _page(items: list[Item], after: str | None, limit: int) -> tuple[list[Item], bool]:
    """The items behind the one with the id `after`, and whether there are more of them."""
    start = 0
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise InvalidRequest(f"no item has the id {after[:80]!r}", field="after")
        start = ids.index(after) + 1
    return items[start : start + limit], len(items) > start + limit
