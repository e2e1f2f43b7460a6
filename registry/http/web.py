"""HTTP as the registry uses it: clients, redirects, bounds, and errors turned into ours.

Decides whom TLS trusts, when plain http is allowed, which proxy is used and that credentials stay
with the origin they are for. Knows no endpoint. The environment is not read here: what it says
comes in a `RemoteAccess`.
"""

import contextlib
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import httpx

from olmkit.registry.errors import (
    InvalidManifest,
    RemoteError,
    RemoteMisbehaved,
    RemoteRejected,
    Unreachable,
    Untrusted,
)
from olmkit.registry.http import wire
from olmkit.registry.http.credentials import Credential
from olmkit.registry.http.proxies import Routes, is_this_machine
from olmkit.registry.http.sockets import Sockets
from olmkit.registry.http.transferlimits import TransferLimits
from olmkit.registry.http.trust import reason_of, trusting_context

if TYPE_CHECKING:
    from olmkit.registry.http.signing import SigningKey

ERROR_BODY_LIMIT_BYTES: Final = 64 * 1024
DRAIN_LIMIT_BYTES: Final = 64 * 1024
REDIRECT_LIMIT: Final = 5
CONNECT_TIMEOUT_S: Final = 20.0
READ_TIMEOUT_S: Final = 60.0
"""Time without a byte that counts as a stall; the transfer requests that range again."""
CONNECTIONS_LIMIT: Final = 64
PATIENCE_S: Final = 120.0
"""Longest pause that a server may ask for and gets."""
TEMPORARY_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})

_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteAccess:
    """How remote hosts are reached: what the user trusts and allows."""

    user_agent: str = "olm"
    plain_http_hosts: frozenset[str] = frozenset()
    """Hosts, with port where they have one, that may be reached without TLS; loopback may too."""
    ca_bundle: str | None = None
    """A file of certificates that are trusted beside the system's."""
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    """`http`, `https` or `all` to a proxy's address, which may hold its password."""
    no_proxy: tuple[str, ...] = ()
    """Hosts and domains that are reached directly, as in `NO_PROXY`; loopback is too."""
    find_credential: Callable[[str, str], Credential | None] = lambda host, repository: None
    """Look-up of the credential for a host and a repository, when the registry wants one."""
    find_key: "Callable[[str], SigningKey | None]" = lambda host: None
    """Look-up of the key that signs token requests to a host, when there is no credential for
    it."""
    hub_token: str | None = field(default=None, repr=False)
    """Token for Hugging Face."""
    hub_address: str | None = None
    """Address of Hugging Face, in place of https://huggingface.co."""
    limits: TransferLimits = field(default_factory=TransferLimits)
    cancelled: threading.Event | None = field(default=None, repr=False)
    """A `Cancellation` that closes all of the clients' connections when it is set."""

    def client(self, *, unverified_host: str | None = None) -> httpx.Client:
        """A client for the threads of one transfer.

        Raises:
            RemoteError: the CA bundle cannot be read, or a proxy's address is none.
        """
        try:
            context = trusting_context(self.ca_bundle)
            mounts: dict[str, httpx.BaseTransport] = {}
            if unverified_host:
                mounts[f"all://{unverified_host}"] = self._routes(_blind())
            return httpx.Client(
                mounts=mounts,
                transport=self._routes(context),
                trust_env=False,
                timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
                headers={"User-Agent": self.user_agent, "Accept-Encoding": "identity"},
            )
        except (OSError, ValueError) as error:
            place = self.ca_bundle or "the system's certificates"
            raise RemoteError(f"cannot trust {place}: {reason_of(error)}") from error

    def _routes(self, context: ssl.SSLContext) -> Routes:
        limits = httpx.Limits(max_connections=CONNECTIONS_LIMIT, max_keepalive_connections=32)
        sockets = Sockets(self.cancelled)
        direct = wire.Transport(context, limits, sockets)
        return Routes(
            direct, self.proxies, self.no_proxy, verify=context, limits=limits, sockets=sockets
        )

    def allows_plain_http(self, host: str) -> bool:
        """Whether a host, with its port, may be reached without TLS."""
        return host in self.plain_http_hosts or is_loopback(host)


def is_loopback(host: str) -> bool:
    """Whether a host, with or without port, is this machine."""
    return is_this_machine(httpx.URL(f"//{host}").host)


def _blind() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def remote_errors(host: str) -> Iterator[None]:
    """Turn httpx's exceptions into ours; the one place where they cross."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise Unreachable(f"{host} did not answer in time") from error
    except httpx.TransportError as error:
        if refused := _certificate_error(error):
            raise Untrusted(
                f"the certificate of {host} is not trusted: {refused.verify_message.rstrip('.')}",
                hint="add its authority to a file that SSL_CERT_FILE names, or use --insecure",
            ) from error
        reason = str(error) or type(error).__name__
        told = re.sub(r"^\[Errno -?\d+\] ", "", reason)
        raise Unreachable(f"cannot reach {host}: {told}") from error
    except (httpx.InvalidURL, httpx.StreamError, httpx.HTTPError) as error:
        raise RemoteMisbehaved(f"{host}: {error}") from error


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The refused certificate among the causes of an error; None for another reason."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def host_of(url: httpx.URL) -> str:
    """A host as messages name it: with its port, unless that is the scheme's."""
    return url.netloc.decode("ascii", "replace")


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Scheme, host and port: what credentials are bound to."""
    default = {"http": 80, "https": 443}.get(url.scheme)
    return url.scheme, url.host, url.port or default


@contextmanager
def following(
    client: httpx.Client, request: httpx.Request, answer: Callable[[httpx.Request], httpx.Response]
) -> Iterator[httpx.Response]:
    """The streamed response at the end of the redirects of a GET or HEAD.

    `answer` sends a request to the first origin, with its credentials; requests to others carry
    none and are sent bare. From https nothing leads to plain http.

    Raises:
        RemoteError: unreachable, or redirected in circles or to plain http.
    """
    first = origin(request.url)
    host = host_of(request.url)
    with remote_errors(host):
        for _ in range(REDIRECT_LIMIT):
            is_own = origin(request.url) == first
            response = answer(request) if is_own else client.send(request, stream=True)
            try:
                if request.method in ("GET", "HEAD") and response.next_request is not None:
                    request = _without_credentials(response.next_request, first)
                    drain(response)
                    continue
                yield response
                return
            finally:
                response.close()
    raise RemoteMisbehaved(f"{host} redirects in circles")


class Addresses:
    """The addresses that redirects led to, kept so that not every range of a file asks for a new
    one.

    May be used by several threads. `answer` is `following`'s.
    """

    def __init__(
        self, client: httpx.Client, answer: Callable[[httpx.Request], httpx.Response]
    ) -> None:
        self._client = client
        self._answer = answer
        self._known: dict[httpx.URL, httpx.URL] = {}
        self._lock = threading.Lock()

    @contextmanager
    def open(self, address: httpx.URL, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """The streamed response for a file, whatever its status.

        A signed address that no longer works is asked for again; when the new one does not work
        either, that counts as temporary.

        Raises:
            RemoteError: unreachable, redirected in circles, or refused by another host.
        """
        with self._lock:
            signed = self._known.get(address)
        if signed is not None:
            request = self._client.build_request("GET", signed, headers=headers)
            with following(self._client, request, self._bare) as response:
                if response.status_code in (200, 206):
                    yield response
                    return
            with self._lock:
                self._known.pop(address, None)
        request = self._client.build_request("GET", address, headers=headers)
        with following(self._client, request, self._answer) as response:
            if origin(response.request.url) != origin(address):
                if response.status_code in (400, 401, 403, 404, 410):
                    error = refusal(response, f"{host_of(response.request.url)} answered")
                    error.is_temporary = True
                    raise error
                with self._lock:
                    self._known[address] = response.request.url
            yield response

    def _bare(self, request: httpx.Request) -> httpx.Response:
        return self._client.send(request, stream=True)


def range_header(start: int, end: int | None) -> dict[str, str]:
    """The header that asks for bytes `start` up to, without, `end`; none for everything."""
    if not start and end is None:
        return {}
    return {"Range": f"bytes={start}-{'' if end is None else end - 1}"}


def _without_credentials(
    request: httpx.Request, first: tuple[str, str, int | None]
) -> httpx.Request:
    if origin(request.url) != first:
        for name in ("Authorization", "Cookie", "Proxy-Authorization"):
            request.headers.pop(name, None)
    if first[0] == "https" and request.url.scheme != "https":
        raise RemoteMisbehaved(f"{first[1]} redirects to plain http")
    return request


def drain(response: httpx.Response) -> None:
    """Read the rest of a short body, so that its connection can be used again."""
    count = 0
    with contextlib.suppress(httpx.HTTPError, httpx.StreamError):
        for block in response.iter_raw():
            count += len(block)
            if count > DRAIN_LIMIT_BYTES:
                return


def read_limited(response: httpx.Response, limit_bytes: int) -> bytes:
    """The whole body.

    Raises:
        InvalidManifest: longer than `limit_bytes`.
    """
    body = bytearray()
    for block in response.iter_raw():
        body += block
        if len(body) > limit_bytes:
            raise InvalidManifest(
                f"the answer of {host_of(response.url)} is over {limit_bytes} bytes"
            )
    return bytes(body)


def starts_at(response: httpx.Response, start: int, size_bytes: int | None) -> int:
    """The offset of a body's first byte: `start` for a right 206, 0 for a 200 with everything.

    Raises:
        RemoteMisbehaved: another range, or another size of the whole, than it must be.
    """
    host = host_of(response.url)
    length = response.headers.get("content-length")
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        if size_bytes is not None and length is not None and length != str(size_bytes):
            raise RemoteMisbehaved(f"{host} sends {length} bytes instead of {size_bytes}")
        return 0
    told = response.headers.get("content-range", "")
    given = _CONTENT_RANGE.fullmatch(told.strip())
    if given is None or int(given[1]) != start:
        raise RemoteMisbehaved(f"{host} sent another range than asked for: {_printable(told)!r}")
    if size_bytes is not None and given[3] not in ("*", str(size_bytes)):
        raise RemoteMisbehaved(f"{host} says the blob has {given[3]} bytes instead of {size_bytes}")
    return start


def refusal(response: httpx.Response, what: str) -> RemoteRejected:
    """The error that a status stands for: "WHAT: the server's own words"."""
    status = response.status_code
    words, codes = error_words(response)
    pause_s = retry_after_s(response)
    return RemoteRejected(
        f"{what} {status}" + (f": {words}" if words else ""),
        status=status,
        codes=codes,
        is_temporary=status in TEMPORARY_STATUS and (pause_s or 0) <= PATIENCE_S,
        retry_after_s=pause_s,
    )


def retry_after_s(response: httpx.Response) -> float | None:
    """The pause that a server asks for in seconds; its form as a date counts as none."""
    told = response.headers.get("retry-after", "")
    return float(told) if re.fullmatch(r"\d{1,6}", told) else None


def error_words(response: httpx.Response) -> tuple[str, tuple[str, ...]]:
    """The server's message and codes, from whatever body it sent (distribution-spec, errors)."""
    body = b""
    with contextlib.suppress(httpx.HTTPError, httpx.StreamError):
        for block in response.iter_raw():
            body += block
            if len(body) >= ERROR_BODY_LIMIT_BYTES:
                break
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        text = body.decode("utf-8", "replace").strip()
        return ("" if text.startswith("<") else _printable(text)), ()
    return _words(found)


def _words(found: Any) -> tuple[str, tuple[str, ...]]:
    if not isinstance(found, dict):
        return "", ()
    if isinstance(found.get("error"), str):  # Hugging Face's and Ollama's form
        return _printable(found["error"]), ()
    listed = found.get("errors")
    errors = [e for e in listed if isinstance(e, dict)] if isinstance(listed, list) else []
    codes = tuple(str(error.get("code", "")) for error in errors)
    messages = [str(error.get("message") or error.get("code") or "") for error in errors]
    return _printable("; ".join(filter(None, messages))), codes


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:400]
