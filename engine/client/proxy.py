"""Which way to the daemon: straight, or through a proxy that the environment names.

A daemon on this machine is never reached through a proxy (Go's and so Ollama's rule).
"""

import os
from typing import NamedTuple

from olmkit.engine.addresses.address import Address


class Proxy(NamedTuple):
    """A proxy on the way to an address."""

    host: str
    port: int
    needs_tunnel: bool
    """It forwards bytes (for TLS), not requests."""
    headers: dict[str, str]
    """What it wants to know itself."""


def find_proxy(address: Address) -> Proxy | None:
    """The proxy to the address, by `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`; None: straight."""
    is_named = any(name.lower() in ("http_proxy", "https_proxy") for name in os.environ)
    if not is_named or address.is_local or address.scheme not in ("http", "https"):
        return None
    from urllib.parse import unquote, urlsplit
    from urllib.request import getproxies, proxy_bypass

    proxy_url = getproxies().get(address.scheme, "")
    if not proxy_url or proxy_bypass(address.host):
        return None
    parts = urlsplit(proxy_url if "://" in proxy_url else f"http://{proxy_url}")
    headers = {}
    if parts.username is not None:
        from base64 import b64encode

        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    return Proxy(
        host=parts.hostname or "",
        port=parts.port or 80,
        needs_tunnel=address.scheme == "https",
        headers=headers,
    )
