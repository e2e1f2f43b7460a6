"""The grammar, its saved tables, and what an import costs."""

import subprocess
import sys
from importlib.resources import files

from lark import Lark, Token

from olmkit.modelfile import syntax
from olmkit.modelfile.instructions import TEXT_INSTRUCTIONS
from olmkit.modelfile.quoting import KEYWORDS


def keywords_of(grammar: Lark) -> set[str]:
    names: dict[str, object] = grammar.parse_interactive().choices()  # type: ignore[no-untyped-call]
    return {name for name in names if name.isupper()}


def test_the_saved_tables_are_of_this_grammar() -> None:
    saved = files("olmkit.modelfile").joinpath("grammar.lalr").read_bytes()
    assert saved.partition(b"\n")[0] == syntax.saved_header(), "run `make generated`"


def test_tables_saved_by_another_lark_are_passed_over() -> None:
    compiled = syntax.load(b"0.0.1 x\nnot tables")
    trees = []
    for grammar in (compiled, syntax.grammar()):
        parser = grammar.parse_interactive()
        for kind in ("PARAMETER", "_GAP", "NAME", "_GAP", "TRIPLE"):
            parser.feed_token(Token(kind, kind))
        trees.append(parser.feed_eof())  # type: ignore[no-untyped-call]
    assert trees[0] == trees[1]
    assert keywords_of(compiled) == keywords_of(syntax.grammar())


def test_the_grammar_and_the_instructions_know_the_same_keywords() -> None:
    assert keywords_of(syntax.grammar()) == {*KEYWORDS, "ARG"}
    assert set(KEYWORDS) == {*TEXT_INSTRUCTIONS, "PARAMETER", "MESSAGE"}


def test_rendering_and_the_table_of_parameters_need_no_lark() -> None:
    code = (
        "import sys, olmkit.modelfile.render, olmkit.modelfile.parameters\n"
        "sys.exit('lark' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
