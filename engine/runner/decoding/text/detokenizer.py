"""Tokens to text as they come: only whole characters leave.

A token is bytes, and a character may be spread over several tokens. What is no UTF-8 at all
becomes U+FFFD at once; the start of a character waits for the rest of it.
"""

import codecs
from collections.abc import Callable, Iterable, Sequence

from olmkit.engine.runner.bindings import Model

_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class Detokenizer:
    """The text of one growing sequence of tokens.

    `piece` gives the bytes of a token, none for those that are not to be seen.
    """

    def __init__(self, piece: Callable[[int], bytes]) -> None:
        self._piece = piece
        self._decoder = _utf8_decoder(errors="replace")

    def push(self, token: int) -> str:
        """The characters that this token completes; may be empty."""
        return self._decoder.decode(self._piece(token))


def visible_piece(model: Model, marks: Sequence[str]) -> Callable[[int], bytes]:
    """The bytes of tokens, of control tokens only where one of `marks` contains their text."""
    if not marks:
        return model.piece

    def piece(token: int) -> bytes:
        raw = model.piece(token)
        if raw:
            return raw
        raw = model.piece(token, special=True)
        text = raw.decode(errors="replace")
        return raw if text and any(text in mark for mark in marks) else b""

    return piece


def detokenize(model: Model, tokens: Iterable[int]) -> str:
    """The text of tokens that are all there, control tokens included; broken bytes: U+FFFD."""
    raw = b"".join(model.piece(token, special=True) for token in tokens)
    return raw.decode(errors="replace")
