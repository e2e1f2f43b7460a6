"""Regular expressions of JSON Schema (ECMA-262) as the grammar engine takes them (Rust's).

What is regular in both is carried over; what looks around or back is not, in no engine that
follows an answer token by token.

Source: ECMA-262, section 22.2.1; https://docs.rs/regex/latest/regex/#syntax.
"""

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"\\(?:u\{[0-9A-Fa-f]+\}|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[pP]\{[^}]*\}|.)|\(\?<?[=!]|\(\?|.",
    re.DOTALL,
)
_ASCII: Final = {r"\d": "0-9", r"\w": "A-Za-z0-9_"}
"""ECMA's classes are of ASCII, Rust's of all scripts."""
_NEGATED: Final = {r"\D": "[^0-9]", r"\W": "[^A-Za-z0-9_]"}
_LOOKING: Final = frozenset({"(?=", "(?!", "(?<=", "(?<!"})
_NOT_REGULAR: Final = re.compile(r"\\[1-9kbBc]")


def translate(pattern: str) -> str | None:
    """The same expression in Rust's words; None where it has none."""
    out: list[str] = []
    tokens = _TOKEN.findall(pattern)
    is_in_class = False
    for index, token in enumerate(tokens):
        if token in _LOOKING or (not is_in_class and _NOT_REGULAR.match(token)):
            return None
        if is_in_class:
            is_in_class = token != "]"
            out.append(_in_class(token))
        elif token == "[":
            is_in_class = True
            if tokens[index + 1 :][:1] == ["]"] or tokens[index + 1 :][:2] == ["^", "]"]:
                return None  # nothing, or anything: classes that Rust has not
            out.append(token)
        elif token in "^$":
            if not _is_at_edge(tokens, index):
                return None
            out.append(token)
        elif token in _ASCII:
            out.append(f"[{_ASCII[token]}]")
        else:
            out.append(_NEGATED.get(token, r"/" if token == r"\/" else token))
    return None if is_in_class else "".join(out)


def _in_class(token: str) -> str:
    """One token between brackets, where Rust knows nested classes and set operations."""
    if token in _ASCII:
        return _ASCII[token]
    if token in ("[", "&", "~"):
        return "\\" + token
    return "/" if token == r"\/" else token


def _is_at_edge(tokens: list[str], index: int) -> bool:
    """Whether an anchor stands where the whole expression, or one of its alternatives, ends."""
    if tokens[index] == "^":
        return index == 0 or tokens[index - 1] == "|"
    return index == len(tokens) - 1 or tokens[index + 1] == "|"
