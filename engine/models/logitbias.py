"""`logit_bias`: tokens that a request makes likelier, or less likely, than the model finds them.

Source: https://platform.openai.com/docs/api-reference/chat/create#chat_create-logit_bias
"""

from collections.abc import Mapping
from typing import Any, Final

from olmkit.engine.errors import InvalidRequest

MOST_BIASES: Final = 1024
"""The engine looks for each of them among the candidates of every token."""
MOST_BIAS: Final = 100.0
"""Either way; so much forbids a token, or leaves no other."""
_MOST_DIGITS: Final = 9


def parse_logit_bias(given: Any) -> dict[int, float]:
    """What is added to the logits of tokens, by their ids; empty for None.

    Raises:
        InvalidRequest: it is no map of token ids to numbers from -100 to 100, or is too long.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise _wrong("logit_bias must be an object of token ids and numbers")
    if len(given) > MOST_BIASES:
        raise _wrong(f"logit_bias takes {MOST_BIASES} tokens, not {len(given)}")
    return {_token(key): _bias(key, value) for key, value in given.items()}


def _token(key: Any) -> int:
    text = str(key)
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        raise _wrong(f"logit_bias: {text[:32]!r} is no token id")
    return int(text)


def _bias(key: Any, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not -MOST_BIAS <= value <= MOST_BIAS:
        raise _wrong(f"logit_bias: the bias of token {key} must be a number from -100 to 100")
    return float(value)


def _wrong(text: str) -> InvalidRequest:
    return InvalidRequest(text, field="logit_bias")
