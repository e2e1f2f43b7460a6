import pyte
import pytest

from olmkit.cli.screen.wordwrap import WordWrap


def shown(pieces: list[str], width: int = 20, height: int = 12) -> list[str]:
    """The lines of a real terminal's screen after the pieces went through the wrapper."""
    screen = pyte.Screen(width, height)
    stream = pyte.Stream(screen)
    wrap = WordWrap()
    for piece in pieces:
        stream.feed(wrap.feed(piece, width).replace("\n", "\r\n"))
    lines = [line.rstrip() for line in screen.display]
    while lines and not lines[-1]:
        lines.pop()
    return lines


TEXT = "The quick brown fox jumps over the lazy dog, again and again."
WRAPPED = ["The quick brown fox", "jumps over the lazy", "dog, again and", "again."]


def test_words_move_to_the_next_line_whole() -> None:
    assert shown([TEXT]) == WRAPPED


def test_the_split_into_pieces_makes_no_difference() -> None:
    assert shown(list(TEXT)) == WRAPPED
    assert shown([TEXT[i : i + 3] for i in range(0, len(TEXT), 3)]) == WRAPPED


def test_a_word_longer_than_the_line_appears_once() -> None:
    word = "https://example.org/" + "x" * 30
    assert shown(["see " + word + " now"]) == [
        "see",
        "https://example.org/",
        "x" * 20,
        "x" * 10 + " now",
    ]


def test_newlines_and_blank_lines_stay() -> None:
    assert shown(["a\n\nb\n"]) == ["a", "", "b"]


def test_a_blank_at_the_edge_makes_no_empty_line() -> None:
    assert shown(["123456789 123456789 \nnext"]) == ["123456789 123456789", "next"]
    assert shown(["123456789 1234567890 next"]) == ["123456789", "1234567890 next"]


def test_indentation_stays() -> None:
    assert shown(["def f():\n    return 1\n\tx"]) == ["def f():", "    return 1", "        x"]


def test_wide_scripts_break_anywhere() -> None:
    lines = shown(["汉" * 15])
    assert [line.replace(" ", "") for line in lines] == ["汉" * 9, "汉" * 6]


def test_narrow_terminals_get_the_text_as_it_is() -> None:
    assert WordWrap().feed("some words", 9) == "some words"


@pytest.mark.parametrize("width", [14, 19, 40, 80])
def test_no_word_is_lost_or_doubled(width: int) -> None:
    text = " ".join("w" * (i % 13 + 1) for i in range(60))
    assert " ".join(shown([text], width, 100)).split() == text.split()
