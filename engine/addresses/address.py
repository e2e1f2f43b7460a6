"""Addresses of the daemon: what `OLM_HOST` may say, and what it comes to.

HOST, HOST:PORT, :PORT, http://HOST[:PORT][/PATH], https://…, unix:///PATH
"""

import os
import re
import socket
from dataclasses import dataclass
from typing import Final

from olmkit.engine.errors import InvalidRequest

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 11434
MAX_SOCKET_PATH_BYTES: Final = 107
"""Of a Unix socket's path; see unix(7)."""

_PORTS: Final = {"http": 80, "https": 443}
"""Of an address with a scheme and no port."""
_HOST_NAME: Final = re.compile(r"[\w.-]*")
"""Also names that are not ASCII, which the resolver encodes."""
_FORMS: Final = "set OLM_HOST to HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:///PATH"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the daemon listens and clients connect."""

    scheme: str = "http"
    """`http`, `https` or `unix`."""
    host: str = DEFAULT_HOST
    """Without brackets; empty: all interfaces."""
    port: int = DEFAULT_PORT
    path: str = ""
    """URL prefix without a closing slash, empty for none; of a Unix socket its file."""

    @property
    def is_unix(self) -> bool:
        """Whether it is a Unix socket."""
        return self.scheme == "unix"

    @property
    def netloc(self) -> str:
        """`host:port`, IPv6 in brackets; of a Unix socket its file."""
        return self.path if self.is_unix else _join(self.host, self.port)

    @property
    def connect_netloc(self) -> str:
        """`netloc` with `connect_host`."""
        return self.path if self.is_unix else _join(self.connect_host, self.port)

    @property
    def url(self) -> str:
        """The address as it was meant, `scheme://host:port[/path]`."""
        return self._url(self.netloc)

    @property
    def connect_host(self) -> str:
        """The host that a client dials: loopback where the daemon listens everywhere."""
        return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)

    @property
    def connect_url(self) -> str:
        """`url` with `connect_host`."""
        return self._url(self.connect_netloc)

    @property
    def is_local(self) -> bool:
        """Whether a daemon at this address is on this machine."""
        if self.is_unix:
            return True
        if self.path:
            return False  # a proxy's
        host = self.connect_host
        return host in ("localhost", "::1") or (_ip(host) == host and host[:4] == "127.")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches what listens there."""
        if self.is_unix or self.host == "localhost":
            return True
        host = _ip(self.host) or ""
        return host == "::1" or (host[:4] == "127." and ":" not in host)

    def _url(self, netloc: str) -> str:
        return f"{self.scheme}://{netloc}" + ("" if self.is_unix else self.path)


def parse_address(text: str) -> Address:
    """The address that a value of `OLM_HOST` names, spelled as Ollama takes it, or `unix:///PATH`.

    Where Ollama takes another port, or a host that nobody meant, for what is none, a client would
    speak to a daemon that nobody meant.

    Raises:
        InvalidRequest: it is no address.

    Source: `Host` of https://github.com/ollama/ollama/blob/v0.17.4/envconfig/config.go
    """
    text = unquoted(text)
    if text == "ollama.com":
        return Address(scheme="https", host="ollama.com", port=443)
    scheme, separator, rest = text.partition("://")
    if not separator:
        if text.startswith("unix:"):
            raise _malformed(text, "names no file by its whole path")
        scheme, rest = "http", text
    if scheme == "unix":
        return _unix_address(text, rest)
    if scheme not in _PORTS:
        raise _malformed(text, f"has the scheme {scheme[:20]!r}, which is not spoken here")
    netloc, _, path = rest.partition("/")
    path = path.strip("/")
    host, port_text = _split(netloc) or (_bare_host(netloc), "")
    if not port_text and not netloc.endswith(":"):
        port_text = str(_PORTS[scheme] if separator else DEFAULT_PORT)
    port = int(port_text) if re.fullmatch(r"\+?[0-9]{1,9}", port_text, re.ASCII) else -1
    if not 0 <= port <= 65535:
        raise InvalidRequest(
            f"{port_text[:40]!r} in the address {text[:200]!r} is no port",
            field="OLM_HOST",
            hint="set OLM_HOST to HOST:PORT, with a port from 0 to 65535",
        )
    if not _is_host(host) or (separator and not netloc):
        raise _malformed(text, "names no host")
    if re.search(r"[\s?#\x00-\x1f\x7f]", path):
        raise _malformed(text, "has a path that no server has")
    return Address(scheme=scheme, host=host, port=port, path=f"/{path}" if path else "")


def unquoted(text: str) -> str:
    """A variable's value without the blanks and quotes around it."""
    return text.strip().strip("\"'").strip()


def _unix_address(text: str, path: str) -> Address:
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise _malformed(text, "names no file by its whole path")
    path = os.path.normpath(path)
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        raise _malformed(text, f"is longer than the {MAX_SOCKET_PATH_BYTES} bytes of a socket's")
    return Address(scheme="unix", host="", port=0, path=path)


def _malformed(text: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"the address {text[:200]!r} {why}", field="OLM_HOST", hint=_FORMS)


def _is_host(host: str) -> bool:
    """Whether it can be one: a name, an IPv4 address, or IPv6 perhaps with its scope."""
    if ":" in host:
        return _ip(host.partition("%")[0]) is not None
    return _HOST_NAME.fullmatch(host) is not None


def _ip(text: str) -> str | None:
    """The usual spelling of an IP address, None if the text is none."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, text))
        except (OSError, ValueError):
            pass
    return None


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bare_host(text: str) -> str:
    """The host of a text without a port."""
    bracketed = re.fullmatch(r"\[([^\[\]]*:[^\[\]]*)\]", text)
    bare = bracketed[1] if bracketed else text
    return _ip(bare) or bare or DEFAULT_HOST


def _split(text: str) -> tuple[str, str] | None:
    """Host and port as Go's net.SplitHostPort gives them, None where it fails."""
    bracketed = re.fullmatch(r"\[([^\[\]]*:[^\[\]]*)\]:([^:\[\]]*)", text)
    plain = re.fullmatch(r"([^:\[\]]*):([^:\[\]]*)", text)
    match = bracketed or plain
    return (match[1], match[2]) if match else None
