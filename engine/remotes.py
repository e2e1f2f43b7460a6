"""How this machine reaches registries, from the environment: trust, proxies, credentials.

Read once with the other settings; `access` makes of it what the registry's code takes. The
variables are those of the tools that people log in with already: Docker, Podman, curl and
Hugging Face's.
"""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import olmkit

if TYPE_CHECKING:  # an HTTP client is imported by the first transfer, not by every command
    from olmkit.registry.http.credentials import CredentialStore
    from olmkit.registry.http.signing import SigningKey
    from olmkit.registry.http.web import RemoteAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class Remotes:
    """What the environment says of remote hosts."""

    docker_config: Path = field(default_factory=lambda: _own_home() / ".docker" / "config.json")
    auth_files: tuple[Path, ...] = ()
    """Podman's, read after Docker's."""
    key: Path = field(default_factory=lambda: _own_home() / ".olm" / "id_ed25519")
    """Signs requests to Ollama's registry; made when there is neither it nor `ollama_key`."""
    ollama_key: Path = field(default_factory=lambda: _own_home() / ".ollama" / "id_ed25519")
    ca_bundle: str | None = None
    """File of authorities to trust besides the system's."""
    plain_http_hosts: frozenset[str] = frozenset()
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    no_proxy: tuple[str, ...] = ()
    hub_token: str | None = field(default=None, repr=False)
    hub_address: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> "Remotes":
        """What the variables say; never fails.

        Who has no home, as in a container under a user id that nobody knows, has `OLM_HOME` for
        one.
        """
        home = find_home(environ) or Path(environ.get("OLM_HOME") or "/")
        docker = environ.get("DOCKER_CONFIG")
        return cls(
            docker_config=(Path(docker) if docker else home / ".docker") / "config.json",
            auth_files=tuple(_auth_files(environ, home)),
            key=_olm_home(environ, home) / "id_ed25519",
            ollama_key=home / ".ollama" / "id_ed25519",
            ca_bundle=_ca_bundle(environ),
            plain_http_hosts=frozenset(_listed(environ.get("OLM_INSECURE_REGISTRIES", "").lower())),
            proxies=_proxies(environ),
            no_proxy=_listed(environ.get("NO_PROXY") or environ.get("no_proxy") or ""),
            hub_token=_hub_token(environ, home),
            hub_address=environ.get("HF_ENDPOINT") or None,
        )

    @property
    def credentials(self) -> "CredentialStore":
        """Where logins are kept."""
        from olmkit.registry.http.credentials import CredentialStore

        return CredentialStore(self.docker_config, self.auth_files)

    def find_key(self, host: str) -> "SigningKey | None":
        """The key that a host of Ollama's knows the user by; None for others.

        Raises:
            CredentialError: the key cannot be read or made.
        """
        from olmkit.registry.oci.reference import OLLAMA_HOSTS

        if host not in OLLAMA_HOSTS:
            return None
        from olmkit.registry.http.signing import load_key

        return load_key(self.key, (self.ollama_key,))

    def access(
        self, *, streams: int | None = None, cancelled: threading.Event | None = None
    ) -> "RemoteAccess":
        """How the registry's code reaches remote hosts; `streams` limits a transfer.

        A `Cancellation` as `cancelled` closes its connections when it is set.
        """
        from olmkit.registry.http.transferlimits import TransferLimits
        from olmkit.registry.http.web import RemoteAccess

        return RemoteAccess(
            user_agent=f"olm/{olmkit.__version__}",
            plain_http_hosts=self.plain_http_hosts,
            ca_bundle=self.ca_bundle,
            proxies=self.proxies,
            no_proxy=self.no_proxy,
            find_credential=self.credentials.find,
            find_key=self.find_key,
            hub_token=self.hub_token,
            hub_address=self.hub_address,
            limits=TransferLimits(streams=streams),
            cancelled=cancelled,
        )


def _ca_bundle(environ: Mapping[str, str]) -> str | None:
    file = environ.get("OLM_CA_BUNDLE") or environ.get("SSL_CERT_FILE")
    return os.path.abspath(file) if file else None


def find_home(environ: Mapping[str, str]) -> Path | None:
    """The user's home: `HOME`, else what the password database says; None for neither."""
    if home := environ.get("HOME"):
        return Path(home)
    try:
        return Path.home()
    except RuntimeError:
        return None


def _own_home() -> Path:
    return find_home(os.environ) or Path("/")


def _olm_home(environ: Mapping[str, str], home: Path) -> Path:
    text = environ.get("OLM_HOME") or "~/.olm"
    return home / text[2:] if text.startswith("~/") else Path(text)


def _auth_files(environ: Mapping[str, str], home: Path) -> list[Path]:
    """containers-auth.json(5)."""
    if given := environ.get("REGISTRY_AUTH_FILE"):
        return [Path(given)]
    runtime = environ.get("XDG_RUNTIME_DIR")
    config = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    found = [Path(runtime) / "containers" / "auth.json"] if runtime else []
    return [*found, config / "containers" / "auth.json"]


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """As Go reads them: HTTP_PROXY in capitals is left out in a CGI program, where it is a header
    of the request (httpoxy)."""
    names = {
        "http": ("http_proxy", *(() if "REQUEST_METHOD" in environ else ("HTTP_PROXY",))),
        "https": ("https_proxy", "HTTPS_PROXY"),
        "all": ("all_proxy", "ALL_PROXY"),
    }
    proxies = {}
    for scheme, variables in names.items():
        value = next((environ[name] for name in variables if environ.get(name)), "")
        if value:
            proxies[scheme] = value if "://" in value else f"http://{value}"
    return proxies


def _hub_token(environ: Mapping[str, str], home: Path) -> str | None:
    """From `HF_TOKEN`, else the file in which `hf auth login` keeps it."""
    if token := environ.get("HF_TOKEN", "").strip():
        return token
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    path = Path(environ.get("HF_HOME") or cache / "huggingface") / "token"
    try:
        with open(environ.get("HF_TOKEN_PATH") or path, encoding="utf-8") as file:
            return file.read(4096).strip() or None
    except (OSError, ValueError):
        return None


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
