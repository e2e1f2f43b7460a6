import pytest

from olmkit.engine.api.decoding import decode, parse_json
from olmkit.engine.api.native.types import ChatRequest, GenerateRequest
from olmkit.engine.errors import InvalidRequest


def test_null_means_absent_and_unknown_fields_are_ignored() -> None:
    body = decode(b'{"model":null,"prompt":"x","nonsense":[1]}', GenerateRequest)
    assert (body.model, body.prompt) == (None, "x")


def test_keys_match_in_any_case() -> None:
    assert decode(b'{"Model":"m","PROMPT":"x"}', GenerateRequest).prompt == "x"


def test_the_last_of_equal_keys_wins_and_trailing_bytes_are_ignored() -> None:
    body = decode(b'\n {"model":"a","model":"b"} and more', GenerateRequest)
    assert body.model == "b"


def test_null_alone_is_an_empty_request() -> None:
    assert decode(b"null", ChatRequest) == ChatRequest()


def test_half_of_a_surrogate_pair_becomes_the_replacement_character() -> None:
    assert parse_json(rb'["\ud83d\ude00", "\ud83d", {"\udc00": 1}]') == ["😀", "�", {"�": 1}]


def test_bytes_that_are_no_utf8_become_the_replacement_character() -> None:
    assert parse_json(b'["\xff"]') == ["�"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "missing request body"),
        (b" \n", "missing request body"),
        (b"hello", "invalid character 'h' looking for beginning of value"),
        (b'{"a"', "unexpected EOF"),
        (b'{"a":"b', "unexpected EOF"),
        (b"{a:1}", "invalid character 'a' looking for beginning of object key string"),
        (b'{"a" 1}', "invalid character '1' after object key"),
        (b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
        (b'{"a":NaN}', "invalid character 'N' looking for beginning of value"),
        (
            b'{"prompt":1}',
            "json: cannot unmarshal number into Go struct field GenerateRequest.prompt "
            "of type string",
        ),
        (b"[1]", "json: cannot unmarshal array into Go value of GenerateRequest of type struct"),
    ],
)
def test_what_is_wrong_is_said_in_gos_words(body: bytes, text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(body, GenerateRequest)
    assert str(caught.value) == text


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 100_000])
def test_hostile_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(body, GenerateRequest)


def test_a_message_of_the_wrong_shape_names_its_place() -> None:
    with pytest.raises(InvalidRequest, match=r"ChatRequest\.messages\.content of type string"):
        decode(b'{"messages":[{"content":[1]}]}', ChatRequest)
