"""Authentication at registries: challenges, tokens, and the header to send next.

One `RegistryAuth` serves one repository of one host. It says what to send, answers a 401 by the
challenge's rules, and remembers the token until shortly before it expires. Requests of several
threads share one token fetch. It sends nothing itself: `fetch` does.

Rules: a secret goes only to the registry's own host or to a token server that belongs to it
(`is_trusted_realm`), and never over plain http except to the registry that is itself reached
so. A redirect to another host is not followed here and carries no credentials.

Sources: RFC 9110 section 11.6.1 (challenges); distribution, "Token Authentication
Specification" and "OAuth2 Token Authentication".
"""

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx

from olmkit.registry.errors import RemoteError, RemoteMisbehaved, Unauthorized, Unreachable
from olmkit.registry.http.credentials import Credential
from olmkit.registry.http.web import host_of, origin

if TYPE_CHECKING:
    from olmkit.registry.http.signing import SigningKey

CLIENT_ID: Final = "olm"
TOKEN_LIMIT_BYTES: Final = 1024 * 1024
DEFAULT_TOKEN_LIFE_S: Final = 60
"""Life of a token without `expires_in` (distribution, "Token Authentication Specification")."""
EXPIRY_MARGIN_S: Final = 10
"""A token is renewed this long before its end, so that no request starts with a dying one."""

KNOWN_REALMS: Final = {"registry-1.docker.io": "auth.docker.io", "docker.io": "auth.docker.io"}
"""Registries whose token server lives under another name."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER: Final = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*')
_SCHEME: Final = re.compile(rf"\s*({_TOKEN})(?:\s+|(?=,)|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One challenge of a `WWW-Authenticate` header; names are in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """The challenges of a header in order; what cannot be understood is left out.

    Parameters are told from the next scheme by their `=`. Quoted strings may hold commas.
    """
    challenges: list[Challenge] = []
    position = 0
    while position < len(header):
        if header[position] in ", \t":
            position += 1
        elif (parameter := _PARAMETER.match(header, position)) and challenges:
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            challenges[-1].parameters.setdefault(name.lower(), value)
            position = parameter.end()
        elif scheme := _SCHEME.match(header, position):
            challenges.append(Challenge(scheme=scheme[1].lower(), parameters={}))
            position = scheme.end()
        else:
            break
    return challenges


Fetch = Callable[[httpx.Request], tuple[int, bytes]]
"""Sends a request to a token server; status and body, the latter within `TOKEN_LIMIT_BYTES`."""


def is_trusted_realm(registry: httpx.URL, realm: httpx.URL) -> bool:
    """Whether credentials for `registry` may go to the token server `realm`.

    Yes for the same host on any port, for a host under the same registrable domain (taken as
    the last two labels), and for the pairs of `KNOWN_REALMS`; always over https, unless the
    registry itself is reached over plain http.
    """
    if realm.scheme != "https" and not (realm.scheme == "http" and registry.scheme == "http"):
        return False
    if realm.host == registry.host or KNOWN_REALMS.get(registry.host) == realm.host:
        return True
    domain = _registrable_domain(registry.host)
    return domain is not None and domain == _registrable_domain(realm.host)


def _registrable_domain(host: str) -> str | None:
    labels = host.lower().rstrip(".").split(".")
    if len(labels) < 2 or labels[-1].isdigit() or ":" in host:
        return None
    return ".".join(labels[-2:])


class RegistryAuth:
    """Authenticates the requests of one repository; safe to share between threads.

    `scopes` are asked for in addition to what the registry names, so that one token serves a
    mount from another repository. `find_credential` is asked at most once, when the registry
    first wants credentials; None means anonymous. Then `find_key` is asked for a key to sign token
    requests with, when the token server is the registry itself.
    """

    def __init__(
        self,
        *,
        scopes: Iterable[str] = (),
        find_credential: Callable[[], Credential | None],
        fetch: Fetch,
        find_key: "Callable[[], SigningKey | None]" = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scopes = set(scopes)
        self._find_credential = find_credential
        self._fetch = fetch
        self._find_key = find_key
        self._key: SigningKey | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._credential: Credential | None = None
        self._has_looked = False
        self._header: str | None = None
        self._renew_at_s = float("inf")
        self._challenge: Challenge | None = None

    @property
    def has_credential(self) -> bool:
        """Whether a credential was found and shown."""
        return self._credential is not None

    @property
    def key(self) -> "SigningKey | None":
        """The key that token requests were signed with."""
        return self._key

    def header(self, url: httpx.URL) -> str | None:
        """The value of `Authorization` for a request to the registry; None: send none.

        Raises:
            RemoteError: a new token is due, and the token server refuses or cannot be reached.
            CredentialError: the credentials cannot be read.
        """
        with self._lock:
            is_old = self._clock() >= self._renew_at_s
            if self._header and is_old and self._challenge:
                self._answer(url, self._challenge)
            return self._header

    def answer(
        self, url: httpx.URL, challenges: str, used: str | None, tried: set[str] | None = None
    ) -> str | None:
        """Another value for `Authorization` after a 401; None when there is nothing better.

        `challenges` is the header of the 401, `used` what was sent, `tried` the schemes that this
        request has tried, which grows: of several challenges any that works will do (RFC 9110,
        section 11.6.1). When another thread has got a new token meanwhile, that one is returned.

        Raises:
            RemoteError: the token server refuses, misbehaves or cannot be reached, and no other
                challenge can be answered.
            CredentialError: the credentials cannot be read.
        """
        tried = set() if tried is None else tried
        refusal = None
        with self._lock:
            if self._header is not None and self._header != used and not tried:
                return self._header
            for challenge in parse_challenges(challenges):
                if challenge.scheme in tried or challenge.scheme not in ("bearer", "basic"):
                    continue
                tried.add(challenge.scheme)
                try:
                    self._answer(url, challenge)
                except RemoteError as error:
                    refusal = refusal or error
                    continue
                if self._header is not None and self._header != used:
                    return self._header
        if refusal is not None:
            raise refusal
        return None

    def _answer(self, url: httpx.URL, challenge: Challenge) -> None:
        """Set `_header` to what the challenge asks for. The lock is held."""
        if not self._has_looked:
            self._credential = self._find_credential()
            self._has_looked = True
        credential = self._credential
        if credential and credential.is_registry_token:
            self._header = f"Bearer {credential.secret}"
        elif challenge.scheme == "bearer":
            self._fetch_token(url, challenge)
        elif credential and not credential.is_identity_token:
            self._header = basic_header(credential)
            self._renew_at_s = float("inf")
        self._challenge = challenge

    def _fetch_token(self, url: httpx.URL, challenge: Challenge) -> None:
        realm = _realm(challenge)
        credential = self._credential if is_trusted_realm(url, realm) else None
        service = challenge.parameters.get("service", "")
        scopes = sorted(self._scopes | set(challenge.parameters.get("scope", "").split()))
        status = None
        raw = b""
        if self._credential is None and origin(realm) == origin(url):
            self._key = self._key or self._find_key()
            if self._key is not None:
                from olmkit.registry.http.signing import signed_request

                status, raw = self._fetch(signed_request(self._key, realm, service, scopes))
        if credential and credential.is_identity_token:
            status, raw = self._fetch(_refresh_request(realm, service, scopes, credential))
        is_unanswered = status in (None, httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED)
        if is_unanswered and self._key is None:
            # Token servers without the OAuth2 form take the same secret as a password.
            status, raw = self._fetch(_token_request(realm, service, scopes, credential))
        assert status is not None
        who = "anonymous access" if credential is None else "these credentials"
        hint = f"log in with `olm login {host_of(url)}`"
        if self._key is not None:
            who, hint = "this key", key_hint(self._key)
        token, life_s = _token(status, raw, realm, who=who, hint=hint)
        self._header = f"Bearer {token}"
        self._renew_at_s = self._clock() + life_s - min(EXPIRY_MARGIN_S, life_s / 4)


def _refresh_request(
    realm: httpx.URL, service: str, scopes: list[str], credential: Credential
) -> httpx.Request:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": credential.secret,
        "service": service,
        "scope": " ".join(scopes),
        "client_id": CLIENT_ID,
    }
    return httpx.Request("POST", realm, data=form)


def _token_request(
    realm: httpx.URL, service: str, scopes: list[str], credential: Credential | None
) -> httpx.Request:
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in scopes] + [("client_id", CLIENT_ID)]
    request = httpx.Request("GET", realm.copy_merge_params(httpx.QueryParams(tuple(query))))
    if credential:
        request.headers["Authorization"] = basic_header(credential)
    return request


def basic_header(credential: Credential) -> str:
    """The value of `Authorization` for user and password (RFC 7617)."""
    pair = f"{credential.username}:{credential.secret}".encode()
    return "Basic " + base64.b64encode(pair).decode()


def key_hint(key: "SigningKey") -> str:
    """The hint for a key that the registry does not accept."""
    return f"add the public key of {key.path} to your account: {key.public_line}"


def _realm(challenge: Challenge) -> httpx.URL:
    text = challenge.parameters.get("realm", "")
    try:
        realm = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        raise RemoteMisbehaved(f"the registry names {text!r} as its token server") from error
    if realm.scheme not in ("http", "https") or not realm.host:
        raise RemoteMisbehaved(f"the registry names {text!r} as its token server")
    return realm.copy_with(userinfo=b"", fragment=None)


def _token(status: int, raw: bytes, realm: httpx.URL, *, who: str, hint: str) -> tuple[str, float]:
    host = host_of(realm)
    if status in (httpx.codes.BAD_REQUEST, httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise Unauthorized(f"the token server {host} refused {who}", status=status, hint=hint)
    if status >= 500 or status == httpx.codes.TOO_MANY_REQUESTS:
        raise Unreachable(f"the token server {host} answered {status}", status=status)
    if status != httpx.codes.OK:
        raise RemoteMisbehaved(f"the token server {host} answered {status}", status=status)
    try:
        fields = json.loads(raw)
        token = fields.get("token") or fields["access_token"]
        life_s = float(fields.get("expires_in") or DEFAULT_TOKEN_LIFE_S)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RemoteMisbehaved(f"the token server {host} sent no token") from error
    if not isinstance(token, str) or not token.isprintable() or not token.isascii() or not token:
        raise RemoteMisbehaved(f"the token server {host} sent no token")
    return token, life_s
