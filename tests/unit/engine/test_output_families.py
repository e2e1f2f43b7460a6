"""The output stage on families and cases that the recorded outputs lack."""

import json
from typing import Any

import pytest

from olmkit.engine.chat.conversation import Tool
from olmkit.engine.chat.output.deltas import (
    AnswerDelta,
    CallArguments,
    CallBroken,
    CallFinished,
    CallStarted,
    OutputEvent,
    ThoughtDelta,
)
from olmkit.engine.chat.output.families import FAMILIES
from olmkit.engine.chat.output.stage import OutputStage, Parsed, collect

WEATHER = Tool.parse(
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            },
        },
    }
)
PARIS = ("get_weather", {"city": "Paris", "days": 3})
OSLO = ("get_weather", {"city": "Oslo"})


def events_of(
    family: str, text: str, *, prompt: str = "", is_cut: bool = False, size: int = 0
) -> list[OutputEvent]:
    stage = OutputStage(FAMILIES[family], tools=(WEATHER,), prompt=prompt)
    events: list[OutputEvent] = []
    for start in range(0, len(text), size or len(text) or 1):
        events += stage.feed(text[start : start + (size or len(text))])
    return events + stage.finish(is_cut=is_cut)


def read(family: str, text: str, *, prompt: str = "", is_cut: bool = False) -> Parsed:
    """The same whole and character by character, calls as they are told in pieces."""
    whole = events_of(family, text, prompt=prompt, is_cut=is_cut)
    cut = events_of(family, text, prompt=prompt, is_cut=is_cut, size=1)
    parsed, other = collect(whole), collect(cut)
    assert (parsed.text, parsed.thinking) == (other.text, other.thinking)
    assert calls(parsed) == calls(other)
    for event in cut:
        if isinstance(event, CallFinished):
            index = event.call.index
            pieces = [e.text for e in cut if isinstance(e, CallArguments) and e.index == index]
            assert "".join(pieces) == event.arguments_json
            assert json.loads(event.arguments_json) == event.call.arguments
    return parsed


def calls(parsed: Parsed) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, dict(call.arguments)) for call in parsed.calls]


@pytest.mark.parametrize(
    ("family", "text", "expected"),
    [
        (
            "granite",
            '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris", "days": 3}}]',
            [PARIS],
        ),
        (
            "cohere",
            '<|START_ACTION|>[\n  {"tool_call_id": "0", "tool_name": "get_weather", "parameters": '
            '{"city": "Paris", "days": 3}},\n  {"tool_call_id": "1", "tool_name": "get_weather", '
            '"parameters": {"city": "Oslo"}}\n]<|END_ACTION|>',
            [PARIS, OSLO],
        ),
        (
            "cohere",
            'Action: ```json\n[{"tool_name": "get_weather", "parameters": {"city": "Oslo"}}]\n```',
            [OSLO],
        ),
        ("functionary", 'get_weather\n{"city": "Paris", "days": 3}', [PARIS]),
        (
            "functionary",
            'get_weather\n{"city": "Paris", "days": 3}>>>get_weather\n{"city": "Oslo"}',
            [PARIS, OSLO],
        ),
        (
            "minimax",
            '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Paris'
            '</parameter>\n<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>',
            [PARIS],
        ),
        ("lfm2", '<|tool_call_start|>[get_weather(city="Oslo")]<|tool_call_end|>', [OSLO]),
        (
            "olmo3",
            '<function_calls>get_weather(city="Paris", days=3)\nget_weather(city="Oslo")'
            "</function_calls>",
            [PARIS, OSLO],
        ),
        ("gemma3", '```tool_code\n[get_weather(city="Oslo")]\n```', [OSLO]),
        ("gemma3", '```tool_code\nget_weather(city="Oslo")\n```', [OSLO]),
        (
            "functiongemma",
            "<start_function_call>call:get_weather{city:<escape>Oslo<escape>}<end_function_call>",
            [OSLO],
        ),
        ("llama3", '<function=get_weather>{"city": "Oslo"}</function>', [OSLO]),
        (
            "llama3",
            '{"name": "get_weather", "parameters": {"city": "Paris", "days": 3}}; '
            '{"name": "get_weather", "parameters": {"city": "Oslo"}}',
            [PARIS, OSLO],
        ),
        ("hermes", '```json\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n```', [OSLO]),
        ("json", '[{"name": "get_weather", "arguments": {"city": "Oslo"}}]', [OSLO]),
        (
            "json",
            '{"type": "function", "function": {"name": "get_weather", "arguments": '
            '"{\\"city\\": \\"Oslo\\"}"}}',
            [OSLO],
        ),
        (
            "hermes",
            '<tool_call>{"arguments": {"city": "Oslo"}, "name": "get_weather"}</tool_call>',
            [OSLO],
        ),
        ("hermes", '<tool_call>{"name": "get_weather"}</tool_call>', [("get_weather", {})]),
        (
            "hermes",
            '<tool_call>{"name": "get_weather", "arguments": {"city": "a\nb"}}</tool_call>',
            [("get_weather", {"city": "a\nb"})],
        ),
    ],
)
def test_calls_are_read(family: str, text: str, expected: list[tuple[str, dict[str, Any]]]) -> None:
    parsed = read(family, text, prompt=FAMILIES[family].prompt_end)
    assert (parsed.text, parsed.thinking, calls(parsed)) == ("", "", expected)


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("hermes", "Use <tool_call> like this."),
        ("hermes", '<tool_call>{"name": "get_weather", "arguments": {"city": }}</tool_call>'),
        ("hermes", '<tool_call>{"name": "get_weather", "arguments": [1]}</tool_call>'),
        ("hermes", '{"name": "unknown", "arguments": {}}'),
        ("hermes", '```json\n{"a": 1}\n```\n'),
        ("qwen3-coder", "<function=get_weather>no parameters</function>"),
        ("glm", "<tool_call>what is this</tool_call>"),
        ("llama4", "[1, 2, 3]"),
        ("llama4", "[get_weather(city=city)]"),
        ("gemma4", "<|tool_call>call:get_weather{city}<tool_call|>"),
        ("mistral", "[TOOL_CALLS] nothing"),
        ("mistral", '[TOOL_CALLS]get_weather[ARGS]{"city": ]}'),
        ("kimi-k2", "<|tool_calls_section_begin|>hm<|tool_calls_section_end|>"),
        ("json", '{"name": "get_weather", "arguments": {}, "more": 1}'),
        ("plain", "<think>a</think>  "),
    ],
)
def test_what_is_no_call_is_text(family: str, text: str) -> None:
    parsed = read(family, text)
    assert (parsed.text, parsed.thinking, calls(parsed)) == (text, "", [])


def test_a_call_behind_one_that_is_none_is_read() -> None:
    text = '<tool_call>hm</tool_call><tool_call>{"name": "get_weather"}</tool_call>'
    parsed = read("hermes", text)
    assert (parsed.text, calls(parsed)) == ("<tool_call>hm</tool_call>", [("get_weather", {})])


def test_a_call_that_a_limit_cuts_off_is_dropped_and_one_that_the_model_leaves_is_text() -> None:
    text = 'Let me see.<tool_call>{"name": "get_weather", "arguments": {"city": "Os'
    assert read("hermes", text, is_cut=True).text == "Let me see."
    assert read("hermes", text).text == text
    events = events_of("hermes", text, is_cut=True, size=1)
    (broken,) = [event for event in events if isinstance(event, CallBroken)]
    assert broken.is_cut
    assert broken.raw == text.removeprefix("Let me see.")


def test_a_call_is_told_while_it_is_written() -> None:
    stage = OutputStage(FAMILIES["qwen3-coder"], tools=(WEATHER,))
    assert stage.feed("<tool_call>\n<function=get_weather") == []
    (started, beginning) = stage.feed(">\n<parameter=city>\nPar")
    assert isinstance(started, CallStarted)
    assert started.name == "get_weather"
    assert beginning == CallArguments(index=0, text='{"city": "Par')
    assert stage.feed('"is"') == [CallArguments(index=0, text='\\"is\\"')]
    assert stage.feed("\n</para") == []
    assert stage.feed("meter>\n<parameter=days>\n") == [CallArguments(index=0, text='", "days": ')]
    assert stage.feed("3\n") == []
    *_, finished = stage.feed("</parameter>\n</function>\n</tool_call>")
    assert isinstance(finished, CallFinished)
    assert finished.call.arguments == {"city": 'Par"is"', "days": 3}
    assert finished.call.id == started.id
    assert stage.finish() == []


def test_thoughts_come_while_they_are_written_and_white_space_around_them_does_not() -> None:
    stage = OutputStage(FAMILIES["hermes"])
    assert stage.feed("<thi") == []
    assert stage.feed("nk>\n") == []
    assert stage.feed("One. ") == [ThoughtDelta(text="One.")]
    assert stage.feed("Two.</th") == [ThoughtDelta(text=" Two.")]
    assert stage.feed("ink>\n\nYes") == [AnswerDelta(text="Yes")]
    assert stage.feed(". <think>") == [AnswerDelta(text=". <think>")]
    assert stage.finish() == []


@pytest.mark.parametrize(
    ("family", "prompt", "text"),
    [
        ("hermes", "<|im_start|>assistant\n<think>\n", "T\n</think>\n\nA"),
        ("hermes", "<|im_start|>assistant\n", "<think>T</think>A"),
        ("mistral", "[/INST]", "[THINK]T[/THINK]A"),
        ("cohere", "", "<|START_THINKING|>T<|END_THINKING|><|START_RESPONSE|>A<|END_RESPONSE|>"),
        ("gemma4", "<|turn>model\n", "<|channel>thought\nT<channel|>A"),
        (
            "harmony",
            "<|start|>assistant",
            "<|channel|>analysis<|message|>T<|end|><|start|>assistant<|channel|>final<|message|>A",
        ),
        (
            "kimi-k3",
            "<|open|>think<|sep|>",
            "T<|close|>think<|sep|><|open|>response<|sep|>A<|close|>response<|sep|>",
        ),
    ],
)
def test_thoughts_are_split_off(family: str, prompt: str, text: str) -> None:
    parsed = read(family, text, prompt=prompt)
    assert (parsed.thinking, parsed.text) == ("T", "A")


@pytest.mark.parametrize(
    ("schema", "raw", "value"),
    [
        ({"type": "integer"}, "3", 3),
        ({"type": "integer"}, "three", "three"),
        ({"type": "number"}, "1e3", 1000.0),
        ({"type": "boolean"}, "True", True),
        ({"type": "string"}, "true", "true"),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"]}, "x", "x"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "None", None),
        ({"type": "array"}, "['a', 1]", ["a", 1]),
        ({"type": "object"}, '{"a": [true]}', {"a": [True]}),
        ({"$ref": "#/$defs/n"}, "7", 7),
        ({"enum": [1, 2]}, "2", 2),
        ({}, "2", 2),
        ({}, "two", "two"),
        ({"type": "integer"}, "123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_bare_values_get_the_type_that_the_schema_names(
    schema: dict[str, Any], raw: str, value: object
) -> None:
    parameters = {
        "type": "object",
        "properties": {"v": schema},
        "$defs": {"n": {"type": "integer"}},
    }
    tool = Tool(name="f", parameters=parameters)
    stage = OutputStage(FAMILIES["qwen3-coder"], tools=(tool,))
    text = f"<function=f><parameter=v>{raw}</parameter></function>"
    parsed = collect([*stage.feed(text), *stage.finish()])
    assert calls(parsed) == [("f", {"v": value})]


def test_calls_are_text_where_none_are_parsed() -> None:
    text = '<tool_call>{"name": "f"}</tool_call>'
    stage = OutputStage(FAMILIES["hermes"], parses_calls=False)
    assert collect([*stage.feed(text), *stage.finish()]).text == text


def test_ids_are_those_of_the_model_or_such_as_its_template_takes() -> None:
    text = '<|tool_call_begin|>functions.get_weather:4<|tool_call_argument_begin|>{"city": "Oslo"}'
    assert read("kimi-k2", text).calls[0].id == "functions.get_weather:4"
    (call,) = read("mistral", '[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}').calls
    assert len(call.id) == 9
    assert call.id.isalnum()
