import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmkit.engine.runner.decoding.text.stops import StopScanner


def scan(stops: list[str], pieces: list[str]) -> tuple[str, str | None]:
    """All text that leaves, and the stop string that ended it."""
    scanner = StopScanner(stops)
    text = ""
    for piece in pieces:
        emitted, stop = scanner.push(piece)
        text += emitted
        if stop is not None:
            return text, stop
    return text + scanner.flush(), None


def test_text_passes_through_when_there_are_no_stop_strings() -> None:
    assert StopScanner([]).push("anything") == ("anything", None)


def test_a_stop_string_within_one_piece_ends_the_text_before_it() -> None:
    assert StopScanner(["stop"]).push("a stop b") == ("a ", "stop")


def test_a_stop_string_spread_over_pieces_is_never_let_out() -> None:
    scanner = StopScanner(["<end>"])
    assert scanner.push("text <e") == ("text ", None)
    assert scanner.push("nd") == ("", None)
    assert scanner.push("> more") == ("", "<end>")


def test_what_only_looked_like_a_stop_string_comes_out_after_all() -> None:
    scanner = StopScanner(["<end>"])
    assert scanner.push("a <en") == ("a ", None)
    assert scanner.push("x") == ("<enx", None)


def test_a_possible_start_is_held_until_the_end() -> None:
    scanner = StopScanner(["abcd"])
    assert scanner.push("xyab") == ("xy", None)
    assert scanner.flush() == "ab"
    assert scanner.flush() == ""


def test_of_several_the_one_that_starts_first_wins_then_the_one_listed_first() -> None:
    assert StopScanner(["late", "early"]).push("early late") == ("", "early")
    assert StopScanner(["ab", "abc"]).push("xabc") == ("x", "ab")


def test_an_empty_stop_string_stops_nothing() -> None:
    assert scan(["", "z"], ["abc"]) == ("abc", None)


@pytest.mark.parametrize("stop", ["\n\n", "aab", "🙂!"])
def test_repeated_beginnings_do_not_hide_a_stop_string(stop: str) -> None:
    assert scan([stop], list("a" + stop[0] + stop + "tail"))[1] == stop


@given(
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    pieces=st.lists(st.text("abc", max_size=4), max_size=12),
)
def test_the_cut_into_pieces_does_not_matter(stops: list[str], pieces: list[str]) -> None:
    whole = "".join(pieces)
    ends = {stop: whole.find(stop) for stop in stops if stop in whole}
    text, stop = scan(stops, pieces)
    assert stop is None or whole.startswith(text + stop)
    assert not any(one in text for one in stops)
    if not ends:
        assert (text, stop) == (whole, None)
    else:
        # A shorter stop string may be whole before a longer one that starts earlier is.
        assert stop is not None
        assert len(text) >= min(ends.values())
