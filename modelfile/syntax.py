"""The grammar, compiled.

`grammar.lark` is the source. Compiling it takes 17 ms at each start, so `grammar.lalr` beside it
holds what Lark saved; run `python -m olmkit.modelfile.syntax` after a change of the grammar. Saved
by another version of Lark, it is passed over and the grammar is compiled.
"""

import hashlib
import io
import pkgutil
import re
from functools import cache
from pathlib import Path

import lark

_GRAMMAR = "grammar.lark"
_SAVED = "grammar.lalr"


@cache
def grammar() -> lark.Lark:
    """The LALR parser of one command. Feed it tokens; its own lexer does not know values."""
    return load(_read(_SAVED))


def load(saved: bytes) -> lark.Lark:
    """The parser from what `_save` wrote, or from the grammar when another Lark wrote it."""
    header, _, tables = saved.partition(b"\n")
    if header.split()[:1] == [lark.__version__.encode()]:
        return lark.Lark.load(io.BytesIO(tables))
    return _compile()


@cache
def patterns() -> dict[str, re.Pattern[str]]:
    """The regular expression of each terminal that has one."""
    return {
        terminal.name: re.compile(terminal.pattern.to_regexp()) for terminal in grammar().terminals
    }


def saved_header() -> bytes:
    """First line of the saved tables as it must be: Lark's version, SHA-256 of the grammar."""
    return f"{lark.__version__} {hashlib.sha256(_read(_GRAMMAR)).hexdigest()}".encode()


def _compile() -> lark.Lark:
    return lark.Lark(_read(_GRAMMAR).decode(), parser="lalr", lexer="basic")


def _read(name: str) -> bytes:
    data = pkgutil.get_data(__name__, name)
    if data is None:
        raise FileNotFoundError(name)
    return data


def save_tables() -> None:
    """Write `grammar.lalr` anew, in the source tree, unless it is of this grammar and Lark."""
    path = Path(__file__).with_name(_SAVED)
    if path.read_bytes().partition(b"\n")[0] == saved_header():
        return
    tables = io.BytesIO()
    _compile().save(tables)
    path.write_bytes(saved_header() + b"\n" + tables.getvalue())
