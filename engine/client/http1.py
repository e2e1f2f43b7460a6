"""HTTP/1.1 on a socket, as small as the daemon's API needs it.

One request a connection, JSON or raw bodies out, replies read whole or line by line. Knows
nothing of models. `http.client` would do, but costs a light command half its time in imports.
Every read has a limit; every failure is a `DaemonError`.
"""

import contextlib
import io
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple, cast

from olmkit.engine.addresses.address import Address
from olmkit.engine.client.clienttls import ClientTls, refusal, secured
from olmkit.engine.client.proxy import Proxy, find_proxy
from olmkit.engine.errors import DaemonError, DaemonNotRunning

CONNECT_TIMEOUT_S: Final = 10.0
MAX_HEAD_BYTES: Final = 64 * 1024
"""Status line and headers together."""
MAX_BODY_BYTES: Final = 256 * 1024 * 1024
"""A reply read whole; `show --verbose` sends tokenizers of some ten megabytes."""
MAX_LINE_BYTES: Final = 8_000_000
"""A line of a stream; Ollama's own client reads no longer ones."""


class NotHttp(DaemonError):
    """What answers at the address speaks something else than HTTP."""


class ConnectionBroken(DaemonError):
    """The connection ended before the reply did."""


class NoAnswer(DaemonError):
    """The daemon let the time for an answer pass."""


class Connection(NamedTuple):
    """An open connection to the daemon, or to a proxy on the way to it."""

    socket: socket.socket
    address: Address
    proxy: Proxy | None
    is_private: bool = False
    """Through the private door of this user's own daemon."""
    tls: ClientTls | None = None
    """Of an https address."""


def connect(
    address: Address, own_socket: Path | None = None, *, tls: ClientTls | None = None
) -> Connection:
    """A connection to the address, by the daemon's Unix socket where that is there.

    Raises:
        DaemonNotRunning: nothing listens there, or the host cannot be found or reached.
        DaemonUntrusted: it shows no certificate that is trusted.
    """
    if own_socket is not None and (own := _dial_own(own_socket)) is not None:
        return Connection(own, address, None, is_private=True)
    proxy = find_proxy(address)
    tls = (tls or ClientTls()) if address.scheme == "https" else None
    try:
        return Connection(_dial(address, proxy, tls), address, proxy, tls=tls)
    except (OSError, UnicodeError) as error:
        # Python gives several kinds of OSError here (gaierror, TimeoutError).
        reason = getattr(error, "strerror", None) or str(error)
        raise DaemonNotRunning(
            f"cannot connect to the daemon at {address.url}: {reason.lower()}",
            address=address.url,
        ) from error


def _dial_own(path: Path) -> socket.socket | None:
    """A connection to the daemon's Unix socket; None: nobody is there, or not who should be."""
    from olmkit.engine.addresses.localsocket import is_trusted_peer

    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.settimeout(CONNECT_TIMEOUT_S)
        connected.connect(str(path))
        if is_trusted_peer(connected):
            return connected
    except OSError:
        pass
    connected.close()
    return None


def _dial(address: Address, proxy: Proxy | None, tls: ClientTls | None) -> socket.socket:
    if address.is_unix:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    else:
        host = proxy.host if proxy else address.connect_host
        port = proxy.port if proxy else address.port
        # As bytes, the name is spared a codec that takes three milliseconds to import.
        raw_host = host.encode() if host.isascii() else host
        target = cast(tuple[str, int], (raw_host, port))  # typeshed knows only text
        connected = socket.create_connection(target, CONNECT_TIMEOUT_S)
    try:
        if address.is_unix:
            connected.connect(address.path)
            return connected
        # Small requests leave at once.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if proxy is not None and proxy.needs_tunnel:
            _open_tunnel(connected, address, proxy)
        return secured(connected, address, tls) if tls is not None else connected
    except BaseException:
        connected.close()
        raise


def _open_tunnel(proxied: socket.socket, address: Address, proxy: Proxy) -> None:
    lines = [f"CONNECT {address.netloc} HTTP/1.1", f"Host: {address.netloc}"]
    proxied.sendall(_head(lines, proxy.headers))
    # Unbuffered: what follows the reply's head belongs to TLS.
    with proxied.makefile("rb", buffering=0) as stream:
        status, _ = _read_head(stream, proxy.host)
    if status != 200:
        raise OSError(f"the proxy {proxy.host}:{proxy.port} refused with status {status}")


def _head(lines: list[str], headers: Mapping[str, str]) -> bytes:
    lines = [*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace")


def send(
    connection: Connection,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str],
    body: bytes | Iterable[bytes] = b"",
    body_bytes: int | None = None,
    timeout_s: float | None,
) -> "Reply":
    """The reply's head has been read when this returns; the caller closes the reply.

    `body_bytes` is the length of a body given in pieces, None if that is not known; `timeout_s`
    bounds each wait for the daemon, None waits for ever.

    Raises:
        DaemonError: no reply, or none in HTTP.
    """
    address, proxy = connection.address, connection.proxy
    target = path if address.is_unix else address.path + path
    all_headers = {"Host": _host_header(address), "Connection": "close"}
    if proxy is not None and not proxy.needs_tunnel:
        target = f"http://{address.netloc}{target}"
        all_headers |= proxy.headers
    all_headers |= headers
    if isinstance(body, bytes):
        body_bytes = len(body) if body or method not in ("GET", "HEAD") else None
    if body_bytes is not None:
        all_headers["Content-Length"] = str(body_bytes)
    elif not isinstance(body, bytes):
        all_headers["Transfer-Encoding"] = "chunked"
        body = _chunked(body)
    head = _head([f"{method} {target} HTTP/1.1"], all_headers)
    connection.socket.settimeout(timeout_s)
    stream = connection.socket.makefile("rb")
    try:
        with _told(connection, timeout_s):
            # A daemon that has the blob already answers without reading it.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                _send_all(connection.socket, head, body)
            try:
                status, fields = _read_head(stream, address.netloc)
            except ConnectionBroken as error:
                error.hint = connection.tls.hint if connection.tls is not None else None
                raise
        return Reply(connection, stream, status, fields, bodyless=method == "HEAD")
    except BaseException:
        stream.close()
        connection.socket.close()
        raise


def _host_header(address: Address) -> str:
    return "localhost" if address.is_unix else address.connect_netloc


def _send_all(connected: socket.socket, head: bytes, body: bytes | Iterable[bytes]) -> None:
    if isinstance(body, bytes):
        connected.sendall(head + body)
        return
    connected.sendall(head)
    for piece in body:
        connected.sendall(piece)


def _chunked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


@contextlib.contextmanager
def _told(connection: Connection, timeout_s: float | None) -> Iterator[None]:
    """Maps what sockets raise to errors of the daemon."""
    address = connection.address
    try:
        yield
    except TimeoutError as error:
        raise NoAnswer(f"no answer from {address.url} within {timeout_s:g} s") from error
    except OSError as error:
        if connection.tls is not None:
            import ssl

            # In TLS 1.3 a client hears only now that its certificate is missing.
            if isinstance(error, ssl.SSLError):
                raise refusal(error, address, connection.tls) from error
        reason = (error.strerror or str(error)).lower()
        raise ConnectionBroken(
            f"the connection to the daemon at {address.url} broke: {reason}"
        ) from error


def _read_head(stream: io.IOBase, peer: str) -> tuple[int, dict[str, str]]:
    """Status and headers, names in lower case; interim replies are skipped."""
    room = MAX_HEAD_BYTES
    while True:
        lines: list[str] = []
        while True:
            line = stream.readline(room)
            room -= len(line)
            if not line.endswith(b"\n"):
                if not line and not lines:
                    raise ConnectionBroken(f"the daemon at {peer} closed the connection")
                raise NotHttp(f"the program at {peer} does not answer in HTTP")
            text = line.decode("latin-1").strip()
            if not lines and not text.startswith("HTTP/1."):
                raise NotHttp(f"the program at {peer} does not answer in HTTP")
            if not text:
                break
            lines.append(text)
        status_text = lines[0].split(" ")[1:2]
        if not status_text or not status_text[0].isdecimal():
            raise NotHttp(f"the program at {peer} does not answer in HTTP")
        status = int(status_text[0])
        if status >= 200:
            break
    fields = (line.partition(":") for line in lines[1:])
    return status, {name.strip().lower(): value.strip() for name, _, value in fields}


class Reply:
    """One reply of the daemon; closing it early cancels what it would still say."""

    def __init__(
        self,
        connection: Connection,
        stream: io.BufferedReader,
        status: int,
        headers: dict[str, str],
        *,
        bodyless: bool,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self.status = status
        self.headers = headers
        self._bodyless = bodyless or status in (204, 304)

    def __enter__(self) -> "Reply":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._stream.close()
        self._connection.socket.close()

    def read(self, limit_bytes: int = MAX_BODY_BYTES) -> bytes:
        """The whole body.

        Raises:
            DaemonError: the connection broke, or the body goes over the limit.
        """
        body = bytearray()
        for piece in self.pieces():
            body += piece
            if len(body) > limit_bytes:
                raise DaemonError(
                    f"the daemon's answer is longer than {limit_bytes:,} bytes",
                )
        return bytes(body)

    def lines(self, limit_bytes: int = MAX_LINE_BYTES) -> Iterator[bytes]:
        """The body's lines as they arrive, without their ends; empty ones are left out.

        Raises:
            DaemonError: the connection broke, or a line goes over the limit.
        """
        rest = b""
        for piece in self.pieces():
            *whole, rest = (rest + piece).split(b"\n")
            if len(rest) > limit_bytes:
                raise DaemonError(f"the daemon sent a line of more than {limit_bytes:,} bytes")
            yield from filter(None, whole)
        if rest.strip():
            yield rest

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives.

        Raises:
            DaemonError: the connection broke before the body's end.
        """
        if self._bodyless:
            return
        with _told(self._connection, self._connection.socket.gettimeout()):
            if "chunked" in self.headers.get("transfer-encoding", "").lower():
                yield from self._chunks()
            elif (length := self.headers.get("content-length", "")).isdecimal():
                yield from self._counted(int(length))
            else:
                while piece := self._stream.read1(64 * 1024):
                    yield piece

    def _counted(self, left_bytes: int) -> Iterator[bytes]:
        while left_bytes:
            piece = self._stream.read(min(left_bytes, 1024 * 1024))
            if not piece:
                raise self._broken()
            left_bytes -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        while True:
            line = self._stream.readline(1024)
            if not line.endswith(b"\n"):
                raise self._broken()
            try:
                size_bytes = int(line.split(b";")[0], 16)
            except ValueError as error:
                raise self._broken() from error
            yield from self._counted(size_bytes)
            if not self._stream.readline(1024).endswith(b"\n"):
                raise self._broken()
            if size_bytes == 0:
                return

    def _broken(self) -> ConnectionBroken:
        url = self._connection.address.url
        return ConnectionBroken(f"the daemon at {url} ended in the midst of its answer")
