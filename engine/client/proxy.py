"""Which way to the daemon: straight, or through a proxy that the environment names.

A daemon on this machine is never reached through a proxy (Go's and so Ollama's rule).
"""

import os
from dataclasses import dataclass, field

from olmkit.engine.settings import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where to connect to, and what to tell the proxy there."""

    host: str
    port: int
    is_proxy: bool = False
    needs_tunnel: bool = False
    """The proxy forwards bytes (for TLS), not requests."""
    headers: dict[str, str] = field(default_factory=dict)

    def host_header(self, address: Address) -> str:
        """The `Host` field for a request to the address by this route."""
        if self.is_proxy:
            return address.netloc
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def find_route(address: Address) -> Route:
    """The route to the address, by `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`."""
    direct = Route(host=address.connect_host, port=address.port)
    has_proxy = any(name.lower() in ("http_proxy", "https_proxy") for name in os.environ)
    if not has_proxy or address.is_local or address.scheme not in ("http", "https"):
        return direct
    from urllib.parse import unquote, urlsplit
    from urllib.request import getproxies, proxy_bypass

    proxy_url = getproxies().get(address.scheme, "")
    if not proxy_url or proxy_bypass(address.host):
        return direct
    parts = urlsplit(proxy_url if "://" in proxy_url else f"http://{proxy_url}")
    headers = {}
    if parts.username is not None:
        from base64 import b64encode

        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Proxy-Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    return Route(
        host=parts.hostname or "",
        port=parts.port or 80,
        is_proxy=True,
        needs_tunnel=address.scheme == "https",
        headers=headers,
    )
