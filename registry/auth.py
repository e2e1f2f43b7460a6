"""Proving to a registry who asks: challenges, tokens, and an `httpx.Auth` that carries both out.

One `RegistryAuth` serves one repository of one host. It sends what it holds, answers a 401 by
the challenge's rules once, and remembers the token until shortly before it expires. Requests of
several threads share one token fetch.

Rules: a secret goes only to the registry's own host or to a token server that belongs to it
(`is_trusted_realm`), and never over plain http except to the registry that is itself reached
so. A redirect to another host is not followed here and carries no credentials.

Sources: RFC 9110 section 11.6.1 (challenges); distribution, "Token Authentication
Specification" and "OAuth2 Token Authentication".
"""

import json
import re
import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Final

import httpx

from olmkit.registry.credentials import Credential
from olmkit.registry.errors import RemoteMisbehaved, Unauthorized

CLIENT_ID: Final = "olm"
MAX_TOKEN_ANSWER_BYTES: Final = 1024 * 1024
DEFAULT_TOKEN_LIFE_S: Final = 60
"""When the answer has no `expires_in` (distribution, "Token Authentication Specification")."""
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


class RegistryAuth(httpx.Auth):
    """Authenticates the requests of one repository; safe to share between threads.

    `scopes` are asked for in addition to what the registry names, so that one token serves a
    mount from another repository. `find_credential` is asked at most once, when the registry
    first wants credentials; None means anonymous.
    """

    def __init__(
        self,
        *,
        scopes: Iterable[str] = (),
        find_credential: Callable[[], Credential | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scopes = set(scopes)
        self._find_credential = find_credential
        self._clock = clock
        self._lock = threading.Lock()
        self._credential: Credential | None = None
        self._has_looked = False
        self._header: str | None = None
        self._expires_at_s = float("inf")
        self._challenge: Challenge | None = None

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Send the request with what is held; answer one 401 and send it once more."""
        header = yield from self._current_header(request)
        if header:
            request.headers["Authorization"] = header
        response = yield request
        if response.status_code != httpx.codes.UNAUTHORIZED:
            return
        if response.request.url.host != request.url.host:
            return
        challenges = parse_challenges(response.headers.get("www-authenticate", ""))
        challenge = next((c for c in challenges if c.scheme in ("bearer", "basic")), None)
        if challenge is None:
            return
        with self._lock:
            if self._header is None or self._header == header:
                response.read()
                yield from self._answer(request, challenge)
            fresh = self._header
        if fresh and fresh != header:
            request.headers["Authorization"] = fresh
            yield request

    def _current_header(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, str | None]:
        with self._lock:
            is_old = self._clock() >= self._expires_at_s - EXPIRY_MARGIN_S
            if self._header and is_old and self._challenge:
                yield from self._answer(request, self._challenge)
            return self._header

    def _answer(
        self, request: httpx.Request, challenge: Challenge
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Make `_header` what the challenge asks for; the lock is held."""
        if not self._has_looked:
            self._credential = self._find_credential()
            self._has_looked = True
        self._challenge = challenge
        if challenge.scheme == "basic":
            credential = self._credential
            if credential and not credential.is_identity_token:
                self._header = _basic(credential)
            return
        yield from self._fetch_token(request, challenge)

    def _fetch_token(
        self, request: httpx.Request, challenge: Challenge
    ) -> Generator[httpx.Request, httpx.Response, None]:
        realm = _realm(challenge)
        credential = self._credential if is_trusted_realm(request.url, realm) else None
        service = challenge.parameters.get("service", "")
        scopes = sorted(self._scopes | set(challenge.parameters.get("scope", "").split()))
        if credential and credential.is_identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": credential.secret,
                "service": service,
                "scope": " ".join(scopes),
                "client_id": CLIENT_ID,
            }
            answer = yield httpx.Request("POST", realm, data=form)
        else:
            query = [("service", service)] if service else []
            query += [("scope", scope) for scope in scopes] + [("client_id", CLIENT_ID)]
            token_request = httpx.Request(
                "GET", realm.copy_merge_params(httpx.QueryParams(tuple(query)))
            )
            if credential:
                token_request.headers["Authorization"] = _basic(credential)
            answer = yield token_request
        answer.read()
        token, life_s = _token(answer, realm, is_anonymous=credential is None)
        self._header = f"Bearer {token}"
        self._expires_at_s = self._clock() + life_s


def _basic(credential: Credential) -> str:
    built = httpx.BasicAuth(credential.username, credential.secret)
    return str(
        next(built.auth_flow(httpx.Request("GET", "http://unused"))).headers["Authorization"]
    )


def _realm(challenge: Challenge) -> httpx.URL:
    text = challenge.parameters.get("realm", "")
    try:
        realm = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise RemoteMisbehaved(f"the registry names {text!r} as its token server") from error
    if realm.scheme not in ("http", "https") or not realm.host:
        raise RemoteMisbehaved(f"the registry names {text!r} as its token server")
    return realm


def _token(answer: httpx.Response, realm: httpx.URL, *, is_anonymous: bool) -> tuple[str, float]:
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        what = "anonymous access" if is_anonymous else "these credentials"
        raise Unauthorized(
            f"the token server {realm.host} refused {what}",
            status=answer.status_code,
            hint="log in with `olm login`",
        )
    if answer.status_code != httpx.codes.OK or len(answer.content) > MAX_TOKEN_ANSWER_BYTES:
        raise RemoteMisbehaved(
            f"the token server {realm.host} answered {answer.status_code}",
            status=answer.status_code,
        )
    try:
        fields = json.loads(answer.content)
        token = fields.get("token") or fields["access_token"]
        life_s = float(fields.get("expires_in") or DEFAULT_TOKEN_LIFE_S)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RemoteMisbehaved(f"the token server {realm.host} sent no token") from error
    if not isinstance(token, str) or not token.isprintable() or not token.isascii():
        raise RemoteMisbehaved(f"the token server {realm.host} sent no token")
    return token, life_s
