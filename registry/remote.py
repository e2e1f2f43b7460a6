"""The endpoints of one repository on one registry, one method each.

Decides how requests are built and what counts as a right answer; which blobs move when, and what
is tried again, is `download`'s and `upload`'s business. Redirects are followed here, one at a time,
because credentials must not follow them: the request to another host carries none.

Source: OCI distribution-spec 1.1, section "Endpoints"; registry reference, section 2.1.
"""

import json
import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import httpx

from olmkit.registry import mediatypes
from olmkit.registry.auth import RegistryAuth
from olmkit.registry.credentials import DOCKER_HUB, Credential
from olmkit.registry.digest import Digest
from olmkit.registry.errors import (
    InvalidManifest,
    ModelNotFound,
    RemoteError,
    RemoteMisbehaved,
    RemoteRejected,
    Unauthorized,
    Unreachable,
)
from olmkit.registry.manifest import MANIFEST_LIMIT_BYTES
from olmkit.registry.reference import Reference

ACCEPT: Final = ", ".join(
    [
        mediatypes.OCI_MANIFEST,
        mediatypes.OCI_INDEX,
        mediatypes.DOCKER_MANIFEST,
        mediatypes.DOCKER_MANIFEST_LIST,
    ]
)
API_HOSTS: Final = {DOCKER_HUB: "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1", "[::1]")

ERROR_BODY_LIMIT_BYTES: Final = 64 * 1024
REDIRECT_LIMIT: Final = 5
CONNECT_TIMEOUT_S: Final = 20.0
READ_TIMEOUT_S: Final = 60.0
"""No byte for so long is a stall; the transfer starts that range again."""
TEMPORARY_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteManifest:
    """A manifest or index as the registry sent it."""

    raw: bytes
    media_type: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """How registries are reached: what the user trusts and allows."""

    user_agent: str
    plain_http_hosts: frozenset[str] = frozenset()
    """Hosts, with port where they have one, that are reached without TLS; loopback always may."""
    ca_bundle: str | None = None
    find_credential: Callable[[str, str], Credential | None] = lambda host, repository: None
    """Asked with host and repository when a registry wants credentials."""

    def client(self, *, auth: httpx.Auth | None = None) -> httpx.Client:
        """A client for the threads of one transfer; proxies come from the environment."""
        timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        verify: ssl.SSLContext | bool = True
        if self.ca_bundle:
            verify = ssl.create_default_context(cafile=self.ca_bundle)
        headers = {"User-Agent": self.user_agent, "Accept-Encoding": "identity"}
        limits = httpx.Limits(max_connections=64, max_keepalive_connections=16)
        return httpx.Client(
            auth=auth, verify=verify, timeout=timeout, headers=headers, limits=limits
        )


class RemoteRepository:
    """One repository; its methods may be called from several threads at once."""

    def __init__(
        self, reference: Reference, connection: Connection, *, actions: str = "pull"
    ) -> None:
        self.reference = reference
        self.host = reference.host
        self.repository = reference.repository
        api_host = API_HOSTS.get(self.host, self.host)
        scheme = "http" if self._is_plain(connection) else "https"
        self._base = httpx.URL(f"{scheme}://{api_host}/v2/{self.repository}/")
        self.auth = RegistryAuth(
            scopes=[f"repository:{self.repository}:{actions}"],
            find_credential=lambda: connection.find_credential(self.host, self.repository),
        )
        self._client = connection.client()

    def _is_plain(self, connection: Connection) -> bool:
        name = self.host.rpartition(":")[0] or self.host
        return self.host in connection.plain_http_hosts or self.host in LOOPBACK or name in LOOPBACK

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get_manifest(self, reference: str) -> RemoteManifest:
        """The manifest or index of a tag or digest, its bytes checked against its digest.

        Raises:
            ModelNotFound: the registry has none.
            RemoteMisbehaved: the bytes are not those of the digest.
            RemoteError: refused or unreachable.
        """
        with self._send("GET", f"manifests/{reference}", headers={"Accept": ACCEPT}) as response:
            if response.status_code == httpx.codes.NOT_FOUND:
                raise self._not_found()
            self._require(response, {200})
            raw = read_limited(response, MANIFEST_LIMIT_BYTES)
            media_type = response.headers.get("content-type", "").partition(";")[0].strip()
            promised = response.headers.get("docker-content-digest")
        digest = Digest.of(raw)
        for expected in (reference if ":" in reference else None, promised):
            if expected and expected.startswith("sha256:") and digest != expected:
                raise RemoteMisbehaved(f"{self.host} sent a manifest of digest {digest}")
        return RemoteManifest(raw=raw, media_type=media_type, digest=digest)

    def head_manifest(self, reference: str) -> Digest | None:
        """The digest of a tag, without a download; None when absent or not told."""
        with self._send("HEAD", f"manifests/{reference}", headers={"Accept": ACCEPT}) as response:
            if response.status_code == httpx.codes.NOT_FOUND:
                return None
            self._require(response, {200})
            told = response.headers.get("docker-content-digest", "")
        return Digest(told) if told.startswith("sha256:") else None

    def has_blob(self, digest: Digest) -> bool:
        """Whether the registry holds the blob."""
        with self._send("HEAD", f"blobs/{digest}") as response:
            if response.status_code == httpx.codes.NOT_FOUND:
                return False
            self._require(response, {200})
            return True

    @contextmanager
    def open_blob(
        self, digest: Digest, *, start: int = 0, end: int | None = None
    ) -> Iterator[httpx.Response]:
        """The response that streams bytes `start` to `end` (inclusive) of a blob.

        The status is 206 with exactly that start, or 200 with the whole blob from byte 0: the
        caller looks at it. A signed address that has expired is asked for again once.

        Raises:
            RemoteMisbehaved: another range than asked for.
            RemoteError: refused or unreachable.
        """
        headers = {}
        if start or end is not None:
            headers["Range"] = f"bytes={start}-{'' if end is None else end}"
        with self._send("GET", f"blobs/{digest}", headers=headers) as response:
            self._require(response, {200, 206})
            if response.status_code == httpx.codes.PARTIAL_CONTENT:
                given = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
                if given is None or int(given[1]) != start:
                    raise RemoteMisbehaved(f"{self.host} sent another range than asked for")
            yield response

    def start_upload(
        self, *, mount: Digest | None = None, source: str | None = None
    ) -> httpx.URL | None:
        """The address of a new upload session; None when `mount` from `source` made one needless.

        Raises:
            RemoteError: refused or unreachable.
        """
        query = {"mount": str(mount), "from": source} if mount and source else {}
        with self._send("POST", "blobs/uploads/", params=query, content=b"") as response:
            self._require(response, {201, 202})
            return None if response.status_code == httpx.codes.CREATED else self.location(response)

    def put_manifest(self, reference: str, raw: bytes, media_type: str) -> None:
        """Store a manifest's exact bytes under a tag or digest.

        Raises:
            RemoteError: refused or unreachable.
        """
        headers = {"Content-Type": media_type}
        with self._send("PUT", f"manifests/{reference}", headers=headers, content=raw) as response:
            self._require(response, {200, 201, 202})

    def tags(self) -> Iterator[str]:
        """All tags, page by page.

        Raises:
            RemoteError: refused, unreachable, or no list of tags.
        """
        address: httpx.URL | None = self._base.join("tags/list")
        while address is not None:
            with self.send("GET", address) as response:
                self._require(response, {200})
                raw = read_limited(response, MANIFEST_LIMIT_BYTES)
                following = response.links.get("next", {}).get("url")
            try:
                names = json.loads(raw)["tags"] or []
            except (ValueError, KeyError, TypeError) as error:
                raise RemoteMisbehaved(f"{self.host} sent no list of tags") from error
            yield from (str(name) for name in names)
            address = address.join(following) if following else None

    def location(self, response: httpx.Response) -> httpx.URL:
        """Where an upload goes on: the Location header, relative or absolute.

        Raises:
            RemoteMisbehaved: there is none.
        """
        told = response.headers.get("location")
        if not told:
            raise RemoteMisbehaved(f"{self.host} named no address for the upload")
        try:
            return response.request.url.join(told)
        except httpx.InvalidURL as error:
            raise RemoteMisbehaved(f"{self.host} named {told!r} for the upload") from error

    @contextmanager
    def _send(self, method: str, path: str, **options: object) -> Iterator[httpx.Response]:
        with self.send(method, self._base.join(path), **options) as response:
            yield response

    @contextmanager
    def send(self, method: str, address: httpx.URL, **options: object) -> Iterator[httpx.Response]:
        """A streamed response; redirects of GET and HEAD are followed without credentials.

        Raises:
            RemoteError: unreachable, or redirected in circles.
        """
        with remote_errors(self.host):
            request = self._client.build_request(method, address, **options)  # type: ignore[arg-type]
            for _ in range(REDIRECT_LIMIT):
                is_own = request.url.host == self._base.host
                response = self._client.send(
                    request, stream=True, auth=self.auth if is_own else None
                )
                try:
                    if method in ("GET", "HEAD") and response.next_request is not None:
                        request = _without_credentials(response.next_request, self._base)
                        continue
                    yield response
                    return
                finally:
                    response.close()
        raise RemoteMisbehaved(f"{self.host} redirects in circles")

    def require(self, response: httpx.Response, expected: set[int]) -> None:
        """Raise what a status outside `expected` means, with the registry's own words."""
        self._require(response, expected)

    def _require(self, response: httpx.Response, expected: set[int]) -> None:
        status = response.status_code
        if status in expected:
            return
        words, codes = _error_words(response)
        said = f": {words}" if words else ""
        if status == httpx.codes.UNAUTHORIZED or (status == 403 and "DENIED" in codes):
            raise Unauthorized(
                f"{self.host} denies access to {self.repository}{said}",
                status=status,
                hint=f"log in with `olm login {self.host}`",
            )
        raise RemoteRejected(
            f"{self.host} answered {status}{said}",
            status=status,
            codes=codes,
            is_temporary=status in TEMPORARY_STATUS,
        )

    def _not_found(self) -> ModelNotFound:
        return ModelNotFound(
            f"{self.reference.short} is not in the registry {self.host}", name=self.reference.short
        )


def _without_credentials(request: httpx.Request, base: httpx.URL) -> httpx.Request:
    if request.url.host != base.host:
        request.headers.pop("Authorization", None)
        request.headers.pop("Cookie", None)
    if base.scheme == "https" and request.url.scheme != "https":
        raise RemoteMisbehaved(f"{base.host} redirects to plain http")
    return request


@contextmanager
def remote_errors(host: str) -> Iterator[None]:
    """Turn httpx's exceptions into ours; the one place where they cross."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise Unreachable(f"{host} did not answer in time") from error
    except httpx.TransportError as error:
        raise Unreachable(f"cannot reach {host}: {error}") from error
    except (httpx.InvalidURL, httpx.StreamError, httpx.HTTPError) as error:
        raise RemoteMisbehaved(f"{host}: {error}") from error


def read_limited(response: httpx.Response, limit_bytes: int) -> bytes:
    """The whole body.

    Raises:
        InvalidManifest: longer than `limit_bytes`.
    """
    body = bytearray()
    for block in response.iter_raw():
        body += block
        if len(body) > limit_bytes:
            raise InvalidManifest(f"the answer of {response.url.host} is over {limit_bytes} bytes")
    return bytes(body)


def _error_words(response: httpx.Response) -> tuple[str, tuple[str, ...]]:
    """The registry's message and codes, from whatever body it sent (distribution-spec, errors)."""
    try:
        body = b""
        for block in response.iter_raw():
            body += block
            if len(body) >= ERROR_BODY_LIMIT_BYTES:
                break
        errors = json.loads(body)["errors"]
        codes = tuple(str(error.get("code", "")) for error in errors)
        messages = [str(error.get("message") or error.get("code") or "") for error in errors]
        return _printable("; ".join(filter(None, messages))), codes
    except (ValueError, KeyError, TypeError, AttributeError, httpx.HTTPError):
        return "", ()


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:400]


__all__ = [
    "ACCEPT",
    "Connection",
    "RemoteError",
    "RemoteManifest",
    "RemoteRepository",
    "read_limited",
    "remote_errors",
]
