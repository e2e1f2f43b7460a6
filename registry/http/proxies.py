"""The way to a host: direct, or through a proxy.

Decides by the rules that curl and Go share; where the settings come from is the caller's business.
No error and no repr shows a proxy's address: it may hold a password.

Source: curl(1), "ENVIRONMENT"; golang.org/x/net/http/httpproxy.
"""

import ipaddress
import ssl
from collections.abc import Mapping, Sequence
from typing import Final

import httpx

from olmkit.registry.errors import RemoteError
from olmkit.registry.http.sockets import Sockets, WatchedTransport

SCHEMES: Final = ("http", "https")
"""Schemes of proxies; SOCKS would need another package."""


class Routes(httpx.BaseTransport):
    """Sends every request directly or through the proxy for its scheme; for several threads.

    `proxies` maps `http`, `https` or `all` to a proxy's address; requests for which `is_direct`
    holds use the transport `direct`.

    Raises:
        RemoteError: a proxy's address is none.
    """

    def __init__(
        self,
        direct: httpx.BaseTransport,
        proxies: Mapping[str, str],
        no_proxy: Sequence[str],
        *,
        verify: ssl.SSLContext,
        limits: httpx.Limits,
        sockets: Sockets,
    ) -> None:
        parsed = {scheme: _proxy(scheme, address) for scheme, address in proxies.items()}
        self._no_proxy = tuple(no_proxy)
        self._direct = direct
        self._proxied = {
            scheme: WatchedTransport(sockets, verify=verify, limits=limits, proxy=proxy)
            for scheme, proxy in parsed.items()
        }

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The response, as httpx asks for it."""
        return self._to(request.url).handle_request(request)

    def _to(self, url: httpx.URL) -> httpx.BaseTransport:
        proxied = self._proxied.get(url.scheme) or self._proxied.get("all")
        return self._direct if proxied is None or is_direct(url, self._no_proxy) else proxied

    def close(self) -> None:
        """Close all connections."""
        for transport in (self._direct, *self._proxied.values()):
            transport.close()


def _proxy(scheme: str, address: str) -> httpx.Proxy:
    try:
        url = httpx.URL(address)
        if url.scheme in SCHEMES and url.host:
            return httpx.Proxy(url)
    except (httpx.InvalidURL, ValueError):
        pass  # its text may hold a part of the password
    raise RemoteError(
        f"the proxy for {scheme} addresses has no http:// or https:// address that is valid",
        hint="such as http://proxy.example:3128; write @ : / in a password as %40 %3A %2F",
    )


def is_direct(url: httpx.URL, no_proxy: Sequence[str]) -> bool:
    """Whether a host is reached without a proxy: by the rules of `NO_PROXY`, or as this machine.

    An entry is `*`, a domain (with all below it), an address or a network such as 10.0.0.0/8; each
    but a network may end in a port.
    """
    if is_this_machine(url.host):
        return True
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return any(_covers(entry.lower(), url.host, port) for entry in no_proxy)


def is_this_machine(name: str) -> bool:
    """Whether a host name or address, without port and brackets, is loopback."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _covers(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass  # a name, or an address with a port
    name, colon, told = entry.rpartition(":")
    if colon and told.isdecimal():
        if told != str(port):
            return False
        entry = name
    domain = entry.strip("[]").removeprefix("*").removeprefix(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))
