"""Credentials for registries, where Docker keeps them.

Reads and writes Docker's `config.json` and speaks the credential-helper protocol, so that a
login with any OCI tool is a login for olm and the reverse. Podman's `auth.json` is read too.
Secrets never appear in a repr, a log line or an error.

Source: docker/cli, `config.json` and "Credential helpers"; containers-auth.json(5).
"""

import base64
import binascii
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from olmkit.registry.errors import CredentialError
from olmkit.registry.oci.reference import Reference
from olmkit.registry.replacing import write_in_place

DOCKER_HUB: Final = "docker.io"
DOCKER_HUB_KEY: Final = "https://index.docker.io/v1/"
"""The key under which every Docker tool keeps Docker Hub's credentials."""

IDENTITY_TOKEN_USER: Final = "<token>"
"""The user name by which a helper says that the secret is an identity token."""

NOT_FOUND_TEXT: Final = "credentials not found in native keychain"
HELPER_TIMEOUT_S: Final = 30
MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A user name and its secret, or a token in the place of both."""

    username: str
    secret: str = field(repr=False)
    is_identity_token: bool = False
    """Whether the secret is for the token server, which gives tokens for it."""
    is_registry_token: bool = False
    """Whether the secret is for the registry itself, which takes it as it is."""


@dataclass(frozen=True, slots=True)
class CredentialStore:
    """The credentials of one user.

    `config_path` is read and written; `readonly_paths` are looked at afterwards, in order
    (Podman's files). Files that do not exist hold nothing.
    """

    config_path: Path
    readonly_paths: tuple[Path, ...] = ()

    def find(self, host: str, repository: str = "") -> Credential | None:
        """The credential for a repository of a host, or None for an anonymous request.

        The order is Docker's: the host's own helper, the common helper, the plain entries. Keys
        may name a part of the repository's path, the longest wins (containers-auth.json).

        Raises:
            CredentialError: a file or a helper cannot be understood.
        """
        for path in (self.config_path, *self.readonly_paths):
            config = _read(path)
            if helper := _helper(config, host):
                if found := _helper_get(helper, _server_name(host)):
                    return found
                continue
            if found := _find_entry(config, host, repository, path):
                return found
        return None

    def save(self, host: str, credential: Credential) -> str | None:
        """Keep a credential; returns the name of the helper that took it, None for the plain file.

        Raises:
            CredentialError: the helper refused, or the file cannot be written.
        """
        config = _read(self.config_path)
        auths = config.setdefault("auths", {})
        server = _server_name(host)
        helper = _helper(config, host)
        if helper:
            user = IDENTITY_TOKEN_USER if credential.is_identity_token else credential.username
            entry = {"ServerURL": server, "Username": user, "Secret": credential.secret}
            _run_helper(helper, "store", json.dumps(entry))
            auths[server] = {}
        elif credential.is_identity_token:
            auths[server] = {"identitytoken": credential.secret}
        else:
            pair = f"{credential.username}:{credential.secret}".encode()
            auths[server] = {"auth": base64.b64encode(pair).decode()}
        _write(self.config_path, config)
        return helper

    def erase(self, host: str) -> bool:
        """Forget the credential of a host; returns whether there was one.

        Raises:
            CredentialError: the helper refused, or the file cannot be written.
        """
        config = _read(self.config_path)
        auths = config.get("auths", {})
        keys = [key for key in auths if key in _keys(host)]
        if helper := _helper(config, host):
            known = _helper_get(helper, _server_name(host)) is not None
            if known:
                _run_helper(helper, "erase", _server_name(host))
        else:
            known = bool(keys)
        for key in keys:
            del auths[key]
        if keys:
            _write(self.config_path, config)
        return known


def _server_name(host: str) -> str:
    return DOCKER_HUB_KEY if host in (DOCKER_HUB, "registry-1.docker.io") else host


def _keys(host: str) -> Iterator[str]:
    """The spellings under which tools have kept a host's credentials."""
    if _server_name(host) == DOCKER_HUB_KEY:
        yield DOCKER_HUB_KEY
        for name in ("index.docker.io", "docker.io", "registry-1.docker.io"):
            yield from (name, f"https://{name}")
        return
    for scheme in ("", "https://", "http://"):
        for end in ("", "/", "/v1/", "/v2/"):
            yield f"{scheme}{host}{end}"


def _find_entry(
    config: dict[str, Any], host: str, repository: str, path: Path
) -> Credential | None:
    auths = config.get("auths", {})
    parts = repository.split("/") if repository else []
    scoped = ["/".join([host, *parts[:count]]) for count in range(len(parts), 0, -1)]
    for key in (*scoped, *_keys(host)):
        entry = auths.get(key)
        if isinstance(entry, dict) and (found := _decode_entry(entry, key, path)):
            return found
    return None


def _decode_entry(entry: dict[str, Any], key: str, path: Path) -> Credential | None:
    if bearer := str(entry.get("registrytoken") or ""):
        if not (bearer.isascii() and bearer.isprintable()):
            raise CredentialError(f"the registry token for {key} in {path} is none")
        return Credential(username="", secret=bearer, is_registry_token=True)
    if token := entry.get("identitytoken"):
        return Credential(username="", secret=str(token), is_identity_token=True)
    if encoded := entry.get("auth"):
        return _decode_auth(str(encoded), key, path)
    username, secret = str(entry.get("username") or ""), str(entry.get("password") or "")
    return Credential(username=username, secret=secret) if username and secret else None


def _decode_auth(encoded: str, key: str, path: Path) -> Credential:
    try:
        # Go's decoder, and so Docker, reads over line breaks.
        pair = base64.b64decode("".join(encoded.split()), validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise CredentialError(f"the entry for {key} in {path} is not base64") from error
    username, colon, secret = pair.partition(":")
    if not colon or not username:
        raise CredentialError(f"the entry for {key} in {path} holds no user:password")
    return Credential(username=username, secret=secret.strip("\0"))


def _helper(config: dict[str, Any], host: str) -> str | None:
    helpers = config.get("credHelpers", {})
    for key in _keys(host):
        if isinstance(helpers, dict) and key in helpers:
            return str(helpers[key])
    store = config.get("credsStore")
    return str(store) if store else None


def _helper_get(helper: str, server: str) -> Credential | None:
    output = _run_helper(helper, "get", server)
    if output is None:
        return None
    try:
        answer = json.loads(output)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise CredentialError(f"docker-credential-{helper} gave no valid answer") from error
    if not secret:
        return None
    is_token = username == IDENTITY_TOKEN_USER
    return Credential(username=username, secret=secret, is_identity_token=is_token)


def _run_helper(helper: str, action: str, data: str) -> str | None:
    """The helper's standard output; None when it knows no such credential."""
    if "/" in helper or "\\" in helper:
        raise CredentialError(f"{helper!r} is no name of a credential helper")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, action],
            input=data,
            capture_output=True,
            text=True,
            timeout=HELPER_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        hint = "install it, or remove it from Docker's config.json"
        raise CredentialError(f"{program} is not on the PATH", hint=hint) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CredentialError(f"{program} could not be run") from error
    if done.returncode == 0:
        return done.stdout
    if NOT_FOUND_TEXT in done.stdout:
        return None
    # Helpers put their error text on standard output; a `get` that fails prints no secret.
    words = done.stdout.strip().splitlines()[:1] or ["no reason given"]
    raise CredentialError(f"{program} {action} failed: {words[0]}")


def _read(path: Path) -> dict[str, Any]:
    """What the file holds, as Docker reads it: an empty one, and `null`, hold nothing.

    Source: LoadFromReader of https://github.com/docker/cli/blob/v28.0.0/cli/config/configfile/file.go
    """
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CredentialError(f"cannot read {path}: {error.strerror}") from error
    if len(raw) > MAX_CONFIG_BYTES:
        raise CredentialError(f"{path} is longer than {MAX_CONFIG_BYTES} bytes")
    if not raw.strip():
        return {}
    try:
        config, _ = json.JSONDecoder().raw_decode(raw.decode().lstrip())
    except (ValueError, RecursionError) as error:
        raise CredentialError(f"{path} is not JSON") from error
    if not isinstance(config, dict):
        raise CredentialError(f"{path} is no Docker configuration")
    if config.get("auths") is None:
        config.pop("auths", None)
    if not isinstance(config.get("auths", {}), dict):
        raise CredentialError(f"`auths` in {path} is no object")
    return config


def _write(path: Path, config: dict[str, Any]) -> None:
    """Replace the file in one step, in Docker's form (tabs, no last newline)."""
    try:
        write_in_place(path, json.dumps(config, indent="\t", ensure_ascii=False))
    except OSError as error:
        raise CredentialError(f"cannot write {path}: {error.strerror}") from error


def login_host(server: str) -> str:
    """The host that a server's name or address says.

    Raises:
        InvalidReference: it names none.
    """
    for prefix in ("https://", "http://"):
        server = server.removeprefix(prefix)
    server = server.partition("/")[0]
    if server in ("index.docker.io", "registry-1.docker.io"):
        return DOCKER_HUB
    return Reference(server.lower(), "library/login", "latest").host
