"""Recorded outputs of models, replayed through the output stage and judged by `canitoolcall`.

`python -m support.oracle` writes the table of docs/tool-calls.md anew.
Source: https://github.com/redd34/canitoolcall
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from canitoolcall.checks import run_checks
from canitoolcall.fixtures import Family, Fixture, load_families, load_fixtures
from canitoolcall.results import Observation, ParsedToolCall, ParseResult, Status, worst_status

from olmkit.engine.chat.conversation import Tool
from olmkit.engine.chat.output.deltas import CallFinished, OutputEvent
from olmkit.engine.chat.output.families import FAMILIES
from olmkit.engine.chat.output.stage import OutputStage, collect

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "tool-calls.md"
BEGIN, END = "<!-- begin of the generated table -->", "<!-- end of the generated table -->"
FORMATS: Mapping[str, str] = {
    "deepseek-v3": "deepseek-v3",
    "deepseek-v31": "deepseek-v3",
    "deepseek-v32": "deepseek",
    "deepseek-v4": "deepseek",
    "deepseek-v41": "deepseek",
    "gemma4": "gemma4",
    "glm": "glm",
    "gpt-oss": "harmony",
    "kimi-k2-instruct": "kimi-k2",
    "kimi-k2-thinking": "kimi-k2",
    "kimi-k3-xtml": "kimi-k3",
    "llama3-json": "llama3",
    "llama4-pythonic": "llama4",
    "mistral": "mistral",
    "qwen3-hermes": "hermes",
    "qwen3-xml": "qwen3-coder",
}
"""Our family for a variant of the fixtures, or for all of theirs of one family."""
SEEDS = range(6)


@cache
def fixtures() -> tuple[Fixture, ...]:
    return tuple(load_fixtures())


@cache
def families() -> dict[str, Family]:
    return load_families()


def replay(fixture: Fixture, pieces: Sequence[str]) -> ParseResult:
    """What the stage makes of a fixture's output that comes in these pieces."""
    model = families()[fixture.family].reference_for(fixture.reference_model)
    variant = model.variant or "" if model is not None else ""
    prompt = fixture.generation_prompt
    if prompt is None and model is not None:
        prompt = model.default_generation_prompt
    stage = OutputStage(
        FAMILIES[FORMATS.get(variant) or FORMATS[fixture.family]],
        tools=[Tool.parse(tool) for tool in fixture.tools],
        prompt=prompt or "",
    )
    events: list[OutputEvent] = []
    for piece in pieces:
        events += stage.feed(piece)
    events += stage.finish(is_cut=fixture.truncated)
    parsed = collect(events)
    return ParseResult(
        content=parsed.text or None,
        reasoning_content=parsed.thinking or None,
        tool_calls=tuple(
            ParsedToolCall(event.call.name, event.arguments_json)
            for event in events
            if isinstance(event, CallFinished)
        ),
    )


def splits(text: str) -> Iterator[tuple[str, list[str]]]:
    """Ways to cut a text, with names that the checks count as realistic."""
    yield "one", [text]
    yield "token", list(text)
    for seed in SEEDS:
        pieces, start, chance = [], 0, random.Random(seed)
        while start < len(text):
            size = chance.randint(1, 12)
            pieces.append(text[start : start + size])
            start += size
        yield f"rand:{seed}:12", pieces


def judge(fixture: Fixture) -> Status:
    """The worst that any check says of a fixture, whole and in pieces."""
    streams = {name: replay(fixture, pieces) for name, pieces in splits(fixture.raw_output)}
    observation = Observation(nonstream=streams["one"], streams=streams)
    rows = run_checks(fixture, families()[fixture.family], observation)
    return worst_status(row.status for row in rows)


@cache
def judgements() -> dict[str, Status]:
    """How each fixture ends, by its id."""
    return {fixture.id: judge(fixture) for fixture in fixtures()}


def scores() -> dict[str, Counter[Status]]:
    """How many fixtures of each family end how."""
    found: dict[str, Counter[Status]] = {}
    for fixture in fixtures():
        found.setdefault(fixture.family, Counter())[judgements()[fixture.id]] += 1
    return found


def table(found: Mapping[str, Counter[Status]]) -> str:
    """The scores as Markdown."""
    rows = ["| family | recorded outputs | as expected | but for white space | otherwise |"]
    rows.append("|---|---:|---:|---:|---:|")
    total: Counter[Status] = sum(found.values(), Counter())
    for name, count in [*sorted(found.items()), ("**all**", total)]:
        passed, soft = count[Status.PASS], count[Status.SOFT_PASS]
        rows.append(
            f"| {name} | {count.total()} | {passed} | {soft} | {count.total() - passed - soft} |"
        )
    return "\n".join(rows)


def with_table(document: str, rows: str) -> str:
    """A document with the table in its place."""
    before, rest = document.split(BEGIN)
    return f"{before}{BEGIN}\n{rows}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(), table(scores())))
