from hypothesis import given
from hypothesis import strategies as st

from olmkit.engine.runner.decoding.batching import (
    LEAST_CHUNK_TOKENS,
    LONGEST_STEP_NS,
    STEP_TARGET_NS,
    PromptPace,
)
from olmkit.engine.runner.decoding.text.detokenizer import Detokenizer
from olmkit.engine.runner.promptcache.parked import common_prefix


def texts(pieces: list[bytes]) -> list[str]:
    detokenizer = Detokenizer(pieces.__getitem__)
    return [detokenizer.push(index) for index in range(len(pieces))]


def test_a_character_spread_over_tokens_leaves_whole() -> None:
    assert texts([b"a", b"\xf0", b"\x9f\x98", b"\x80b"]) == ["a", "", "", "😀b"]


def test_bytes_that_are_no_utf8_become_replacement_characters_at_once() -> None:
    assert texts([b"a\xff", b"\xf0\x9f", b"b"]) == ["a\ufffd", "", "\ufffdb"]


@given(text=st.text(), size=st.integers(1, 5))
def test_any_cut_of_valid_text_gives_that_text(text: str, size: int) -> None:
    raw = text.encode()
    pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
    assert "".join(texts(pieces)) == text


@given(
    prefix=st.lists(st.integers(0, 3), max_size=600),
    first=st.lists(st.integers(0, 3), max_size=600),
    second=st.lists(st.integers(0, 3), max_size=600),
)
def test_common_prefix_is_the_longest_shared_beginning(
    prefix: list[int], first: list[int], second: list[int]
) -> None:
    one, other = prefix + first, prefix + second
    length = common_prefix(one, other)
    assert length >= len(prefix)
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]


def test_prompts_beside_generation_start_small_and_follow_the_measured_pace() -> None:
    pace = PromptPace()
    assert pace.limit_tokens(512) == LEAST_CHUNK_TOKENS
    pace.record(128, 128 * STEP_TARGET_NS // 100)
    assert pace.limit_tokens(512) == 100 - 1  # beside one that generates
    assert pace.limit_tokens(64) == 64


def test_steps_are_longer_where_more_wait_than_generate() -> None:
    pace = PromptPace()
    pace.record(128, 128 * STEP_TARGET_NS // 100)
    assert pace.limit_tokens(512, waiting=3, generating=2) == 150 - 2
    assert pace.limit_tokens(512, waiting=1, generating=8) == 100 - 8
    most = 100 * LONGEST_STEP_NS // STEP_TARGET_NS
    assert pace.limit_tokens(512, waiting=3, generating=1) == most - 1
    assert pace.limit_tokens(2048, waiting=200, generating=1) == most - 1


def test_short_dear_steps_do_not_make_chunks_shorter_and_dearer_by_turns() -> None:
    pace = PromptPace()
    pace.record(512, 512 * STEP_TARGET_NS // 200)
    for _ in range(20):
        pace.record(LEAST_CHUNK_TOKENS, 3 * 73 * STEP_TARGET_NS // 200, others=8)
    assert pace.limit_tokens(512, generating=8) > 100 > LEAST_CHUNK_TOKENS


def test_a_slow_machine_still_takes_the_least_chunk() -> None:
    pace = PromptPace()
    pace.record(128, 128 * STEP_TARGET_NS)
    assert pace.limit_tokens(512) == LEAST_CHUNK_TOKENS


def test_short_chunks_tell_nothing_of_the_pace() -> None:
    pace = PromptPace()
    pace.record(LEAST_CHUNK_TOKENS - 1, 1)
    assert pace.limit_tokens(512) == LEAST_CHUNK_TOKENS
