"""Drafts from the text itself: where they come from, and when there are none."""

from olmkit.engine.runner.speculation.promptlookup import (
    FIRST_DEPTH,
    LEAST_AGREEMENT,
    MOST_DEPTH,
    PromptLookup,
)

TEXT = list(range(100, 300))


def steps(prompt: list[int], answer: list[int]) -> tuple[int, int, int]:
    """Steps that an answer takes, drafted tokens and right ones, checked as by a model."""
    lookup, tokens, count, drafted, accepted = PromptLookup(), [*prompt, answer[0]], 1, 0, 0
    while len(tokens) < len(prompt) + len(answer):
        rest = answer[len(tokens) - len(prompt) :]
        draft = lookup.draft(tokens, len(rest) - 1)
        right = 0
        while right < len(draft) and draft[right] == rest[right]:
            right += 1
        if draft:
            lookup.record(len(draft), right)
        drafted, accepted = drafted + len(draft), accepted + right
        tokens += rest[: right + 1]
        count += 1
    return count, drafted, accepted


def test_what_followed_the_same_tokens_is_the_draft() -> None:
    lookup = PromptLookup()
    assert lookup.draft([*TEXT, 7, 8, *TEXT[20:30]], 99) == TEXT[30 : 30 + FIRST_DEPTH]


def test_too_little_agreement_is_no_draft() -> None:
    few = TEXT[20 : 20 + LEAST_AGREEMENT - 1]
    assert PromptLookup().draft([*TEXT, 7, 8, *few], 99) == []


def test_no_more_is_drafted_than_there_is_room_for() -> None:
    assert len(PromptLookup().draft([*TEXT, 7, 8, *TEXT[20:30]], 2)) == 2


def test_the_longest_agreement_wins_over_a_later_shorter_one() -> None:
    later = [1, 2, *TEXT[24:30], 9, 9, 9, 9]
    assert PromptLookup().draft([*TEXT, *later, *TEXT[10:30]], 99)[0] == TEXT[30]


def test_a_copy_with_one_change_takes_few_steps() -> None:
    changed = [*TEXT[:100], 7, *TEXT[101:]]
    count, drafted, accepted = steps(TEXT, changed)
    assert count < len(changed) / 5
    assert accepted > 0.8 * drafted


def test_a_text_without_repetition_is_never_drafted() -> None:
    assert steps(TEXT, list(range(500, 600))) == (100, 0, 0)


def test_drafts_that_fail_end_soon() -> None:
    """Each phrase of the answer stands in the prompt, and always goes on otherwise."""
    phrases = [TEXT[start : start + LEAST_AGREEMENT + 1] for start in range(0, 190, 10)]
    answer = [token for number, phrase in enumerate(phrases) for token in (*phrase, 900 + number)]
    _, drafted, _ = steps(TEXT, answer)
    assert drafted <= 3 * FIRST_DEPTH


def test_a_draft_never_grows_over_its_bound() -> None:
    lookup, tokens = PromptLookup(), [*TEXT, 7, *TEXT[:10]]
    for _ in range(10):
        draft = lookup.draft(tokens, 999)
        assert len(draft) <= MOST_DEPTH
        lookup.record(len(draft), len(draft))
