"""The endpoints of one repository on one registry, one method each.

Decides how requests are built and what counts as a right answer; which blobs move when, and what
is tried again, is `download`'s and `upload`'s business.

Source: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#endpoints
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import httpx

from olmkit.registry.errors import (
    ModelNotFound,
    RemoteMisbehaved,
    Unauthorized,
    Unreachable,
)
from olmkit.registry.http import web
from olmkit.registry.http.auth import TOKEN_LIMIT_BYTES, RegistryAuth, key_hint
from olmkit.registry.http.credentials import DOCKER_HUB, Credential
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import MANIFEST_LIMIT_BYTES
from olmkit.registry.oci.reference import Reference

ACCEPT: Final = ", ".join(
    [
        mediatypes.OCI_MANIFEST,
        mediatypes.OCI_INDEX,
        mediatypes.DOCKER_MANIFEST,
        mediatypes.DOCKER_MANIFEST_LIST,
    ]
)
DOCKER_HUB_API_HOST: Final = "registry-1.docker.io"
DOCKER_HUB_HOSTS: Final = (DOCKER_HUB, "index.docker.io", DOCKER_HUB_API_HOST)
PAGES_LIMIT: Final = 1000

_UPLOAD_RANGE: Final = re.compile(r"(?:bytes=)?0-(\d+)")

Content = bytes | Iterable[bytes]
"""A body; an iterable must be one that can be gone through again, for a second try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteManifest:
    """A manifest or index as the registry sent it."""

    raw: bytes
    media_type: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An upload that has begun."""

    address: httpx.URL
    received_bytes: int = 0
    min_chunk_bytes: int = 0
    """Chunks but the last must not be shorter (OCI-Chunk-Min-Length)."""


class RemoteRepository:
    """One repository; its methods may be called from several threads at once.

    `insecure` lifts the checks for this host alone: its certificate may be any, and it may be
    reached over plain http. Without `actions` no scope is asked for, which is enough to `ping`.
    `sources` are repositories of the host that blobs may be mounted from.
    """

    def __init__(
        self,
        reference: Reference,
        access: RemoteAccess,
        *,
        actions: str = "pull",
        insecure: bool = False,
        sources: Iterable[str] = (),
    ) -> None:
        self.reference = reference
        self.host = reference.host
        self.repository = reference.repository
        api_host = self.host
        if self.host in DOCKER_HUB_HOSTS:
            api_host = DOCKER_HUB_API_HOST
            if "/" not in self.repository:
                self.repository = f"library/{self.repository}"
        name = httpx.URL(f"//{api_host}").host
        bracketed = f"[{name}]" if ":" in name else name
        self._client = access.client(unverified_host=bracketed if insecure else None)
        try:
            scheme = self._scheme(api_host, insecure or access.allows_plain_http(api_host))
        except BaseException:
            self._client.close()
            raise
        self._base = httpx.URL(f"{scheme}://{api_host}/v2/{self.repository}/")
        scopes = [f"repository:{self.repository}:{actions}"] if actions else []
        scopes += [f"repository:{source}:pull" for source in sources]
        self._auth = RegistryAuth(
            scopes=scopes,
            find_credential=lambda: access.find_credential(self.host, self.repository),
            fetch=self._fetch_token,
            find_key=lambda: access.find_key(self.host),
        )
        self._addresses = web.Addresses(self._client, self._authenticated)

    def _scheme(self, api_host: str, may_be_plain: bool) -> str:
        """https, unless plain http is allowed and nothing there speaks TLS."""
        if not may_be_plain:
            return "https"
        try:
            address = f"https://{api_host}/v2/"
            with web.remote_errors(self.host), self._client.stream("HEAD", address):
                return "https"
        except (Unreachable, RemoteMisbehaved):
            return "http"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> "RemoteRepository":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def ping(self) -> None:
        """Ask the registry whether it is one and lets us in (end-1).

        Raises:
            Unauthorized: it does not.
            RemoteError: it is none, or unreachable.
        """
        with self.send("GET", self._base.join("/v2/")) as response:
            self.require(response, {200})

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
            self.require(response, {200})
            raw = web.read_limited(response, MANIFEST_LIMIT_BYTES)
            media_type = response.headers.get("content-type", "").partition(";")[0].strip()
            promised = response.headers.get("docker-content-digest")
        digest = Digest.of(raw)
        for expected in (reference if ":" in reference else None, promised):
            if expected and expected.startswith("sha256:") and digest != expected:
                raise RemoteMisbehaved(
                    f"{self.host} sent a manifest of digest {digest} instead of {expected}"
                )
        return RemoteManifest(raw=raw, media_type=media_type, digest=digest)

    def has_blob(self, digest: Digest) -> bool:
        """Whether the registry holds the blob.

        Raises:
            RemoteError: refused or unreachable.
        """
        with self._send("HEAD", f"blobs/{digest}") as response:
            if response.status_code == httpx.codes.NOT_FOUND:
                return False
            self.require(response, {200})
            return True

    @contextmanager
    def open_blob(
        self, digest: Digest, start: int = 0, end: int | None = None
    ) -> Iterator[httpx.Response]:
        """The response that streams bytes `start` up to, without, `end` of a blob.

        The status is 206, or 200 with the whole blob: `web.starts_at` tells where it begins. The
        signed address that a redirect led to is used again until it no longer works.

        Raises:
            RemoteError: refused or unreachable.
        """
        address = self._base.copy_with(path=f"{self._base.path}blobs/{digest}")
        with self._addresses.open(address, web.range_header(start, end)) as response:
            self.require(response, {200, 206})
            yield response

    def start_upload(self, *, mount: Digest | None = None, source: str = "") -> Session | None:
        """Begin an upload; None when the registry mounted the blob from the repository `source`.

        Raises:
            RemoteError: refused or unreachable.
        """
        query = {"mount": str(mount), "from": source} if mount and source else {}
        address = self._base.join("blobs/uploads/").copy_merge_params(query)
        with self.send("POST", address, content=b"") as response:
            self.require(response, {201, 202})
            if response.status_code == httpx.codes.CREATED and mount:
                return None
            told = response.headers.get("oci-chunk-min-length", "")
            least = int(told) if told.isascii() and told.isdecimal() else 0
            return Session(address=self._location(response), min_chunk_bytes=least)

    def upload_state(self, session: Session) -> Session:
        """The state of an upload: how many of its bytes the registry has (end-13).

        Raises:
            RemoteError: the upload is gone, refused or unreachable.
        """
        with self.send("GET", session.address) as response:
            self.require(response, {200, 202, 204})
            return self._advanced(response, session, default=session.received_bytes)

    def send_chunk(
        self, session: Session, content: Content, *, start: int, size_bytes: int
    ) -> Session:
        """Append `size_bytes` bytes at `start` to an upload (end-5).

        Raises:
            RemoteError: refused or unreachable; 416 when `start` is not where it goes on.
        """
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{start}-{start + size_bytes - 1}",
            "Content-Length": str(size_bytes),
        }
        with self.send("PATCH", session.address, headers=headers, content=content) as response:
            self.require(response, {202})
            return self._advanced(response, session, default=start + size_bytes)

    def finish_upload(
        self, session: Session, digest: Digest, content: Content = b"", size_bytes: int = 0
    ) -> None:
        """End an upload, with the rest or all of its bytes (end-6).

        Raises:
            RemoteError: refused or unreachable.
        """
        address = session.address.copy_merge_params({"digest": str(digest)})
        headers = {"Content-Length": str(size_bytes)}
        if size_bytes:
            headers["Content-Type"] = "application/octet-stream"
        with self.send("PUT", address, headers=headers, content=content) as response:
            self.require(response, {201, 202, 204})

    def put_manifest(self, reference: str, raw: bytes, media_type: str) -> None:
        """Store a manifest's exact bytes under a tag or digest.

        Raises:
            RemoteMisbehaved: the registry stored another digest.
            RemoteError: refused or unreachable.
        """
        headers = {"Content-Type": media_type}
        with self._send("PUT", f"manifests/{reference}", headers=headers, content=raw) as response:
            self.require(response, {200, 201, 202})
            stored = response.headers.get("docker-content-digest")
        if stored and stored.startswith("sha256:") and stored != Digest.of(raw):
            raise RemoteMisbehaved(f"{self.host} stored the manifest as {stored}")

    def tags(self) -> Iterator[str]:
        """All tags, page by page.

        Raises:
            RemoteError: refused, unreachable, or no list of tags.
        """
        address: httpx.URL | None = self._base.join("tags/list")
        for _ in range(PAGES_LIMIT):
            if address is None:
                return
            with self.send("GET", address) as response:
                self.require(response, {200})
                raw = web.read_limited(response, MANIFEST_LIMIT_BYTES)
                following = response.links.get("next", {}).get("url")
            try:
                names = [str(name) for name in json.loads(raw)["tags"] or []]
                address = address.join(following) if following else None
            except (ValueError, KeyError, TypeError, RecursionError, httpx.InvalidURL) as error:
                raise RemoteMisbehaved(f"{self.host} sent no list of tags") from error
            yield from names

    def _advanced(self, response: httpx.Response, session: Session, *, default: int) -> Session:
        address = session.address
        if response.headers.get("location"):
            address = self._location(response)
        told = _UPLOAD_RANGE.fullmatch(response.headers.get("range", "").strip())
        received = default
        if told is not None:
            # "0-0" says one byte or, from distribution's registry, none: the chunk that
            # begins at the wrong one is answered with 416, so none is the safe reading.
            last = int(told[1])
            received = last + 1 if last else 0
        return Session(
            address=address, received_bytes=received, min_chunk_bytes=session.min_chunk_bytes
        )

    def _location(self, response: httpx.Response) -> httpx.URL:
        """Where an upload goes on: the Location header, relative or absolute.

        Raises:
            RemoteMisbehaved: there is none, or it leads from https to plain http elsewhere.
        """
        told = response.headers.get("location")
        if not told:
            raise RemoteMisbehaved(f"{self.host} named no address for the upload")
        try:
            address = response.request.url.join(told)
        except (httpx.InvalidURL, ValueError) as error:
            raise RemoteMisbehaved(f"{self.host} named {told!r} for the upload") from error
        if self._base.scheme == "https" and address.scheme == "http":
            # A registry behind a proxy that does not know its own scheme.
            if address.host != self._base.host or address.port not in (None, self._base.port):
                raise RemoteMisbehaved(f"{self.host} wants the upload over plain http")
            address = address.copy_with(scheme="https", port=self._base.port)
        return address

    def session_at(self, address: str) -> Session:
        """The session of an earlier upload, whose state is not known yet.

        Raises:
            RemoteMisbehaved: the address is none of this registry.
        """
        try:
            url = httpx.URL(address)
        except (httpx.InvalidURL, ValueError) as error:
            raise RemoteMisbehaved(f"{address!r} is no address of an upload") from error
        if web.origin(url) != web.origin(self._base):
            raise RemoteMisbehaved(f"{address!r} is no address of an upload to {self.host}")
        return Session(address=url)

    @contextmanager
    def _send(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
    ) -> Iterator[httpx.Response]:
        address = self._base.copy_with(path=f"{self._base.path}{path}")
        with self.send(method, address, headers=headers, content=content) as response:
            yield response

    @contextmanager
    def send(
        self,
        method: str,
        address: httpx.URL,
        *,
        headers: Mapping[str, str] | None = None,
        content: Content | None = None,
    ) -> Iterator[httpx.Response]:
        """A streamed response; redirects of GET and HEAD are followed without credentials.

        Raises:
            RemoteError: unreachable, redirected in circles, or the token server refuses.
        """
        with web.remote_errors(self.host):
            request = self._client.build_request(method, address, headers=headers, content=content)
        is_own = web.origin(request.url) == web.origin(self._base)
        answer = self._authenticated if is_own else self._plain
        with web.following(self._client, request, answer) as response:
            yield response

    def _plain(self, request: httpx.Request) -> httpx.Response:
        return self._client.send(request, stream=True)

    def _authenticated(self, request: httpx.Request) -> httpx.Response:
        """The response to a request with what is known of credentials; a 401 is answered in each
        way once."""
        used = self._auth.header(request.url)
        tried: set[str] = set()
        while True:
            if used:
                request.headers["Authorization"] = used
            response = self._client.send(request, stream=True)
            if response.status_code != httpx.codes.UNAUTHORIZED:
                return response
            try:
                challenges = response.headers.get("www-authenticate", "")
                better = self._auth.answer(request.url, challenges, used, tried)
                if better is None:
                    return response
                web.drain(response)
            except BaseException:
                response.close()
                raise
            response.close()
            used = better

    def _fetch_token(self, request: httpx.Request) -> tuple[int, bytes]:
        request.headers["User-Agent"] = self._client.headers["User-Agent"]
        with web.remote_errors(web.host_of(request.url)):
            response = self._client.send(request, stream=True)
            try:
                return response.status_code, web.read_limited(response, TOKEN_LIMIT_BYTES)
            finally:
                response.close()

    def require(self, response: httpx.Response, expected: set[int]) -> None:
        """Raise for a status that is not `expected`, in the registry's words.

        Raises:
            Unauthorized: 401, or 403 of the registry itself.
            RemoteRejected: anything else.
        """
        status = response.status_code
        if status in expected:
            return
        is_own = web.origin(response.request.url) == web.origin(self._base)
        host = self.host if is_own else web.host_of(response.request.url)
        if is_own and status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            words, _ = web.error_words(response)
            hint = f"log in with `olm login {self.host}`"
            if self._auth.has_credential:
                hint = "check the name, and what this login may do"
            elif self._auth.key is not None:
                hint = key_hint(self._auth.key)
            raise Unauthorized(
                f"{self.host} denies access to {self.repository}" + (f": {words}" if words else ""),
                status=status,
                hint=hint,
            )
        raise web.refusal(response, f"{host} answered")

    def _not_found(self) -> ModelNotFound:
        return ModelNotFound(
            f"{self.reference.short} is not in the registry {self.host}", name=self.reference.short
        )


def check_login(
    host: str, credential: Credential, access: RemoteAccess, *, insecure: bool = False
) -> None:
    """Try a credential at a registry, before it is kept.

    Raises:
        Unauthorized: it was refused.
        RemoteError: the host is no registry, or unreachable.
    """
    trying = replace(access, find_credential=lambda host, repository: credential)
    reference = Reference(host, "library/login", "latest")
    with RemoteRepository(reference, trying, actions="", insecure=insecure) as repository:
        try:
            repository.ping()
        except Unauthorized as error:
            raise Unauthorized(
                f"{host} refuses this login",
                status=error.status,
                hint="check the user name and the password",
            ) from error
