"""The description of the API is that of the routes, and the page made of it can be read."""

from collections.abc import Iterator
from typing import Any

import pytest

from support.api import Api
from support.browser import Page, chromium
from support.daemon import running_daemon


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("described") / "home") as daemon:
        yield Api(daemon)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    profile = tmp_path_factory.mktemp("browser") / "profile"
    profile.mkdir()
    with chromium(profile) as page:
        yield page


@pytest.fixture(scope="module")
def document(api: Api) -> Any:
    answer = api.get("/openapi.json")
    assert answer.status == 200
    return answer.json


@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_shows_every_route_and_needs_nothing_else(
    api: Api, page: Page, document: Any, width: int
) -> None:
    url = f"{api.daemon.url}/docs"
    page.open(url, width=width)
    shown = page.value("[...document.querySelectorAll('article h3')].map(e => e.textContent)")
    wanted = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
        if method != "head" or len(methods) == 1
    }
    assert {" ".join(text.split()) for text in shown} == wanted
    assert page.complaints == []
    assert page.addresses == {url}
    # Nothing is wider than the window, but for what scrolls by itself.
    assert page.value("document.documentElement.scrollWidth") <= width
    links = "[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))"
    assert page.value(links) is True
    # The style is in force, which the policy must allow.
    assert page.value("getComputedStyle(document.querySelector('nav ul')).listStyleType") == "none"


def test_the_page_may_load_and_run_nothing(api: Api) -> None:
    answer = api.get("/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["style-src"].startswith("'sha256-")
    assert policy.keys() == {
        *("default-src", "style-src", "base-uri", "form-action", "frame-ancestors"),
    }
    assert b"<script" not in answer.body
