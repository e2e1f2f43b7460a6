"""Templates that people write, each with what Go prints for it."""

from collections.abc import Sequence

import pytest

from olmkit.modelfile.gotemplate import Template, TemplateExecutionError
from olmkit.modelfile.gotemplate.chat import (
    ChatTemplate,
    Message,
    Think,
    ToolCall,
    collate,
    render_chat,
    render_insert,
)
from support.gotemplates import WEATHER

LEGACY = "{{ if .System }}<s>{{ .System }}</s>{{ end }}<u>{{ .Prompt }}</u><a>{{ .Response }}</a>"


def said(*lines: str) -> list[Message]:
    pairs = (line.split(":", 1) for line in lines)
    return [Message(role=role, content=content) for role, content in pairs]


def plain(messages: Sequence[Message]) -> list[object]:
    return [{"Role": message.role, "Content": message.content} for message in messages]


def chat(template: str, *lines: str, think: Think = None) -> str:
    return render_chat(ChatTemplate.parse(template), said(*lines), think=think)


ABC = {"Messages": plain(said("user:a", "user:b", "user:c"))}
PLAIN_CASES = {
    "ChatML": (
        "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
        "<|im_start|>assistant\n",
        {"Messages": plain(said("system:Be brief.", "user:Hi"))},
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    "white space trimmed, condition true": (
        "A \n {{- if .System }} [{{ .System }}] {{- end }}\n B",
        {"System": "S"},
        "A [S]\n B",
    ),
    "white space trimmed, condition false": (
        "A \n {{- if .System }} [{{ .System }}] {{- end }}\n B",
        {"System": ""},
        "A\n B",
    ),
    "the last message told by a slice": (
        "{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 -}}\n"
        "<{{ .Role }}>{{ .Content }}{{ if not $last }}</{{ .Role }}>\n{{ end }}{{- end }}",
        {"Messages": plain(said("user:a", "assistant:b", "user:c"))},
        "<user>a</user>\n<assistant>b</assistant>\n<user>c",
    ),
    "an assignment outlives the loop": (
        '{{- $sys := "" }}{{- range .Messages }}{{- if eq .Role "system" }}{{- $sys = .Content }}'
        "{{ continue }}{{- end }}[{{ if $sys }}{{ $sys }} | {{ $sys = "
        '"" }}{{ end }}{{ .Content }}]{{- end }}',
        {"Messages": plain(said("system:S", "user:a", "user:b"))},
        "[S | a][b]",
    ),
    "a declaration ends with its block": (
        "{{- $n := 0 }}{{- range .Messages }}{{- $n := 1 }}{{- end }}{{ $n }}",
        ABC,
        "0",
    ),
    "a missing name": (
        "[{{ .Nope }}][{{ if .Nope }}y{{ else }}n{{ end }}]"
        '[{{ with .Nope }}{{ . }}{{ else }}none{{ end }}][{{ printf "%v" .Nope }}]',
        {},
        "[<no value>][n][none][<nil>]",
    ),
    "a map in the order of its keys": (
        "{{ range $k, $v := .Args }}{{ $k }}={{ $v }};{{ end }}",
        {
            "Args": {
                "z": 1,
                "a": "x",
                "list": [1.5, "q", None],
                "obj": {"k": True},
                "n": None,
                "big": 1048576.5,
                "t": True,
            }
        },
        "a=x;big=1.0485765e+06;list=[1.5 q <nil>];n=<no value>;obj=map[k:true];t=true;z=1;",
    ),
    "and, or give an argument": (
        '{{ or .System "dflt" }}|{{ and .System "x" }}|{{ if or .System .Tools }}T{{ end }}|',
        {"System": "", "Tools": []},
        "dflt|||",
    ),
    "or of nothing gives the last argument": (
        "{{ or .System .Tools }}",
        {"System": "", "Tools": []},
        "[]",
    ),
    "eq with several values": (
        '{{ range .Messages }}{{ if eq .Role "user" "tool" }}U{{ else if eq .Role "assistant" }}A'
        "{{ else }}?{{ end }}{{ end }}",
        {"Messages": plain(said("user:", "assistant:", "tool:", "system:"))},
        "UAU?",
    ),
    "index, len and printf": (
        '{{ (index .Messages 0).Content }}-{{ len .Messages }}-{{ printf "%s:%d:%q" '
        '(index .Messages 1).Role (len .Messages) "a\\"b" }}',
        {"Messages": plain(said("user:x", "assistant:y"))},
        'x-2-assistant:2:"a\\"b"',
    ),
    "with, and the dollar": (
        "{{ with index .Messages 0 }}{{ .Role }}/{{ $.System }}{{ end }}",
        {"Messages": plain(said("user:x")), "System": "S"},
        "user/S",
    ),
    "range with else": (
        "{{ range .Messages }}x{{ else }}empty{{ end }}",
        {"Messages": []},
        "empty",
    ),
    "range with break": (
        "{{ range $i, $m := .Messages }}{{ if eq $i 2 }}{{ break }}{{ end }}"
        "{{ .Content }}{{ end }}",
        ABC,
        "ab",
    ),
    "comments and braces in a text": ('a{{/* x */}}b {{- /* y */ -}} c{{ "{{" }}', {}, "abc{{"),
    "print and println": (
        '{{ print "a" 1 2 "b" "c" 3 true }}|{{ println "a" 1 }}|',
        {},
        "a1 2bc3 true|a 1\n|",
    ),
    "a pipe and a comparison": (
        '{{ if gt (len .Messages) 1 }}many{{ else }}one{{ end }} {{ .System | printf "<%s>" }}',
        {"Messages": plain(said("user:a", "user:b")), "System": "S"},
        "many <S>",
    ),
    "separators": (
        "{{ range $i, $t := .L }}{{ if $i }}, {{ end }}{{ $t }}{{ end }}",
        {"L": ["a", "b", "c"]},
        "a, b, c",
    ),
    "and, or stop early": (
        "{{ and false (index .L 99) }}{{ or true (index .L 99) }}",
        {"L": []},
        "falsetrue",
    ),
}


@pytest.mark.parametrize("name", PLAIN_CASES)
def test_example_with_plain_data(name: str) -> None:
    template, data, expected = PLAIN_CASES[name]
    assert Template.parse(template).execute(data) == expected


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ eq 3 3.0 }}", "incompatible types for comparison"),
        ('{{ range "abc" }}x{{ end }}', "range can't iterate over abc"),
        ("{{ .System.foo }}", "can't evaluate field foo in type"),
    ],
)
def test_types_that_do_not_fit_are_errors(template: str, message: str) -> None:
    with pytest.raises(TemplateExecutionError, match=message):
        Template.parse(template).execute({"System": "S"})


def test_tools_have_sorted_properties_and_escaped_json() -> None:
    tool = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get <w>",
            "parameters": {
                "type": "object",
                "required": ["city"],
                "properties": {"unit": {"type": "string"}, "city": {"type": "string"}},
            },
        },
    }
    template = (
        "{{ range .Messages }}{{ end }}{{ range .Tools }}{{ .Function.Name }}:"
        "{{ range $n, $p := .Function.Parameters.Properties }} {{ $n }}({{ $p.Type }}){{ end }};"
        "{{ end }}{{ json .Tools }}"
    )
    assert render_chat(ChatTemplate.parse(template), [], tools=[tool]) == (
        'get_weather: city(string) unit(string);[{"type":"function","function":'
        '{"name":"get_weather","description":"Get \\u003cw\\u003e","parameters":'
        '{"type":"object","required":["city"],"properties":'
        '{"city":{"type":"string"},"unit":{"type":"string"}}}}}]'
    )


def test_arguments_of_calls_print_with_sorted_keys() -> None:
    template = (
        '{{ range .Messages }}{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", '
        '"arguments": {{ .Function.Arguments }}}{{ end }}{{ end }}'
    )
    call = ToolCall(name="f", arguments={"b": 1, "a": "x"})
    messages = [Message(role="assistant", tool_calls=[call])]
    assert (
        render_chat(ChatTemplate.parse(template), messages)
        == '{"name": "f", "arguments": {"a":"x","b":1}}'
    )


def test_one_run_an_exchange_and_the_last_cut_after_the_response() -> None:
    assert (
        chat(LEGACY, "system:S", "user:a", "assistant:b", "user:c")
        == "<s>S</s><u>a</u><a>b</a><u>c</u><a>"
    )


def test_a_trailing_assistant_message_begins_the_answer() -> None:
    assert chat(LEGACY, "user:a", "assistant:pre") == "<u>a</u><a>pre"


def test_the_response_is_appended_when_the_template_has_none() -> None:
    assert chat("<u>{{ .Prompt }}</u>", "user:a", "assistant:b", "user:c") == "<u>a</u>b<u>c</u>"


def test_neighbours_of_one_role_are_merged_but_not_tools() -> None:
    assert collate(said("user:a", "user:b"))[1] == said("user:a\n\nb")
    assert collate(said("tool:x", "tool:y"))[1] == said("tool:x", "tool:y")
    system, messages = collate(said("system:A", "user:u", "system:B"))
    assert system == "A\n\nB"
    assert messages == said("system:A", "user:u", "system:B")


def test_system_messages_stay_in_the_list() -> None:
    template = "{{ .System }}|{{ range .Messages }}{{ .Role }}:{{ .Content }} {{ end }}"
    assert chat(template, "system:S", "user:u") == "S|system:S user:u "


def test_suffix_for_insertion_and_prompt_for_chat() -> None:
    template = (
        "{{ if .Suffix }}<PRE> {{ .Prompt }} <SUF>{{ .Suffix }} <MID>"
        "{{ else }}{{ .Prompt }}{{ end }}"
    )
    inserted = render_insert(ChatTemplate.parse(template), "def add(", "return x")
    assert inserted == "<PRE> def add( <SUF>return x <MID>"
    assert chat(template, "user:hello") == "hello"


@pytest.mark.parametrize(
    ("think", "expected"),
    [
        (None, "false  false|"),
        (True, "true medium true|"),
        ("high", "true high true|"),
        (False, "false  true|"),
    ],
)
def test_thinking_is_a_flag_a_level_and_whether_it_is_set(think: Think, expected: str) -> None:
    template = "{{ .Think }} {{ .ThinkLevel }} {{ .IsThinkSet }}|{{ range .Messages }}{{ end }}"
    assert chat(template, think=think) == expected


def test_tools_are_those_of_the_request() -> None:
    template = "{{ range .Messages }}{{ end }}{{ range .Tools }}{{ .Function.Name }}{{ end }}"
    assert render_chat(ChatTemplate.parse(template), [], tools=[WEATHER]) == "get_weather"
