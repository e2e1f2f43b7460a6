"""Which web pages may use the API from a browser: the entries of `OLM_ORIGINS`.

An entry is an origin (RFC 6454), `SCHEME://HOST[:PORT]`, in which one `*` may stand for anything,
or `*` alone for all pages, also those without an origin. What is none would match no page, and
nobody would know why, so the daemon does not start with it.

Source: `parseWildcardRules` and `Validate` of
https://github.com/gin-contrib/cors/blob/v1.7.2/config.go, which Ollama checks origins with.
"""

import re
from collections.abc import Iterable

from olmkit.engine.errors import InvalidRequest


class Origins:
    """The origins that may use the API from a browser."""

    def __init__(self, entries: Iterable[str]) -> None:
        """Raises: InvalidRequest, an entry is no origin; it is named."""
        entries = tuple(entries)
        self.allows_all = "*" in entries
        self._expressions = tuple(_expression(entry) for entry in entries if entry != "*")

    def allow(self, origin: str) -> bool:
        """Whether the origin matches an entry; `null` matches only `*`."""
        origin = origin.lower()
        return self.allows_all or any(each.fullmatch(origin) for each in self._expressions)


def _expression(entry: str) -> re.Pattern[str]:
    parts = entry.lower().split("*")
    if len(parts) > 2:
        raise _bad(entry, "has more than one *")
    scheme, separator, rest = entry.partition("://")
    if len(parts) == 1 and not (separator and scheme and rest):
        raise _bad(entry, "has no scheme, or no host")
    if re.search(r"[\s/?#@]", rest if separator else entry):
        raise _bad(entry, "has more than a scheme, a host and a port")
    return re.compile(".*".join(map(re.escape, parts)), re.DOTALL)


def _bad(entry: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"{entry[:200]!r} in OLM_ORIGINS is no origin: it {why}",
        field="OLM_ORIGINS",
        hint="an entry is SCHEME://HOST[:PORT] with at most one * for any text, or * for all pages",
    )
