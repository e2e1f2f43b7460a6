import pytest

from olmkit.modelfile.gotemplate import Template
from olmkit.modelfile.gotemplate.introspection import (
    Capability,
    ThinkTags,
    capabilities,
    has_tool_round_trip,
    think_tags,
)
from support import gotemplates, gotemplates_tools


def in_messages(body: str) -> Template:
    return Template.parse(f"{{{{ range .Messages }}}}{body}{{{{ end }}}}")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{{ .System }}{{ if .Tools }}{{ end }}", {"system", "tools"}),
        ("{{ (index .Messages 0).Role }}", {"messages"}),
        ("{{ range $i, $m := .Messages }}{{ $m.Role }}{{ end }}", {"$i", "$m", "role", "messages"}),
        ("{{ $.Tools }}", {"$", "tools"}),
        ('{{ template "x" .A.B }}{{ define "x" }}{{ .C }}{{ end }}', {"a", "b", "c"}),
        ("{{ print (len .X) | printf .Y }}{{ with .W }}{{ else }}{{ .V }}{{ end }}",
         {"x", "y", "w", "v"}),
        ("{{/* .Nope */}}text .Nope", set()),
    ],
)  # fmt: skip
def test_variables_are_the_names_in_chains(text: str, names: set[str]) -> None:
    assert Template.parse(text).variables == names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (gotemplates.CHATML, set()),
        (gotemplates_tools.QWEN25, {Capability.TOOLS}),
        (gotemplates_tools.CODELLAMA_FIM, {Capability.INSERT}),
        (gotemplates_tools.QWEN3, {Capability.THINKING}),
        (gotemplates_tools.DEEPSEEK_R1, {Capability.THINKING}),
    ],
)
def test_capabilities_are_what_the_template_mentions(text: str, expected: set[Capability]) -> None:
    assert capabilities(Template.parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (gotemplates_tools.QWEN25, True),
        (gotemplates_tools.MISTRAL_TOOLS, True),
        ("{{ .Tools }}{{ .ToolCalls }}", False),
        ("{{ .Tools }}<tool_response>", False),
        (gotemplates.CHATML, False),
    ],
)
def test_round_trip_needs_tools_calls_and_results(text: str, expected: bool) -> None:
    assert has_tool_round_trip(Template.parse(text)) is expected


@pytest.mark.parametrize(
    ("body", "tags"),
    [
        ("{{ if .Thinking }}<think>{{ .Thinking }}</think>{{ end }}", ("<think>", "</think>")),
        ("{{ if .Thinking }}\n <t> \n{{ .Thinking }}\n</t>\n{{ end }}", ("<t>", "</t>")),
        ("a{{ if .Thinking }}{{ .Thinking }}{{ end }}b", ("a", "b")),
        ("<a>{{ .Thinking }}</a>", ("<a>", "</a>")),
        ("{{ if .Thinking }}<think>{{ .Thinking }}{{ end }}", None),
        ("{{ .Content }}", None),
        ("{{ range .ToolCalls }}<a>{{ .Thinking }}</a>{{ end }}", None),
        ("{{ if .X }}{{ else }}<e>{{ .Thinking }}</e>{{ end }}", ("<e>", "</e>")),
    ],
)
def test_think_tags_are_the_texts_around_the_thought(
    body: str, tags: tuple[str, str] | None
) -> None:
    expected = None if tags is None else ThinkTags(opening=tags[0], closing=tags[1])
    assert think_tags(in_messages(body)) == expected


def test_thoughts_outside_the_messages_do_not_count() -> None:
    assert think_tags(Template.parse("<a>{{ .Thinking }}</a>")) is None
