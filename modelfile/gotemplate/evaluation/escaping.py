"""`html` and `urlquery`, as in Go's text/template.

Long strings are taken in pieces, so that the account is charged before memory is used.
"""

import re
from collections.abc import Callable, Sequence

from olmkit.modelfile.gotemplate.limits import Execution
from olmkit.modelfile.gotemplate.printing.goquoting import to_bytes
from olmkit.modelfile.gotemplate.printing.verbs import print_all

_CHUNK = 65_536
_HTML = {
    "\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;",
}  # fmt: skip
_HTML_SPECIAL = re.compile("[\0\"'&<>]")
_URL_SPECIAL = re.compile(r"[^A-Za-z0-9_.~-]")


def html(execution: Execution, *values: object) -> str:
    """The values, printed, safe within HTML text."""
    return _escaped(execution, values, _HTML_SPECIAL, _html)


def url_query(execution: Execution, *values: object) -> str:
    """The values, printed, safe within the query of a URL."""
    return _escaped(execution, values, _URL_SPECIAL, _url)


def _escaped(
    execution: Execution,
    values: Sequence[object],
    special: re.Pattern[str],
    escape: Callable[[re.Match[str]], str],
) -> str:
    text = values[0] if len(values) == 1 and type(values[0]) is str else None
    if text is None:
        nil_shown = ["<no value>" if value is None else value for value in values]
        text = print_all(nil_shown, execution)
    parts: list[str] = []
    for start in range(0, len(text), _CHUNK):
        part, escapes = special.subn(escape, text[start : start + _CHUNK])
        execution.step(escapes)
        execution.allocate(len(part))
        parts.append(part)
    return "".join(parts)


def _html(match: re.Match[str]) -> str:
    return _HTML[match[0]]


def _url(match: re.Match[str]) -> str:
    return "+" if match[0] == " " else "".join(f"%{byte:02X}" for byte in to_bytes(match[0]))
