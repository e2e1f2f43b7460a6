"""GET /openapi.json and /docs: the daemon's own description of its API, for programs and people.

Made when somebody asks for it for the first time; the page is one file without scripts.
"""

import asyncio
import base64
import hashlib
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.jsontext import encode_json
from olmkit.engine.api.streams import JSON


async def openapi(request: Request) -> Response:
    """The API in OpenAPI 3.1."""
    return Response(encode_json(await asyncio.to_thread(_document)), media_type=JSON)


async def docs(request: Request) -> Response:
    """The API as a page to read, which needs nothing from elsewhere."""
    page, style_hash = await asyncio.to_thread(_page)
    policy = f"default-src 'none'; style-src '{style_hash}'; base-uri 'none'; form-action 'none'; "
    headers = {
        "Content-Security-Policy": policy + "frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return Response(page, headers=headers, media_type="text/html; charset=utf-8")


@cache
def _document() -> dict[str, Any]:
    from olmkit.engine.api.operations.endpoints import ENDPOINTS  # which lists this module too
    from olmkit.engine.api.operations.openapidocument import document_of

    return document_of(ENDPOINTS)


@cache
def _page() -> tuple[str, str]:
    """The page, and the hash of its style."""
    from olmkit.engine.api.operations.manualpage import STYLE, page_of

    digest = hashlib.sha256(STYLE.encode()).digest()
    return page_of(_document()), f"sha256-{base64.b64encode(digest).decode()}"
