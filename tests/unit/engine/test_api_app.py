"""The application itself, without a daemon around it."""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from olmkit.engine.api.application import create_app
from olmkit.engine.services import Services
from olmkit.engine.settings import Settings
from olmkit.registry.store.store import Store


def ask(home: Path, method: str, path: str, **options: Any) -> httpx.Response:
    """A request to an app whose pool is missing: whatever needs one is an internal error."""

    async def main() -> httpx.Response:
        services = Services(
            settings=Settings(home=home, models=home / "models"),
            store=Store(home / "models"),
            pool=cast(Any, None),
            safeguard=cast(Any, None),
            templates=cast(Any, None),
            started_at=datetime.now().astimezone(),
        )
        transport = httpx.ASGITransport(create_app(services), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **options)

    return asyncio.run(main())


def test_an_internal_error_says_so_and_nothing_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reply = ask(tmp_path, "GET", "/api/ps")
    assert reply.status_code == 500
    told = reply.json()
    assert told.pop("request_id") == reply.headers["x-request-id"]
    assert told == {"error": "internal error", "code": "internal", "http_status": 500}
    assert reply.headers["server"].startswith("olm/")


def test_every_reply_names_the_server(tmp_path: Path) -> None:
    for method, path in (("GET", "/"), ("GET", "/nope"), ("POST", "/"), ("POST", "/api/chat")):
        assert ask(tmp_path, method, path).headers["server"].startswith("olm/")


def test_a_store_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "manifests").write_text("no folder")
    reply = ask(tmp_path, "GET", "/api/tags")
    assert reply.status_code == 500
    folder = tmp_path / "models" / "manifests"
    assert reply.json()["error"] == f"cannot read {folder}: not a directory"


def test_a_body_over_the_limit_is_refused(tmp_path: Path) -> None:
    reply = ask(tmp_path, "POST", "/api/show", content=b" " * (65 << 20))
    assert reply.status_code == 400
    assert reply.json()["error"] == f"the request body is over {32 << 20} bytes"


def test_a_trailing_slash_leads_to_the_path_without_it(tmp_path: Path) -> None:
    assert ask(tmp_path, "GET", "/api/tags/").headers["location"] == "/api/tags"
    assert ask(tmp_path, "POST", "/api/show/").status_code == 307
    assert ask(tmp_path, "GET", "/nope/").status_code == 404
