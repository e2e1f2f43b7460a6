"""An answer held against what was expected of it: one sentence for each thing that is wrong."""

import json
import math
import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Final

from olmkit.cli.oneshot.constraints import parse_json_answer
from olmkit.cli.oneshot.oneanswer import OneAnswer
from olmkit.cli.oneshot.schemacheck import find_violation
from olmkit.cli.testing.suitefile import Expectations, ExpectedCall, Similarity

CHECK_LIMIT_S: Final = 2.0
"""Processor time for one pattern or schema: some patterns take for ever on some texts."""
SHOWN_CHARACTERS: Final = 200
REFUSAL_CHARACTERS: Final = 300
"""A refusal says so at the beginning."""

_REFUSAL: Final = re.compile(
    r"\b(?:I(?:'m| am) (?:sorry|afraid|unable|not able)|I (?:can(?:'t|not| not)|won't|will not|"
    r"must decline|refuse)|(?:can(?:'t|not)|unable to) (?:help|assist|comply|fulfill|provide)|"
    r"as an AI|against my (?:guidelines|policy|programming))\b",
    re.IGNORECASE,
)

Embed = Callable[[str, str], list[float]]
"""The vector that a model gives to a text."""


def failures(
    expect: Expectations, answer: OneAnswer, durations_ns: Mapping[str, int], embed: Embed
) -> list[str]:
    """What is wrong with the answer; empty: nothing.

    `durations_ns`: what the cases before took of the same model, its load apart.
    """
    return list(_failures(expect, answer, durations_ns, embed))


def duration_ns(answer: OneAnswer) -> int:
    """What an answer took: prompt and completion, without the model's load and the queue."""
    return answer.timings.prompt_ns + answer.timings.completion_ns


def is_refusal(text: str) -> bool:
    """Whether an answer in English begins by declining to help."""
    beginning = text[:REFUSAL_CHARACTERS].replace("\u2019", "'")
    return _REFUSAL.search(beginning) is not None


def _failures(
    expect: Expectations, answer: OneAnswer, durations_ns: Mapping[str, int], embed: Embed
) -> Iterator[str]:
    text = answer.text
    if expect == Expectations() and not text.strip() and not answer.tool_calls:
        yield "there is no answer"
    for part in expect.contains:
        if part not in text:
            yield f"does not contain {_shown(part)}"
    for part in expect.not_contains:
        if part in text:
            yield f"contains {_shown(part)}"
    if expect.exact is not None and text.strip() != expect.exact.strip():
        yield f"is not {_shown(expect.exact)}"
    if expect.regex is not None:
        yield from _bounded("the pattern", lambda: _of_regex(text, expect.regex or ""))
    if expect.schema is not None:
        yield from _bounded("the schema", lambda: _of_schema(text, expect.schema))
    yield from _of_size(expect, answer)
    if expect.refusal is not None and is_refusal(text) is not expect.refusal:
        yield "is no refusal" if expect.refusal else "is a refusal"
    if expect.call is not None:
        yield from _of_call(expect.call, answer)
    if expect.time is not None:
        before_ns = durations_ns.get(expect.time.case, 0)
        if not before_ns:
            yield f"cannot be timed: {expect.time.case!r} has no answer to compare with"
        elif duration_ns(answer) > expect.time.at_most * before_ns:
            ratio = duration_ns(answer) / before_ns
            yield (
                f"took {ratio:.2f} times as long as {expect.time.case!r}, more than "
                f"{expect.time.at_most:g}"
            )
    if expect.similar is not None:
        yield from _of_similarity(expect.similar, text, embed)


def _of_size(expect: Expectations, answer: OneAnswer) -> Iterator[str]:
    said, asked = answer.timings.completion_tokens, answer.timings.prompt_tokens
    if expect.max_tokens is not None and said > expect.max_tokens:
        yield f"has {said} tokens, more than {expect.max_tokens}"
    if expect.max_prompt_tokens is not None and asked > expect.max_prompt_tokens:
        yield f"had a prompt of {asked} tokens, more than {expect.max_prompt_tokens}"
    if expect.end is not None and answer.end != expect.end:
        yield f"ended by {answer.end!r}, not {expect.end!r}"


def _of_regex(text: str, pattern: str) -> list[str]:
    found = re.search(pattern, text)
    return [] if found else [f"does not match {_shown(pattern)}"]


def _of_schema(text: str, schema: object) -> list[str]:
    try:
        value = parse_json_answer(text)
    except ValueError as error:
        return [f"is no JSON: {error}"]
    try:
        violation = find_violation(value, schema)
    except (TypeError, ValueError, AttributeError, KeyError, re.error) as error:
        return [f"cannot be held against the schema: {error}"]
    return [f"violates the schema at {violation}"] if violation else []


def _of_call(expected: ExpectedCall, answer: OneAnswer) -> Iterator[str]:
    calls = [call for call in answer.tool_calls if call.get("name") == expected.name]
    if not calls:
        named = ", ".join(str(call.get("name")) for call in answer.tool_calls) or "none"
        yield f"does not call {expected.name!r}; called: {named}"
        return
    given = [call.get("arguments") for call in calls]
    if not any(_has(arguments, expected.arguments) for arguments in given):
        said = json.dumps(given[0], ensure_ascii=False)
        yield f"calls {expected.name!r} with {_shown(said)}"


def _has(arguments: object, expected: Mapping[str, object]) -> bool:
    """Whether the arguments have all that are expected, as JSON equals JSON."""
    return isinstance(arguments, Mapping) and all(
        find_violation(arguments.get(name), {"const": value}) is None
        for name, value in expected.items()
    )


def _of_similarity(similar: Similarity, text: str, embed: Embed) -> Iterator[str]:
    if not text.strip():
        yield "there is no text to compare"
        return
    found = cosine(embed(similar.model, text), embed(similar.model, similar.to))
    if found < similar.at_least:
        yield f"is {found:.2f} similar to {_shown(similar.to)}, less than {similar.at_least:g}"


def cosine(one: list[float], other: list[float]) -> float:
    """The cosine between two vectors of equal length; 0 where one has no direction."""
    norm = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / norm if norm else 0.0


class _TooMuch(Exception):
    """The processor time of a check is over."""


def _bounded(what: str, check: Callable[[], list[str]]) -> list[str]:
    """What a check finds, or that it took too long."""
    try:
        with _cpu_limit(CHECK_LIMIT_S):
            return check()
    except _TooMuch:
        return [f"cannot be checked: {what} took more than {CHECK_LIMIT_S:g} s"]


@contextmanager
def _cpu_limit(limit_s: float) -> Iterator[None]:
    """The block, ended after so much processor time; a loaded machine takes none of it.

    Python's `re` looks for signals while it searches.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise _TooMuch

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _shown(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted if len(quoted) <= SHOWN_CHARACTERS else f"{quoted[: SHOWN_CHARACTERS - 1]}…"
