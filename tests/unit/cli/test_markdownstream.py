"""Markdown of an answer, drawn while it arrives."""

import re

import pytest
from hypothesis import example, given, strategies

from olmkit.cli.chat.markdownstream import MarkdownStream

TEXT = """# Title

Some *soft* and **bold** text with `a < b` and <b>tags</b>,
on two lines.

- one
- two

   more of two

3. three

| a | b |
|---|---|
| 1 | 2 |

```python
def f():
    '''several
    lines'''
    return 1 < 2
```
The end.
"""
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def drawn(text: str, *, size: int = 10**6, width: int = 60, has_colour: bool = True) -> str:
    """All that is drawn of a text that comes in pieces of a size."""
    stream = MarkdownStream(width, has_colour=has_colour)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return "".join([*map(stream.feed, pieces), stream.end()])


def plain(text: str) -> str:
    return _ESCAPES.sub("", text)


def test_marks_become_looks() -> None:
    lines = plain(drawn(TEXT)).splitlines()
    assert any(line.strip(" │┃") == "Title" for line in lines)
    assert "Some soft and bold text with a < b and <b>tags</b>, on two" in lines
    assert " • one" in lines
    assert "   more of two" in lines
    assert " 3 three" in lines
    assert [line.split() for line in lines if line.split()[:1] in (["a"], ["1"])] == [
        ["a", "b"],
        ["1", "2"],
    ]
    at = lines.index("def f():")
    assert lines[at + 1 : at + 4] == ["    '''several", "    lines'''", "    return 1 < 2"]
    assert lines[-1] == "The end."
    assert "\x1b[" in drawn(TEXT)
    assert "\x1b[3" not in drawn(TEXT, has_colour=False).replace("\x1b[3m", "")


def test_colours_of_a_line_know_the_lines_before_it() -> None:
    inside = "```python\nx = '''\nif\n'''\nif x: pass\n```\n"
    in_text, outside = [line for line in drawn(inside).splitlines() if "if" in line]
    assert in_text.partition("if")[0] != outside.partition("if")[0]


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_pieces_make_no_difference(size: int) -> None:
    assert drawn(TEXT, size=size) == drawn(TEXT)


def test_a_block_is_drawn_when_it_is_whole_and_code_at_each_line() -> None:
    stream = MarkdownStream(60)
    assert stream.feed("One line\nand") == ""
    assert plain(stream.feed(" more.\n\n")) == "One line and more.\n"
    assert stream.feed("```\n") == "\n"
    assert plain(stream.feed("code\nhal")) == "code\n"
    assert plain(stream.end()) == "hal\n"


words = strategies.text("ab<>&*_`#|-~.[]()!\\ \n1", max_size=80)


@given(words)
@example("`a <b")
@example("<!-- x -->")
@example("<div>\nx\n</div>")
@example("``` `\nx")
def test_letters_are_never_lost_and_colours_always_end(text: str) -> None:
    shown = drawn(text, width=200)
    wanted = [c for c in text if c in "ab"]
    # What is in the parentheses of a link or behind the fence of code is its address or language.
    if not re.search(r"[\])(!]|```|~~~", text):
        assert [c for c in plain(shown) if c in "ab"] == wanted
    assert shown == "" or shown.endswith("\n")
    for line in shown.splitlines():
        codes = _ESCAPES.findall(line)
        assert not codes or codes[-1] == "\x1b[0m"


@pytest.mark.parametrize("width", [20, 40])
def test_a_narrow_terminal_has_no_longer_lines_but_for_code(width: int) -> None:
    shown = plain(drawn(TEXT.partition("```")[0], width=width))
    assert max(map(len, shown.splitlines())) <= width
