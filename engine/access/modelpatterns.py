"""Which models a key is good for: names with `*` for anything, `library` and `:latest` implied."""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from olmkit.registry.oci.reference import Reference

MAX_PATTERN: Final = 300
_PATTERN: Final = re.compile(r"[\w.:/@+*-]+")


def parse_pattern(text: str) -> str:
    """The pattern without blanks around it. Raises: ValueError."""
    text = text.strip()
    if len(text) > MAX_PATTERN or _PATTERN.fullmatch(text) is None:
        raise ValueError(f"{text[:40]!r} is no pattern of model names such as qwen* or hf.co/*")
    return text


def matches(patterns: Iterable[str], reference: Reference) -> bool:
    """Whether a pattern covers the model.

    `qwen3` is that model whatever its tag, `qwen3:8b` one tag, `qwen*` all whose names begin so;
    `hf.co/team/*` what comes from there. No case, as names have none.
    """
    short, full = reference.short.lower(), reference.full.lower()
    return any(
        _expression(pattern).fullmatch(name) for pattern in patterns for name in (short, full)
    )


@lru_cache(maxsize=1024)
def _expression(pattern: str) -> re.Pattern[str]:
    words = ".*".join(map(re.escape, pattern.lower().split("*")))
    has_tag = ":" in pattern.rpartition("/")[2] or pattern.endswith("*")
    return re.compile(words if has_tag else words + r"(:[^/:]*)?")
