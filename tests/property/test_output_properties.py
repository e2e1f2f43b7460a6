"""The output stage takes any text in any pieces, of any family."""

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from olmkit.engine.chat.conversation import Tool
from olmkit.engine.chat.output.deltas import (
    CallArguments,
    CallBroken,
    CallFinished,
    CallStarted,
    OutputEvent,
)
from olmkit.engine.chat.output.families import FAMILIES
from olmkit.engine.chat.output.formats import OutputFormat
from olmkit.engine.chat.output.stage import OutputStage, collect

TOOLS = (
    Tool(name="f", parameters={"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}),
)
WORDS = (
    *("f", "a", "b", "1", "x y", "\n", " ", "{", "}", "[", "]", "(", ")", '"', "'", ":", ",", "="),
    *('{"name": "f", "arguments": {"a": "', '"}}', '{"a": ', "call:f{a:", "f(a=", "functions.f:0"),
    *(' name="f"', ' name="a"', ">", "/>", "\\", "```json", "json", "é", "😀"),
)


@st.composite
def outputs(draw: st.DrawFn) -> tuple[OutputFormat, str, list[int]]:
    family = draw(st.sampled_from(list(FAMILIES.values())))
    words = st.sampled_from((*WORDS, *family.marks)) | st.text(max_size=4)
    text = "".join(draw(st.lists(words, max_size=25)))
    cuts = draw(st.lists(st.integers(0, len(text)), max_size=8))
    return family, text, sorted(cuts)


def run(family: OutputFormat, pieces: list[str], *, is_cut: bool) -> list[OutputEvent]:
    stage = OutputStage(family, tools=TOOLS)
    events = [event for piece in pieces for event in stage.feed(piece)]
    return events + stage.finish(is_cut=is_cut)


@given(outputs(), st.booleans())
def test_the_result_does_not_depend_on_the_pieces(
    output: tuple[OutputFormat, str, list[int]], is_cut: bool
) -> None:
    family, text, cuts = output
    edges = [0, *cuts, len(text)]
    pieces = [text[a:b] for a, b in pairwise(edges)]
    whole, parts = run(family, [text], is_cut=is_cut), run(family, pieces, is_cut=is_cut)
    single = run(family, list(text), is_cut=is_cut)
    results = [
        (
            parsed.text,
            parsed.thinking,
            [(call.name, json.dumps(call.arguments)) for call in parsed.calls],
        )
        for parsed in map(collect, (whole, parts, single))
    ]
    assert results[0] == results[1] == results[2]


@given(outputs(), st.booleans())
def test_calls_are_told_in_order_and_each_comes_to_an_end(
    output: tuple[OutputFormat, str, list[int]], is_cut: bool
) -> None:
    family, text, _ = output
    open_index: int | None = None
    arguments = ""
    for event in run(family, list(text), is_cut=is_cut):
        match event:
            case CallStarted():
                assert open_index is None
                open_index, arguments = event.index, ""
            case CallArguments():
                assert event.index == open_index
                arguments += event.text
            case CallFinished():
                assert event.call.index == open_index
                assert event.arguments_json == arguments
                assert json.loads(arguments) == event.call.arguments
                open_index = None
            case CallBroken():
                assert event.index == open_index
                open_index = None
    assert open_index is None


@given(st.text(max_size=60))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert collect(run(FAMILIES["plain"], list(text), is_cut=False)).text == text
