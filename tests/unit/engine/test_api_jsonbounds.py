import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmkit.engine.api import jsonbounds
from olmkit.engine.api.jsonbounds import JsonMeter
from olmkit.engine.errors import InvalidRequest

JSON = st.recursive(
    st.none() | st.integers() | st.text('"\\{}[],:a'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('"\\{}[],:a'), inner),
)


def count(value: object) -> tuple[int, int, int]:
    """Containers, keys and separators or containers, as the meter counts them."""
    items = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(items, list):
        return 0, 0, 0
    inner = [count(item) for item in items]
    return (
        1 + sum(one[0] for one in inner),
        (len(items) if isinstance(value, dict) else 0) + sum(one[1] for one in inner),
        1 + max(0, len(items) - 1) + sum(one[2] for one in inner),
    )


@given(JSON, st.integers(1, 7))
def test_what_is_counted_does_not_depend_on_how_it_comes(value: object, size: int) -> None:
    text = json.dumps(value, ensure_ascii=False).encode()
    meter = JsonMeter()
    for start in range(0, len(text), size):
        meter.feed(text[start : start + size])
    assert (meter._containers, meter._keys, meter._values) == count(value)
    assert not meter._is_in_string


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"[" * (jsonbounds.MAX_DEPTH + 1), "nested too deeply"),
        (b"[" + b"[]," * jsonbounds.MAX_CONTAINERS, "objects and arrays"),
        (b'{"a":' * 100 + b'"a":' * jsonbounds.MAX_KEYS, "keys"),
        (b"[" + b"0," * jsonbounds.MAX_VALUES, "values"),
    ],
)
def test_too_much_is_named(text: bytes, what: str) -> None:
    with pytest.raises(InvalidRequest, match=what):
        JsonMeter().feed(text)


def test_brackets_in_a_prompt_are_text() -> None:
    JsonMeter().feed(json.dumps({"prompt": '[{"' * 300_000}).encode())
