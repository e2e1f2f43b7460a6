import asyncio
import json
from typing import Any

import pytest

from olmkit.engine.access.origins import Origins
from olmkit.engine.addresses.address import Address
from olmkit.engine.api.guard import Guard, Hosts
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.settings import LOCAL_ORIGINS


def ask(
    headers: dict[str, str],
    *,
    method: str = "GET",
    host: str = "127.0.0.1",
    origins: tuple[str, ...] = LOCAL_ORIGINS,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a request through the guard of an app that says `inside`."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})

    async def receive() -> Any:
        raise AssertionError("no body is read")

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": "/api/tags", "headers": raw}
    guard = Guard(app, address=Address(host=host), origins=origins, server="olm/1.2.3")
    asyncio.run(guard(scope, receive, send))
    start, body = sent
    reply = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return start["status"], reply, body["body"]


@pytest.mark.parametrize(
    "host",
    [
        *("localhost:11434", "127.0.0.1", "127.9.9.9:1", "[::1]:11434", "0.0.0.0"),
        *("me.localhost", "LOCALHOST", ""),
    ],
)
def test_names_of_this_machine_pass(host: str) -> None:
    status, headers, body = ask({"Host": host})
    assert (status, body) == (200, b"inside")
    assert headers["server"] == "olm/1.2.3"


def test_names_that_the_user_adds_pass() -> None:
    hosts = Hosts(["Host.docker.internal"])
    assert hosts.allow("host.docker.internal:11434")
    assert not hosts.allow("other.docker.internal:11434")


@pytest.mark.parametrize(
    "host",
    [
        *("evil.com", "8.8.8.8:11434", "localhost.evil.com", "[2606:4700::1111]"),
        *("192.168.1.7", "printer.local", "host.docker.internal:11434"),  # until they are added
    ],
)
def test_a_rebound_name_is_refused_with_a_reason(host: str) -> None:
    status, headers, body = ask({"Host": host})
    assert status == 403
    assert headers["server"] == "olm/1.2.3"
    assert "OLM_HOST" in json.loads(body)["hint"]


def test_a_daemon_that_listens_everywhere_takes_any_name() -> None:
    assert ask({"Host": "evil.com"}, host="0.0.0.0")[0] == 200


@pytest.mark.parametrize(
    "origin",
    ["http://localhost", "https://localhost:3000", "http://127.0.0.1:8080", "app://obsidian.md"],
)
def test_a_local_page_is_allowed_and_told_so(origin: str) -> None:
    status, headers, _ = ask({"Host": "localhost:11434", "Origin": origin})
    assert status == 200
    assert headers["access-control-allow-origin"] == origin
    assert headers["vary"] == "Origin"


def test_the_daemons_own_page_needs_no_permission() -> None:
    status, headers, _ = ask({"Host": "127.0.0.1:11434", "Origin": "http://127.0.0.1:11434"})
    assert status == 200
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("origin", ["http://evil.com", "null", "http://localhost.evil.com"])
def test_a_strange_page_is_refused_and_told_which_setting_helps(origin: str) -> None:
    status, headers, body = ask({"Host": "localhost", "Origin": origin})
    assert status == 403
    assert headers["content-type"].startswith("application/json")
    assert f"OLM_ORIGINS={origin}" in json.loads(body)["hint"]


def test_a_preflight_is_answered_without_the_app() -> None:
    status, headers, body = ask(
        {"Host": "localhost", "Origin": "http://localhost:3000"}, method="OPTIONS"
    )
    assert (status, body) == (204, b"")
    assert "DELETE" in headers["access-control-allow-methods"]
    assert "Authorization" in headers["access-control-allow-headers"]
    assert headers["access-control-max-age"] == "43200"


def test_a_star_allows_all_and_says_so() -> None:
    status, headers, _ = ask({"Host": "localhost", "Origin": "null"}, origins=("*",))
    assert status == 200
    assert headers["access-control-allow-origin"] == "*"
    assert "vary" not in headers


@pytest.mark.parametrize(
    ("entry", "allowed", "refused"),
    [
        ("https://a.example", "https://A.example", "https://a.example:8080"),
        ("https://*.example.com", "https://a.b.example.com", "https://example.com"),
        ("https://dev-*.example.com", "https://dev-1.example.com", "https://dev.example.com"),
        ("http://192.168.0.7:*", "http://192.168.0.7:3000", "http://192.168.0.7"),
        ("chrome-extension://*", "chrome-extension://abc", "moz-extension://abc"),
        ("*.example.com", "http://a.example.com", "http://a.example.com.evil.com"),
        ("http://[::1]:3000", "http://[::1]:3000", "http://[::1]:3001"),
    ],
)
def test_a_star_stands_for_any_text(entry: str, allowed: str, refused: str) -> None:
    origins = Origins((entry,))
    assert origins.allow(allowed)
    assert not origins.allow(refused)
    assert not origins.allow("null")


@pytest.mark.parametrize(
    "entry",
    [
        *("example.com", "localhost:3000", "null", "https://", "://a.example"),
        *("https://a.example/", "https://a.example/app", "https://me@a.example", "*/app"),
        *("https://*.example.*", "**", "https://a example"),
    ],
)
def test_an_entry_that_is_no_origin_is_named(entry: str) -> None:
    with pytest.raises(InvalidRequest, match="in OLM_ORIGINS is no origin") as caught:
        Origins(("https://good.example", entry, *LOCAL_ORIGINS))
    assert repr(entry) in str(caught.value)
    assert caught.value.hint


def test_pages_may_read_what_replies_tell() -> None:
    _, headers, _ = ask({"Host": "localhost", "Origin": "http://localhost:3000"})
    exposed = headers["access-control-expose-headers"].lower().split(",")
    assert {"x-request-id", "retry-after", "x-olm-truncated", "x-olm-queue-position"} <= set(
        exposed
    )
    assert len(exposed) == len(set(exposed))


@pytest.mark.parametrize("origin", [None, "http://localhost", "http://evil.com"])
def test_what_depends_on_the_page_says_so_to_caches(origin: str | None) -> None:
    headers = {"Host": "localhost"} | ({"Origin": origin} if origin else {})
    assert ask(headers)[1]["vary"] == "Origin"
    assert "vary" not in ask(headers, origins=("*",))[1]


def test_a_page_of_the_internet_is_told_that_it_may_ask_this_machine() -> None:
    asked = {
        "Host": "localhost",
        "Origin": "https://a.example",
        "Access-Control-Request-Private-Network": "true",
    }
    _, headers, _ = ask(asked, method="OPTIONS", origins=("https://a.example",))
    assert headers["access-control-allow-private-network"] == "true"
    status, headers, _ = ask(asked, method="OPTIONS")
    assert status == 403
    assert "access-control-allow-private-network" not in headers


def test_options_without_an_origin_are_no_preflight() -> None:
    status, headers, body = ask({"Host": "localhost"}, method="OPTIONS")
    assert (status, body) == (200, b"inside")
    assert "access-control-allow-methods" not in headers
