"""The tokens of one action to a pipeline's tree, by Lark's LALR parser.

Knows the grammar and nothing of variables, functions or statements. `expression.lark` is the
source; `expression.lalr` beside it holds what Lark made of it, which loads in a tenth of the time
that making it takes. `make generated` makes it anew after a change of the grammar.
"""

import hashlib
import io
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any, cast

import lark
from lark import Lark, Token
from lark.exceptions import UnexpectedToken

from olmkit.modelfile.gotemplate.syntax.nodes import PipeNode
from olmkit.modelfile.gotemplate.syntax.treebuilder import InvalidExpression, TokenList, TreeBuilder

_GRAMMAR = "expression.lark"
_SAVED = "expression.lalr"


def parse_pipeline(tokens: list[Token]) -> PipeNode:
    """The tree of one pipeline.

    Raises:
        InvalidExpression: no pipeline.
    """
    try:
        pipe = cast(Any, _parser()).parse(tokens)  # Lark's hint says text; our lexer takes a list
    except UnexpectedToken as error:
        raise InvalidExpression(None if error.token.type == "$END" else error.token) from None
    return cast(PipeNode, pipe)


@cache
def _parser() -> Lark:
    return load(_read(_SAVED))


def load(saved: bytes) -> Lark:
    """The parser from what `save_tables` wrote, or from the grammar when another Lark wrote it."""
    header, _, tables = saved.partition(b"\n")
    if header.split()[:1] == [lark.__version__.encode()]:
        return Lark.load(io.BytesIO(tables))
    return compile_grammar()


def compile_grammar() -> Lark:
    """The parser made from the grammar's source."""
    source = _read(_GRAMMAR).decode()
    return Lark(source, parser="lalr", lexer=TokenList, transformer=TreeBuilder())


def saved_header() -> bytes:
    """First line of the saved tables as it must be: Lark's version, SHA-256 of the grammar."""
    return f"{lark.__version__} {hashlib.sha256(_read(_GRAMMAR)).hexdigest()}".encode()


def _read(name: str) -> bytes:
    data = pkgutil.get_data("olmkit.modelfile.gotemplate.syntax", name)
    if data is None:
        raise FileNotFoundError(name)
    return data


def save_tables() -> None:
    """Write `expression.lalr` anew, in the source tree, unless it is of this grammar and Lark."""
    path = Path(__file__).with_name(_SAVED)
    if path.read_bytes().partition(b"\n")[0] == saved_header():
        return
    tables = io.BytesIO()
    compile_grammar().save(tables)
    path.write_bytes(saved_header() + b"\n" + tables.getvalue())
