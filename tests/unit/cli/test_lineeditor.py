import stat
from pathlib import Path

import pytest

from olmkit.cli.chat.lineeditor import (
    KEPT_ENTRIES,
    TRIM_ABOVE_BYTES,
    ChatHistory,
    is_open,
    unquoted,
)


@pytest.mark.parametrize(
    ("text", "still_open"),
    [
        ("hello", False),
        ('"""', True),
        ('"""one\ntwo', True),
        ('"""one\ntwo"""', False),
        ('"""one"""', False),
        ('""""""', False),
        ('"""""', True),
        ('say """', False),
        ('/set system """', True),
        ('/set system """a\nb"""', False),
    ],
)
def test_a_block_is_open_until_a_line_ends_it(text: str, still_open: bool) -> None:
    assert is_open(text) is still_open


def test_quotes_and_the_line_ends_beside_them_are_taken_off() -> None:
    assert unquoted('"""\none\n\ntwo\n"""') == "one\n\ntwo"
    assert unquoted('"""one"""') == "one"
    assert unquoted(' say "hi" ') == ' say "hi" '


def test_history_is_private_and_keeps_entries_of_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "history"
    history = ChatHistory(path, saves=True)
    for text in ("one", "two\nlines", "three"):
        history.append_string(text)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = ChatHistory(path, saves=True)
    assert list(again.load_history_strings()) == ["three", "two\nlines", "one"]


def test_nothing_is_saved_when_history_is_off(tmp_path: Path) -> None:
    history = ChatHistory(tmp_path / "history", saves=False)
    history.append_string("secret")
    assert history.get_strings() == ["secret"]
    assert not (tmp_path / "history").exists()


def test_a_large_history_is_cut_to_its_newest_entries(tmp_path: Path) -> None:
    path = tmp_path / "history"
    history = ChatHistory(path, saves=True)
    entry = "x" * 1000
    for number in range(TRIM_ABOVE_BYTES // 1000 + 1):
        history.append_string(f"{number} {entry}")
    again = ChatHistory(path, saves=True)
    strings = list(again.load_history_strings())
    assert len(strings) == KEPT_ENTRIES
    assert strings[0].startswith(str(number))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_unwritable_history_is_no_failure() -> None:
    history = ChatHistory(Path("/dev/null/history"), saves=True)
    history.append_string("hello")
