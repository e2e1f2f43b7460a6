import datetime
from typing import Any

import pytest

from olmkit.engine.chat.conversation import Conversation, Message, Part, PartKind, ToolCall
from olmkit.engine.chat.templates.gochat import collate, render_chat, render_insert
from olmkit.modelfile.gotemplate import (
    Limits,
    TemplateExecutionError,
    TemplateLimitExceeded,
    TemplateSyntaxError,
)
from olmkit.modelfile.gotemplate.chattemplate import ChatTemplate
from support.gotemplates import PLAIN, WEATHER, WEATHER_FUNCTION, WEATHER_JSON


def with_tools(body: str, *tools: Any) -> str:
    """A template's text for tools, rendered."""
    return render_chat(ChatTemplate.parse("{{ range .Messages }}{{ end }}" + body), [], tools=tools)


def of_property(body: str, **schema: Any) -> str:
    """A template's text for one property `$p` of a tool, rendered."""
    tool = {"function": {"parameters": {"properties": {"x": schema}}}}
    inner = f"{{{{ range $n, $p := .Function.Parameters.Properties }}}}{body}{{{{ end }}}}"
    return with_tools(f"{{{{ range .Tools }}}}{inner}{{{{ end }}}}", tool)


def test_no_tools_are_a_nil_list() -> None:
    template = ChatTemplate.parse(
        "{{ range .Messages }}{{ end }}{{ .Tools }} {{ json .Tools }} {{ if .Tools }}y{{ end }}"
        "{{ range .Tools }}x{{ else }}none{{ end }} {{ len .Tools }} {{ eq .Tools nil }}"
    )
    assert render_chat(template, []) == "null null none 0 true"


def test_tools_their_functions_and_parameters_print_as_json() -> None:
    assert with_tools("{{ .Tools }}", WEATHER) == f"[{WEATHER_JSON}]"
    assert with_tools("{{ range .Tools }}{{ . }}{{ end }}", WEATHER) == WEATHER_JSON
    assert with_tools("{{ range .Tools }}{{ .Function }}{{ end }}", WEATHER) == WEATHER_FUNCTION
    parameters = with_tools("{{ range .Tools }}{{ .Function.Parameters }}{{ end }}", WEATHER)
    assert f'"parameters":{parameters}' in WEATHER_FUNCTION
    assert with_tools('{{ printf "%s" .Tools }}', WEATHER) == f"[{WEATHER_JSON}]"
    assert with_tools('{{ print "a" (index .Tools 0) }}', WEATHER) == f"a{WEATHER_JSON}"


def test_empty_properties_print_as_an_empty_object_and_are_false() -> None:
    bare = {"type": "function", "function": {"name": "f"}}
    body = "{{ range .Tools }}{{ .Function.Parameters.Properties }}{{ end }}"
    assert with_tools(body, bare) == "{}"
    body = (
        "{{ range .Tools }}{{ if .Function.Parameters.Properties }}y{{ else }}n{{ end }}{{ end }}"
    )
    assert with_tools(body, bare) == "n"
    assert with_tools("{{ json (index .Tools 0) }}", bare) == (
        '{"type":"function","function":{"name":"f","description":"",'
        '"parameters":{"type":"","properties":{}}}}'
    )


@pytest.mark.parametrize(
    ("types", "printed", "as_json"),
    [
        ("string", "string", '"string"'),
        (["string"], "string", '"string"'),
        (["string", "null"], "[string null]", '["string","null"]'),
        (None, "", "[]"),
    ],
)
def test_type_of_a_property_prints_bare_when_there_is_one(
    types: Any, printed: str, as_json: str
) -> None:
    assert of_property("{{ $p.Type }}", type=types) == printed
    assert of_property("{{ json $p.Type }}", type=types) == as_json


def test_type_of_a_property_is_a_list() -> None:
    assert of_property("{{ index $p.Type 0 }} {{ len $p.Type }}", type="string") == "string 1"
    assert of_property("{{ slice $p.Type 1 }}", type=["string", "null"]) == "null"
    with pytest.raises(TemplateExecutionError, match="incompatible types for comparison"):
        of_property('{{ eq $p.Type "string" }}', type="string")


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, "string"),
        ({"type": "integer"}, "number"),
        ({"type": "number"}, "number"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "array"}, "any[]"),
        ({"type": "object"}, "Record<string, any>"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"type": "mystery"}, "any"),
        ({}, "any"),
        ({"anyOf": [{"type": "string"}, {"type": ["integer", "null"]}]}, "string | number | null"),
    ],
)
def test_typescript_type_of_a_property(schema: dict[str, Any], expected: str) -> None:
    assert of_property("{{ toTypeScriptType $p }}", **schema) == expected
    assert of_property("{{ $p.ToTypeScriptType }}", **schema) == expected


def test_typescript_type_of_anything_else_is_any() -> None:
    assert with_tools('{{ toTypeScriptType "x" }} {{ toTypeScriptType .Tools }}') == "any any"
    assert (
        with_tools("{{ range .Tools }}{{ toTypeScriptType .Function }}{{ end }}", WEATHER) == "any"
    )


def test_property_keeps_the_fields_that_ollama_knows_in_its_order() -> None:
    nested = {"type": "object", "properties": {"k": {"type": "string"}}, "required": ["k"]}
    assert of_property("{{ $p }}", **nested, description="d", minimum=3) == (
        '{"type":"object","description":"d","properties":{"k":{"type":"string"}},"required":["k"]}'
    )
    assert of_property("{{ $p }}", type="array", items={"type": "string"}) == (
        '{"type":"array","items":{"type":"string"}}'
    )


def test_unknown_property_is_the_zero_one() -> None:
    body = "{{ range .Tools }}[{{ .Function.Parameters.Properties.nope.Type }}]{{ end }}"
    with pytest.raises(TemplateExecutionError, match="nil pointer evaluating"):
        with_tools(body, WEATHER)


def test_field_that_a_message_does_not_have_is_an_error() -> None:
    template = ChatTemplate.parse("{{ range .Messages }}{{ .Nope }}{{ end }}")
    with pytest.raises(
        TemplateExecutionError,
        match=r"<.Nope>: can't evaluate field Nope in type \*template.templateMessage$",
    ):
        render_chat(template, PLAIN)


def test_message_prints_as_a_struct_and_encodes_as_in_requests() -> None:
    template = ChatTemplate.parse("{{ range .Messages }}{{ . }}|{{ json . }}{{ end }}")
    image = Part(kind=PartKind.IMAGE, data=b"i")
    assert render_chat(template, [Message(role="user", content="Hi", parts=(image,))]) == (
        '{user Hi  [] null  }|{"role":"user","content":"Hi","images":[""]}'
    )


def test_tool_calls_carry_id_index_name_and_arguments() -> None:
    template = ChatTemplate.parse(
        "{{ range .Messages }}{{ .ToolName }}{{ .ToolCallID }}{{ range .ToolCalls }}"
        "{{ .ID }} {{ .Function.Index }} {{ .Function.Name }} "
        "{{ range $k, $v := .Function.Arguments }}{{ $k }}={{ $v }},{{ end }}"
        "{{ .Function.Arguments.a }}{{ end }}{{ .ToolCalls }}{{ end }}"
    )
    arguments = {"b": [1, {"c": None}], "a": 1700000000, "big": 10**30}
    call = ToolCall(id="i1", index=1, name="f", arguments=arguments)
    assert render_chat(template, [Message(role="assistant", tool_calls=(call,))]) == (
        "i1 1 f a=1700000000,b=[1 map[c:<nil>]],big=1e+30,1700000000"
        '[{"id":"i1","function":{"index":1,"name":"f","arguments":'
        '{"a":1700000000,"b":[1,{"c":null}],"big":1e+30}}}]'
    )


def test_answers_to_tools_carry_name_and_id() -> None:
    template = ChatTemplate.parse("{{ range .Messages }}{{ .ToolName }} {{ .ToolCallID }}{{ end }}")
    message = Message(role="tool", content="x", tool_name="f", tool_call_id="i1")
    assert render_chat(template, [message]) == "f i1"


def test_merging_keeps_the_other_fields_of_the_first() -> None:
    call = ToolCall(name="f", arguments={})
    _, merged = collate(
        [
            Message(role="assistant", content="a", thinking="t"),
            Message(role="assistant", content="b", thinking="u", tool_calls=(call,)),
        ]
    )
    assert merged == [Message(role="assistant", content="a\n\nb", thinking="t")]


def test_prompt_and_suffix_are_absent_from_conversations() -> None:
    template = ChatTemplate.parse("{{ range .Messages }}{{ end }}{{ .Prompt }}{{ .Suffix }}")
    assert render_chat(template, PLAIN) == "<no value><no value>"


def test_messages_are_absent_from_insertion() -> None:
    template = ChatTemplate.parse("{{ .Messages }}{{ .System }}{{ .Prompt }}{{ .Suffix }}")
    assert render_insert(template, "p", "s") == "<no value><no value>ps"


def test_response_is_appended_only_when_nothing_says_where_it_goes() -> None:
    assert str(ChatTemplate.parse("{{ .Prompt }}").template.root) == "{{.Prompt}}{{.Response}}"
    for text in (
        "{{ .Response }}",
        "{{ if .Response }}{{ end }}",
        "{{ range .Messages }}{{ end }}",
    ):
        assert "{{.Response}}{{.Response}}" not in str(ChatTemplate.parse(text).template.root)
        assert str(ChatTemplate.parse(text).template.root).count("Response") <= 1


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("a{{ .Response }}b", "a{{.Response}}"),
        ("{{ if .X }}a{{ .Response }}b{{ end }}c", "{{if .X}}a{{.Response}}{{end}}"),
        ("{{ if .X }}a{{ .Response }}b{{ else }}c{{ end }}d", "{{if .X}}a{{.Response}}{{end}}"),
        ("{{ if .X }}a{{ else }}b{{ .Response }}c{{ end }}",
         "{{if .X}}a{{else}}b{{.Response}}{{end}}"),
        ("{{ if .Response }}a{{ end }}{{ .Response }}b", "{{if .Response}}a{{end}}{{.Response}}"),
        ("{{ range .X }}{{ with . }}{{ .Response }}b{{ end }}c{{ end }}d",
         "{{range .X}}{{with .}}{{.Response}}{{end}}{{end}}"),
        ("{{ $r := .Response }}a{{ .Response }}b", "{{$r := .Response}}a{{.Response}}"),
        ('{{ printf "%s" .Response }}b', '{{printf "%s" .Response}}'),
        ("{{ range .Messages }}x{{ else }}y{{ end }}z", "{{range .Messages}}x{{else}}y{{end}}z"),
    ],
)  # fmt: skip
def test_cut_leaves_nothing_after_the_first_printed_response(text: str, cut: str) -> None:
    assert str(ChatTemplate.parse(text).before_response.root) == cut


def test_functions_work_in_the_cut_template_too() -> None:
    template = ChatTemplate.parse("{{ currentDate }} {{ json .Prompt }}{{ .Response }}!")
    today = datetime.date(2026, 3, 1)
    messages = [Message(role="user", content='"')]
    assert render_chat(template, messages, today=today) == '2026-03-01 "\\""'


def test_dates_come_from_the_caller() -> None:
    template = ChatTemplate.parse(
        '{{ range .Messages }}{{ end }}{{ currentDate "02 Jan" }} {{ yesterdayDate }}'
    )
    assert render_chat(template, [], today=datetime.date(2026, 3, 1)) == "2026-03-01 2026-02-28"
    with pytest.raises(TemplateExecutionError, match="the date is not known here"):
        render_chat(template, [])


def test_tool_messages_are_left_out_of_exchanges() -> None:
    template = ChatTemplate.parse("<{{ .System }}|{{ .Prompt }}|{{ .Response }}>")
    messages = [
        Message(role="user", content="a"),
        Message(role="tool", content="t"),
        Message(role="system", content="S"),
        Message(role="assistant", content="b"),
    ]
    assert render_chat(template, messages) == "<|a|><S||b"


def test_exchanges_share_one_allowance() -> None:
    template = ChatTemplate.parse(
        "{{ range 300 }}x{{ end }}{{ .Prompt }}{{ .Response }}", limits=Limits(steps=1000)
    )
    exchange = [Message(role="user", content="a"), Message(role="assistant", content="b")]
    assert render_chat(template, exchange).endswith("ab")
    with pytest.raises(TemplateLimitExceeded, match="more than 1000 steps"):
        render_chat(template, exchange * 4)


def test_template_called_without_data_is_refused() -> None:
    with pytest.raises(TemplateSyntaxError, match="undefined template specified"):
        ChatTemplate.parse('{{ define "x" }}a{{ end }}{{ template "x" }}')
    assert ChatTemplate.parse('{{ define "x" }}a{{ end }}{{ template "x" . }}').template.trees


def test_tools_nested_without_end_are_refused() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(3000):
        schema = {"type": "object", "properties": {"x": schema}}
    tool = {"function": {"parameters": schema}}
    with pytest.raises(TemplateLimitExceeded):
        with_tools("{{ .Tools }}", tool)


def test_broken_halves_of_characters_become_replacement_characters() -> None:
    template = ChatTemplate.parse(
        "{{ range .Messages }}{{ .Content }}{{ slice .Content 0 1 }}{{ end }}"
    )
    assert render_chat(template, [Message(role="user", content="é\ud800")]) == "é\ufffd\ufffd"


def test_tools_keep_their_type_when_sliced() -> None:
    assert with_tools("{{ slice .Tools 0 1 }}", WEATHER, WEATHER) == f"[{WEATHER_JSON}]"
    assert with_tools('{{ printf "%T %d" .Tools .Tools }}') == "template.templateTools []"


def test_structs_compare_by_identity() -> None:
    body = "{{ $t := index .Tools 0 }}{{ eq $t (index .Tools 0) }} {{ eq $t (index .Tools 1) }}"
    assert with_tools(body, WEATHER, WEATHER) == "true false"
    with pytest.raises(TemplateExecutionError, match="non-comparable type"):
        with_tools("{{ eq .Tools .Tools }}", WEATHER)


def test_structs_print_their_fields_by_name_when_asked() -> None:
    template = ChatTemplate.parse('{{ range .Messages }}{{ printf "%+v|%#v|%d" . . . }}{{ end }}')
    assert render_chat(template, [Message(role="user", content="Hi")]) == (
        "{Role:user Content:Hi Thinking: Images:[] ToolCalls:null ToolName: ToolCallID:}|"
        'template.templateMessage{Role:"user", Content:"Hi", Thinking:"", '
        'Images:[]interface {}{}, ToolCalls:[]template.templateToolCall{}, ToolName:"", '
        'ToolCallID:""}|'
        "{%!d(string=user) %!d(string=Hi) %!d(string=) [] [] %!d(string=) %!d(string=)}"
    )


def test_dates_take_layouts_from_a_pipe_but_strings_only() -> None:
    template = ChatTemplate.parse('{{ range .Messages }}{{ end }}{{ "x" | currentDate }}')
    assert render_chat(template, [], today=datetime.date(2026, 3, 1)) == "2026-03-01"
    template = ChatTemplate.parse("{{ range .Messages }}{{ end }}{{ currentDate 1 }}")
    with pytest.raises(TemplateExecutionError, match="expected string; found 1"):
        render_chat(template, [], today=datetime.date(2026, 3, 1))


def test_thoughts_before_the_last_question_are_taken_out() -> None:
    thought = Message(role="assistant", content="<think>a\nb</think>\n\nHi<think>")
    asked = Message(role="user", content="<think>x</think>")
    told = Message(role="assistant", content="Hi<think>")
    conversation = Conversation(messages=(asked, thought, asked, thought))
    assert conversation.without_old_thoughts().messages == (asked, told, asked, thought)
    alone = Conversation(messages=(thought,))
    assert alone.without_old_thoughts() == alone
