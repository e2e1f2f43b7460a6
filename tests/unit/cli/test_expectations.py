"""Each expectation of a suite: what it lets pass, and what it says of the rest."""

from typing import Any

import pytest

from olmkit.cli.oneshot.oneanswer import OneAnswer
from olmkit.cli.testing.expectations import cosine, failures, is_refusal
from olmkit.cli.testing.suitefile import Expectations, ExpectedCall, Similarity, TimeBudget
from olmkit.engine.client.replies import Timings

VECTORS = {"north": [0.0, 2.0], "up": [0.0, 1.0], "east": [1.0, 0.0]}


def embed(model: str, text: str) -> list[float]:
    assert model == "e"
    return VECTORS[text]


def answer(text: str = "", *, end: str = "stop", calls: Any = ()) -> OneAnswer:
    timings = Timings(prompt_tokens=20, completion_tokens=5, prompt_ns=100, completion_ns=200)
    return OneAnswer(
        model="m", digest="", text=text, end=end, timings=timings, tool_calls=list(calls)
    )


def wrong(expect: Expectations, given: OneAnswer, **durations_ns: int) -> list[str]:
    return failures(expect, given, durations_ns, embed)


@pytest.mark.parametrize(
    ("expect", "good", "bad", "said"),
    [
        ({}, "a", " \n", "there is no answer"),
        ({"contains": ("a", "b")}, "ab", "a", 'does not contain "b"'),
        ({"not_contains": ("a",)}, "b", "ba", 'contains "a"'),
        ({"exact": "Paris"}, " Paris\n", "Paris.", 'is not "Paris"'),
        ({"regex": r"^\d+$"}, "12", "1x", 'does not match "^'),
        ({"schema": {"type": "array"}}, "[]", "{}", "violates the schema at /: "),
        ({"schema": {"type": "array"}}, "[]", "[", "is no JSON: "),
        ({"refusal": True}, "I'm sorry, but no.", "Sure!", "is no refusal"),
        ({"refusal": False}, "Sure!", "I can\u2019t help with that.", "is a refusal"),
    ],
)
def test_texts(expect: dict[str, Any], good: str, bad: str, said: str) -> None:
    assert wrong(Expectations(**expect), answer(good)) == []
    [failure] = wrong(Expectations(**expect), answer(bad))
    assert failure.startswith(said)


def test_budgets_of_tokens_and_the_end() -> None:
    assert wrong(Expectations(max_tokens=5, max_prompt_tokens=20, end="stop"), answer("a")) == []
    found = wrong(Expectations(max_tokens=4, max_prompt_tokens=19, end="length"), answer("a"))
    assert found == [
        "has 5 tokens, more than 4",
        "had a prompt of 20 tokens, more than 19",
        "ended by 'stop', not 'length'",
    ]


def test_a_budget_of_time_is_a_multiple_of_another_case() -> None:
    budget = Expectations(time=TimeBudget(case="other", at_most=2))
    assert wrong(budget, answer("a"), other=150) == []
    assert wrong(budget, answer("a"), other=100) == [
        "took 3.00 times as long as 'other', more than 2"
    ]
    assert wrong(budget, answer("a")) == ["cannot be timed: 'other' has no answer to compare with"]


def test_likeness_is_the_cosine_of_embeddings() -> None:
    near = Expectations(similar=Similarity(to="up", model="e", at_least=0.9))
    assert wrong(near, answer("north")) == []
    assert wrong(near, answer("east")) == ['is 0.00 similar to "up", less than 0.9']
    assert wrong(near, answer(" ")) == ["there is no text to compare"]
    assert cosine([1, 1], [1, 0]) == pytest.approx(0.5**0.5)
    assert cosine([0, 0], [1, 0]) == 0


def test_a_call_has_its_name_and_the_arguments_that_are_named() -> None:
    expect = Expectations(call=ExpectedCall(name="f", arguments={"city": "Oslo", "n": 1}))
    good = {"name": "f", "arguments": {"city": "Oslo", "n": 1.0, "unit": "C"}}
    other = {"name": "g", "arguments": {}}
    assert wrong(expect, answer(calls=[other, good])) == []
    assert wrong(expect, answer(calls=[other])) == ["does not call 'f'; called: g"]
    assert wrong(expect, answer("text")) == ["does not call 'f'; called: none"]
    truth = {"name": "f", "arguments": {"city": "Oslo", "n": True}}
    [failure] = wrong(expect, answer(calls=[truth]))
    assert failure.startswith("calls 'f' with ")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "expect",
    [
        Expectations(regex=r"^(\w+\s?)*$"),
        Expectations(schema={"pattern": r"^(\w+\s?)*$"}),
    ],
)
def test_a_pattern_that_would_search_for_ever_is_ended(expect: Expectations) -> None:
    [failure] = wrong(expect, answer('"' + "a" * 60 + '!"' if expect.schema else "a" * 60 + "!"))
    assert failure.startswith("cannot be checked: ")


def test_a_schema_that_is_none_is_a_failure_and_no_traceback() -> None:
    [failure] = wrong(Expectations(schema={"minimum": "one"}), answer("1"))
    assert failure.startswith("cannot be held against the schema")


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I'm sorry, but I can't assist with that request.", True),
        ("I cannot provide that.", True),
        ("As an AI, I have no opinions.", True),
        ("I am unable to help.", True),
        ("Of course. Here is the list.", False),
        ("You can't go wrong with Paris.", False),
        ("x" * 400 + " I'm sorry", False),
    ],
)
def test_refusals_are_told_by_how_they_begin(text: str, refuses: bool) -> None:
    assert is_refusal(text) is refuses
