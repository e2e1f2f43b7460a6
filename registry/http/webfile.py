"""Files on web servers: JSON, small texts, and ranges of large ones.

A token goes to one origin only and follows no redirect to another.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx

from olmkit.registry.errors import (
    InvalidManifest,
    ModelNotFound,
    RemoteMisbehaved,
    Unauthorized,
)
from olmkit.registry.http import web
from olmkit.registry.http.web import RemoteAccess

JSON_LIMIT_BYTES: Final = 32 << 20
_TOTAL: Final = re.compile(r"/([0-9]{1,18})$")


class WebHost:
    """One origin; its methods may be called from several threads at once."""

    def __init__(
        self,
        address: str,
        access: RemoteAccess,
        *,
        token: str | None = None,
        insecure: bool = False,
        hint: str | None = None,
    ) -> None:
        try:
            self.address = httpx.URL(address)
        except (httpx.InvalidURL, ValueError) as error:
            raise RemoteMisbehaved(f"{address!r} is no address") from error
        self.host = web.host_of(self.address)
        self._token = token
        self._hint = hint
        is_allowed = insecure or access.allows_plain_http(self.host)
        if self.address.scheme != "https" and not is_allowed:
            raise RemoteMisbehaved(f"{self.host} would be reached over plain http")
        self._client = access.client(unverified_host=self.address.host if insecure else None)
        self._addresses = web.Addresses(self._client, self._authenticated)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> "WebHost":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def get_json(self, path: str, name: str) -> tuple[Any, str | None]:
        """The JSON at a path below the address, and the path of the next page.

        Raises:
            ModelNotFound: nothing is there; `name` is what was looked for.
            RemoteError: refused, unreachable, or no JSON.
        """
        address = self.at(path)
        with self._addresses.open(address, {"Accept": "application/json"}) as response:
            self._require(response, name)
            raw = web.read_limited(response, JSON_LIMIT_BYTES)
            following = response.links.get("next", {}).get("url")
        try:
            page = address.join(following) if following else None
            return json.loads(raw), page.raw_path.decode() if page else None
        except (ValueError, RecursionError, httpx.InvalidURL) as error:
            raise RemoteMisbehaved(f"{self.host} sent no JSON") from error

    def read(self, path: str, limit_bytes: int, name: str) -> bytes:
        """A small file.

        Raises:
            InvalidManifest: it is longer than `limit_bytes`.
            ModelNotFound, RemoteError: as `get_json`.
        """
        with self._addresses.open(self.at(path), {}) as response:
            self._require(response, name)
            return web.read_limited(response, limit_bytes)

    def size_bytes(self, path: str, name: str) -> int | None:
        """The length of a file; None when the server does not tell.

        The first byte is asked for: signed addresses allow GET only, and some servers know no
        HEAD, or answer it with another length.

        Raises:
            ModelNotFound, RemoteError: as `get_json`.
        """
        with self._addresses.open(self.at(path), web.range_header(0, 1)) as response:
            ranged = _TOTAL.search(response.headers.get("content-range", ""))
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and ranged:
                return int(ranged[1])  # an empty file has no first byte
            self._require(response, name)
            if response.status_code == httpx.codes.PARTIAL_CONTENT:
                return int(ranged[1]) if ranged else None
            told = response.headers.get("content-length", "")
            return int(told) if told.isascii() and told.isdecimal() else None

    @contextmanager
    def open(self, path: str, start: int = 0, end: int | None = None) -> Iterator[httpx.Response]:
        """The response that streams bytes `start` up to, without, `end` of a file.

        Raises:
            RemoteError: refused or unreachable.
        """
        with self._addresses.open(self.at(path), web.range_header(start, end)) as response:
            self._require(response, path.partition("?")[0])  # which may be a signature
            yield response

    def at(self, path: str) -> httpx.URL:
        """The whole address of a path, which may bring its query."""
        try:
            return self.address.join(path)
        except (httpx.InvalidURL, ValueError) as error:
            raise InvalidManifest(f"{path!r} is no address") from error

    def _authenticated(self, request: httpx.Request) -> httpx.Response:
        if self._token and web.origin(request.url) == web.origin(self.address):
            request.headers["Authorization"] = f"Bearer {self._token}"
        return self._client.send(request, stream=True)

    def _require(self, response: httpx.Response, name: str) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            words, _ = web.error_words(response)
            words = words or response.headers.get("x-error-message", "")[:400]
            raise Unauthorized(
                f"{self.host} denies access to {name}" + (f": {words}" if words else ""),
                status=status,
                hint=self._hint,
            )
        if status == httpx.codes.NOT_FOUND:
            raise ModelNotFound(f"{self.host} has no {name}", name=name)
        raise web.refusal(response, f"{self.host} answered")
