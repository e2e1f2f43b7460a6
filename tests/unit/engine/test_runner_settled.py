"""Tokens of an answer and its text: the same ones, whatever is held back or cut off."""

from hypothesis import given
from hypothesis import strategies as st

from olmkit.engine.runner.decoding.text.settled import SettledTokens
from olmkit.engine.runner.decoding.text.stops import StopScanner

PIECES = st.lists(st.text("abx", max_size=3), max_size=12)


@given(PIECES, st.lists(st.text("abx", min_size=1, max_size=4), max_size=2))
def test_the_tokens_are_those_whose_text_came_out(pieces: list[str], stops: list[str]) -> None:
    scanner, settled = StopScanner(stops), SettledTokens()
    text, tokens = "", []
    stop = None
    for token, piece in enumerate(pieces):
        out, stop = scanner.push(piece)
        settled.push(token, piece, None)
        text += out
        tokens += settled.take(out, is_cut=stop is not None)[0]
        # What is told is never ahead of the text.
        assert len("".join(pieces[: len(tokens)])) <= len(text) or stop is not None
        if stop is not None:
            break
    if stop is None:
        text += scanner.flush()
        tokens += settled.take_rest()[0]
        assert tokens == list(range(len(pieces)))
    assert tokens == list(range(len(tokens)))
    whole = "".join(pieces[: len(tokens)])
    assert whole.startswith(text)
    if tokens:
        assert len("".join(pieces[: len(tokens) - 1])) < len(text) or pieces[tokens[-1]] == ""
