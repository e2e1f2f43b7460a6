"""Whatever the text and the data, a template gives text or an error of ours, within its limits."""

import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from olmkit.engine.chat.conversation import Message, ToolCall
from olmkit.engine.chat.templates.gochat import render_chat
from olmkit.modelfile.gotemplate import Limits, Template, TemplateError
from olmkit.modelfile.gotemplate.chattemplate import ChatTemplate, find_errors
from olmkit.modelfile.gotemplate.evaluation.functions import FUNCTIONS
from olmkit.modelfile.gotemplate.introspection import (
    capabilities,
    has_tool_round_trip,
)

LIMITS = Limits(steps=20_000, output_chars=50_000, allocated_chars=100_000, calls=20, nesting=30)

PIECES = [
    "{{", "}}", "{{- ", " -}}", "{{/*", "*/}}", "(", ")", "|", ":=", "=", ",", ".", "$", "$x",
    "$i, $x", ".A", ".B.C", "$x.A", '"a"', '"', "`r`", "`", "'c'", "'", "1", "-1.5", "0x1F", "1i",
    "if", "else", "else if", "end", "range", "with", "define", "block", "template", "break",
    "continue", "nil", "true", " ", " ", " ", "\n", "text", "é", "\U0001f600", "\x00", "\ud800",
    "%d", '"%5.2f|%v|%q|%x"', "9999999",
    *FUNCTIONS,
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=60)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from("ABC") | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)
data = st.dictionaries(st.sampled_from(["A", "B", "C"]), values)

operands = st.recursive(
    st.sampled_from(
        [
            *(".", "$", ".A", ".B", ".C", ".B.A", "$x", "$x.A", "1", "0", "-2.5", '"a"', "nil"),
            *('"%v%q%d"', "true", "`%9s`", "'c'"),
        ]
    ),
    lambda inner: st.builds(
        lambda name, arguments, field: f"({name} {' '.join(arguments)}){field}",
        st.sampled_from([name for name in FUNCTIONS if name != "call"]),
        st.lists(inner, max_size=3),
        st.sampled_from(["", "", "", ".A"]),
    ),
    max_leaves=5,
)
pipes = st.lists(operands, min_size=1, max_size=2).map(" | print ".join)
statements = st.recursive(
    st.sampled_from(["x", " \n", "{{ $x = 1 }}", "{{ $x := .A }}", '{{ template "t" .A }}'])
    | pipes.map(lambda pipe: f"{{{{ {pipe} }}}}"),
    lambda inner: st.builds(
        lambda head, pipe, body, rest: f"{{{{ {head} {pipe} -}}}} {body}{rest}{{{{ end }}}}",
        st.sampled_from(["if", "with", "range", "range $x :=", "range $i, $x :=", "with $x :="]),
        pipes,
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, max_size=2).map(lambda nodes: "{{ else }}" + "".join(nodes)) | st.just(""),
    ),
    max_leaves=8,
)
templates = st.lists(statements, max_size=4).map(
    lambda nodes: '{{ $x := 0 }}{{ define "t" }}{{ $x := 0 }}<{{ . }}>{{ end }}' + "".join(nodes)
)


def run(text: str, value: Any) -> None:
    """The claim itself: a result within the limits, or a `TemplateError`."""
    with contextlib.suppress(TemplateError):
        output = Template.parse(text, limits=LIMITS).execute(value)
        assert len(output) <= LIMITS.output_chars
        output.encode()


@settings(max_examples=150, deadline=None)
@given(texts, data)
def test_any_text_gives_output_or_an_error_of_ours(text: str, value: Any) -> None:
    run(text, value)
    run(f"{{{{ {text} }}}}", value)


@settings(max_examples=150, deadline=None)
@given(texts | templates)
def test_errors_are_found_where_there_are_any_and_the_first_is_the_one_of_parsing(
    text: str,
) -> None:
    found = find_errors(text)
    try:
        ChatTemplate.parse(text)
    except TemplateError as error:
        assert (type(found[0]), str(found[0])) == (type(error), str(error))
        assert all(0 <= getattr(each, "position", 0) <= len(text) for each in found)
    else:
        assert not found


@settings(max_examples=150, deadline=None)
@given(templates, data)
def test_any_template_gives_output_or_an_error_of_ours(text: str, value: Any) -> None:
    run(text, value)


@settings(max_examples=100, deadline=None)
@given(templates)
def test_generated_templates_parse_and_print_to_what_parses_to_the_same(text: str) -> None:
    root = Template.parse(text).root
    define = '{{define "t"}}{{end}}'
    assert str(Template.parse(define + str(root)).root) == str(root)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30), st.lists(scalars, max_size=4))
def test_any_format_prints_something(form: str, arguments: list[Any]) -> None:
    names = [f"a{index}" for index in range(len(arguments))]
    text = "{{ printf .form" + "".join(f" .{name}" for name in names) + " }}"
    run(text, {"form": "%" + form, **dict(zip(names, arguments, strict=True))})


@settings(max_examples=100, deadline=None)
@given(
    texts | templates, st.lists(st.sampled_from(["system", "user", "assistant", "tool"])), values
)
def test_any_template_takes_any_conversation(text: str, roles: list[str], value: Any) -> None:
    call = ToolCall(name="f", arguments={"x": value})
    messages = [Message(role=role, content=role, tool_calls=(call,)) for role in roles]
    tool = {"type": value, "function": {"name": "f", "parameters": {"properties": {"x": value}}}}
    try:
        template = ChatTemplate.parse(
            text + "{{ range .Messages }}{{ .Content }}{{ end }}", limits=LIMITS
        )
    except TemplateError:
        return
    capabilities(template.template)
    has_tool_round_trip(template.template)
    with contextlib.suppress(TemplateError):
        render_chat(template, messages, tools=[tool], think="low")
