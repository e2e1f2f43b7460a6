"""Asks for keys: whether a request needs one, whether it has one, and what that is good for.

Keys are needed as soon as there are some, and where the daemon can be reached from other machines;
the private door needs none, for who comes through it can read the file of the keys.
Sources: RFC 6750, section 2.1, and RFC 7617 for `Authorization`; RFC 6585, section 4, for 429.
"""

import asyncio
import base64
import binascii
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from olmkit.engine.access.caller import Caller
from olmkit.engine.access.keyfile import Key, KeyFile, find_key
from olmkit.engine.access.rates import Bucket
from olmkit.engine.access.scopes import RATED, Need, Scope
from olmkit.engine.errors import EngineError, KeyForbids, KeyRequired, RateExceeded

KEY_HEADERS: Final = ("x-api-key", "api-key")
"""Anthropic's and Azure's, looked at when there is no `Authorization`."""
MAX_SECRET: Final = 256
NOTE_PAUSE_S: Final = 10.0
"""Between two times that uses are written down."""

log = logging.getLogger(__name__)


class Doorkeeper:
    """Lets requests in. Lives in the event loop."""

    def __init__(self, keys: KeyFile, *, is_exposed: bool) -> None:
        """`is_exposed`: other machines reach the daemon, and nobody said that it shall be open."""
        self._file = keys
        self._is_exposed = is_exposed
        self._stamp: tuple[int, int, int] | None = None
        self._keys: tuple[Key, ...] = ()
        self._buckets: dict[str, Bucket] = {}
        self._uses: dict[str, datetime] = {}
        self._used = asyncio.Event()

    def admit(self, need: Need, headers: Mapping[str, str], *, is_private: bool) -> Caller:
        """Who asks; `headers` has names in lower case.

        Raises:
            KeyRequired: there is no key, or one that is not known.
            KeyForbids: the key is not good for this.
            RateExceeded: it was used too often.
            KeysUnusable: the keys cannot be read.
        """
        if need is Need.NOTHING or is_private:
            return Caller()
        keys = self._known()
        if not keys and not self._is_exposed:
            return Caller()
        secret = _secret(headers)
        if secret is None:
            raise KeyRequired(
                "a key is required",
                hint="send one as `Authorization: Bearer KEY`; `olm key create` makes it",
            )
        key = find_key(keys, secret)
        if key is None:
            log.warning("refused: a key that is not known")
            raise KeyRequired("the key is not known", hint="`olm key list` lists those that are")
        self._note(key)
        if not need.is_met_by(key.scopes):
            wanted = " or ".join(scope for scope in need.value if scope is not Scope.MANAGE)
            raise KeyForbids(
                f"the key {key.name} has the scope {', '.join(key.scopes)}, "
                f"which is not good for this",
                key=key.name,
                hint=f"it takes the scope {wanted or Scope.MANAGE}",
            )
        if need in RATED:
            self._count(key)
        return Caller(name=key.name, models=key.models)

    async def note_uses(self) -> None:
        """Write down for ever when keys were last used."""
        while True:
            await self._used.wait()
            await self.write_uses()
            await asyncio.sleep(NOTE_PAUSE_S)

    async def write_uses(self) -> None:
        """Write down when keys were last used."""
        self._used.clear()
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await asyncio.to_thread(self._file.note_uses, uses)
        except (OSError, EngineError) as error:
            log.warning("the use of keys cannot be written down", extra={"reason": str(error)})

    def _known(self) -> tuple[Key, ...]:
        """The keys that there are now."""
        stamp = self._file.stamp()
        if stamp != self._stamp:
            self._keys = self._file.read() if stamp is not None else ()
            self._stamp = stamp
            hashes = {key.sha256 for key in self._keys}
            self._buckets = {k: bucket for k, bucket in self._buckets.items() if k in hashes}
        return self._keys

    def _note(self, key: Key) -> None:
        self._uses[key.sha256] = datetime.now(UTC)
        self._used.set()

    def _count(self, key: Key) -> None:
        if key.rate is None:
            return
        now_s = time.monotonic()
        bucket = self._buckets.get(key.sha256)
        if bucket is None or bucket.rate != key.rate:
            bucket = self._buckets[key.sha256] = Bucket(key.rate, now_s=now_s)
        if wait_s := bucket.take(now_s):
            raise RateExceeded(
                f"the key {key.name} may ask {key.rate}", key=key.name, retry_after_s=wait_s
            )


def _secret(headers: Mapping[str, str]) -> str | None:
    """The key that a request carries; None: it carries none."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    value = value.strip()
    if scheme.lower() == "basic":
        value = _password(value)
    elif scheme.lower() != "bearer":
        value = ""
    if not value:
        value = next(filter(None, (headers.get(name, "").strip() for name in KEY_HEADERS)), "")
    return value[:MAX_SECRET] or None


def _password(encoded: str) -> str:
    """What stands for the password in an address, `https://any:KEY@host` or `https://KEY@host`."""
    try:
        user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
    return password or user
