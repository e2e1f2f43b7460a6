"""Go templates of families with tools, thoughts or insertion, and what they render to.

As in `gotemplates`, the expected texts are written by hand from the published formats.
"""

from olmkit.engine.chat.conversation import Message
from support.gotemplates import (
    PLAIN,
    WEATHER,
    WEATHER_FUNCTION,
    WEATHER_JSON,
    WITH_TOOL,
    Rendering,
)

COMMAND_R = """{{- define "turn" }}<|START_OF_TURN_TOKEN|>{{ end }}
{{- if or .System .Tools }}{{ template "turn" . }}<|SYSTEM_TOKEN|>
{{- if .Tools }}# Safety Preamble
You are in contextual safety mode.

{{ end }}
{{- .System }}
{{- if .Tools }}

## Available Tools
Here is a list of tools that you have available to you:

{{ range .Tools }}```python
def {{ .Function.Name }}(
{{- $first := true }}
{{- range $name, $property := .Function.Parameters.Properties }}
{{- if $first }}{{ $first = false }}{{ else }}, {{ end }}
{{- $name }}: {{ range $i, $type := $property.Type }}{{ if $i }} | {{ end }}
{{- if eq $type "string" }}str{{ else if eq $type "integer" }}int{{ else }}{{ $type }}{{ end }}
{{- end }}
{{- end }}) -> List[Dict]:
    '''{{ .Function.Description }}
{{- if .Function.Parameters.Properties }}

    Args:
{{- range $name, $property := .Function.Parameters.Properties }}
        {{ $name }}: {{ $property.Description }}
{{- end }}
{{- end }}
    '''
    pass
```
{{ end }}
{{- end }}<|END_OF_TURN_TOKEN|>
{{- end }}
{{- range .Messages }}
{{- if eq .Role "system" }}{{ continue }}{{ end }}{{ template "turn" . }}
{{- if eq .Role "user" }}<|USER_TOKEN|>{{ .Content }}
{{- else if eq .Role "assistant" }}<|CHATBOT_TOKEN|>
{{- if .ToolCalls }}Action: ```json
[
{{- range $i, $call := .ToolCalls }}{{ if $i }},{{ end }}
    {"tool_name": {{ printf "%q" $call.Function.Name }}, "parameters": {{ .Function.Arguments }}}
{{- end }}
]```
{{- else }}{{ .Content }}
{{- end }}
{{- else if eq .Role "tool" }}<|SYSTEM_TOKEN|><results>
{{ .Content }}</results>
{{- end }}<|END_OF_TURN_TOKEN|>
{{- end }}{{ template "turn" . }}<|CHATBOT_TOKEN|>"""

LLAMA31 = """{{- if or .System .Tools }}<|start_header_id|>system<|end_header_id|>

{{ with .System }}{{ . }}{{ end }}
{{- if .Tools }}

You can call functions. When you receive a tool call response, answer the original question.
{{- end }}<|eot_id|>
{{- end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>

{{ if $.Tools }}Given the following functions, respond with a JSON for a function call.

{{ range $.Tools }}{{ . }}
{{ end }}
Question: {{ end }}{{ .Content }}<|eot_id|>
{{- else if eq .Role "assistant" }}<|start_header_id|>assistant<|end_header_id|>
{{- if .ToolCalls }}
{{ range .ToolCalls }}
{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}{{ end }}
{{- else }}

{{ .Content }}
{{- end }}{{ if not $last }}<|eot_id|>{{ end }}
{{- else if eq .Role "tool" }}<|start_header_id|>ipython<|end_header_id|>

{{ .Content }}<|eot_id|>
{{- end }}
{{- if and $last (ne .Role "assistant") }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- end }}"""

MISTRAL_TOOLS = """{{- range $index, $_ := .Messages }}
{{- if eq .Role "user" }}
{{- if and (le (len (slice $.Messages $index)) 3) $.Tools }}[AVAILABLE_TOOLS] {{ $.Tools }}
{{- "[/AVAILABLE_TOOLS]" }}
{{- end }}[INST] {{ if and $.System (eq (len (slice $.Messages $index)) 3) }}{{ $.System }}

{{ end }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }}
{{- if .Content }} {{ .Content }}</s>
{{- else if .ToolCalls }}[TOOL_CALLS] [
{{- range $i, $_ := .ToolCalls }}{{ if $i }}, {{ end -}}
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{- end }}]</s>
{{- end }}
{{- else if eq .Role "tool" }}[TOOL_RESULTS] {"content": {{ json .Content }}}[/TOOL_RESULTS]
{{- end }}
{{- end }}"""

QWEN25 = """{{- if or .System .Tools }}<|im_start|>system
{{- if .System }}
{{ .System }}
{{- end }}
{{- if .Tools }}

# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{{- range .Tools }}
{"type": "function", "function": {{ .Function }}}
{{- end }}
</tools>

For each function call, return a json object within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>
{{- end }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if .Content }}{{ .Content }}
{{- else if .ToolCalls }}<tool_call>
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{ end }}</tool_call>
{{- end }}{{ if not $last }}<|im_end|>
{{ end }}
{{- else if eq .Role "tool" }}<|im_start|>user
<tool_response>
{{ .Content }}
</tool_response><|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ end }}
{{- end }}"""

QWEN3 = """{{- $lastUser := -1 }}
{{- range $i, $_ := .Messages }}{{ if eq .Role "user" }}{{ $lastUser = $i }}{{ end }}{{ end }}
{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
{{- if eq .Role "user" }}<|im_start|>user
{{ .Content }}{{ if and $.IsThinkSet (eq $i $lastUser) }}
{{- if $.Think }}{{ " /think" }}{{ else }}{{ " /no_think" }}{{ end }}
{{- end }}<|im_end|>
{{ else if eq .Role "assistant" }}<|im_start|>assistant
{{ if (and $.IsThinkSet (and .Thinking (or $last (gt $i $lastUser)))) -}}
<think>{{ .Thinking }}</think>
{{ end }}{{ .Content }}{{ if not $last }}<|im_end|>
{{ end }}
{{- end }}
{{- if and (ne .Role "assistant") $last }}<|im_start|>assistant
{{ if and $.IsThinkSet (not $.Think) -}}
<think>

</think>

{{ end }}
{{- end }}
{{- end }}"""

DEEPSEEK_R1 = """{{- if .System }}{{ .System }}{{ end }}
{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<｜User｜>{{ .Content }}
{{- else if eq .Role "assistant" }}<｜Assistant｜>
{{- if and $.IsThinkSet (and $last .Thinking) }}<think>
{{ .Thinking }}
</think>
{{ end }}{{ .Content }}{{ if not $last }}<｜end▁of▁sentence｜>{{ end }}
{{- end }}
{{- if and $last (ne .Role "assistant") }}<｜Assistant｜>
{{- if and $.IsThinkSet (not $.Think) }}<think>

</think>

{{ end }}
{{- end -}}
{{- end }}"""

HERMES3 = """{{- if .Messages }}{{ if or .System .Tools }}<|im_start|>system
{{ .System }}
{{- if .Tools }} You are a function calling AI model. Here are the available tools: <tools>
{{- range .Tools }} {{ json .Function }}{{ end }} </tools>
{{- end }}<|im_end|>
{{ end }}
{{- range .Messages }}{{ if eq .Role "system" }}{{ continue }}{{ end -}}
<|im_start|>{{ .Role }}
{{ if eq .Role "tool" }}<tool_response>
{{ .Content }}
</tool_response>
{{- else if .ToolCalls }}{{ range $i, $call := .ToolCalls }}{{ if $i }}
{{ end }}<tool_call>
{"arguments": {{ $call.Function.Arguments }}, "name": "{{ $call.Function.Name }}"}
</tool_call>{{ end }}
{{- else }}{{ .Content }}{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ end }}"""

GRANITE3 = """{{- if or .System .Tools -}}
<|start_of_role|>system<|end_of_role|>
{{- if .System }}{{ .System }}{{ else }}Knowledge Cutoff Date: April 2024.
Today's Date: {{ currentDate }}.{{ end }}<|end_of_text|>
{{ end }}
{{- if .Tools }}<|start_of_role|>tools<|end_of_role|>{{ json .Tools }}<|end_of_text|>
{{ end }}
{{- range $index, $message := .Messages }}
{{- with $message }}
{{- if eq .Role "system" }}
{{- else if and (eq .Role "assistant") .ToolCalls -}}
<|start_of_role|>assistant<|end_of_role|><|tool_call|>[
{{- range $i, $call := .ToolCalls }}{{ if gt $i 0 }},{{ end -}}
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
{{- end }}]<|end_of_text|>
{{ else if eq .Role "tool" -}}
<|start_of_role|>tool_response<|end_of_role|>{{ .Content }}<|end_of_text|>
{{ else -}}
<|start_of_role|>{{ .Role }}<|end_of_role|>{{ .Content }}<|end_of_text|>
{{ end }}
{{- end }}
{{- end }}<|start_of_role|>assistant<|end_of_role|>"""

NEMOTRON_MINI = """{{- if or .Tools .System }}<extra_id_0>System
{{ if .System }}{{ .System }}

{{ end }}
{{- range $i, $tool := .Tools }}<tool> {{ $tool }} </tool>
{{ end }}
{{- end }}
{{- range .Messages }}
{{- if eq .Role "user" }}<extra_id_1>User
{{ .Content }}
{{ else if eq .Role "assistant" }}<extra_id_1>Assistant
{{ range .ToolCalls }}<toolcall> {"name": "{{ .Function.Name }}", "arguments":
{{- " " }}{{ .Function.Arguments }}} </toolcall>
{{ else }}{{ .Content }}
{{ end }}
{{- else if eq .Role "tool" }}<extra_id_1>Tool
{{ .Content }}
{{ end }}
{{- end }}<extra_id_1>Assistant
"""

GPT_OSS = """<|start|>system<|message|>You are ChatGPT.
Current date: {{ currentDate }}

Reasoning: {{ if .ThinkLevel }}{{ .ThinkLevel }}{{ else }}medium{{ end }}<|end|>
{{- if or .Tools .System }}<|start|>developer<|message|>
{{- if .System }}# Instructions

{{ .System }}
{{- end }}
{{- if .Tools }}

# Tools

namespace functions {
{{- range .Tools }}

// {{ .Function.Description }}
type {{ .Function.Name }} = (_: {
{{- $required := .Function.Parameters.Required }}
{{- range $name, $property := .Function.Parameters.Properties }}
{{- with $property.Description }}
  // {{ . }}
{{- end }}
{{- $optional := "?" }}
{{- range $required }}{{ if eq . $name }}{{ $optional = "" }}{{ break }}{{ end }}{{ end }}
  {{ $name }}{{ $optional }}: {{ if $property.Enum }}
{{- range $i, $value := $property.Enum }}{{ if $i }} | {{ end }}{{ printf "%q" $value }}{{ end }}
{{- else }}{{ toTypeScriptType $property }}{{ end }},
{{- end }}
}) => any;
{{- end }}

} // namespace functions
{{- end }}<|end|>
{{- end }}
{{- range .Messages }}
{{- if eq .Role "user" }}<|start|>user<|message|>{{ .Content }}<|end|>
{{- else if eq .Role "assistant" }}
{{- if .Thinking }}<|start|>assistant<|channel|>analysis<|message|>{{ .Thinking }}<|end|>{{ end }}
{{- range .ToolCalls }}<|start|>assistant<|channel|>commentary to=functions.{{ .Function.Name }}
{{- " " }}<|constrain|>json<|message|>{{ .Function.Arguments }}<|call|>
{{- else }}<|start|>assistant<|channel|>final<|message|>{{ .Content }}<|end|>
{{- end }}
{{- else if eq .Role "tool" }}<|start|>functions.{{ .ToolName }} to=assistant
{{- ""}}<|channel|>commentary<|message|>{{ .Content }}<|end|>
{{- end }}
{{- end }}<|start|>assistant"""

CODELLAMA_FIM = """{{- if .Suffix }}<PRE> {{ .Prompt }} <SUF>{{ .Suffix }} <MID>
{{- else if .Messages }}[INST] {{ range .Messages }}{{ .Content }} {{ end }}[/INST]
{{- else }}[INST] {{ if .System }}<<SYS>>{{ .System }}<</SYS>>

{{ end }}{{ .Prompt }} [/INST] {{ end }}"""
QWEN_CODER_FIM = """{{ if .Suffix -}}
<|fim_prefix|>{{ .Prompt }}<|fim_suffix|>{{ .Suffix }}<|fim_middle|>
{{- else }}{{ .Prompt }}{{ end }}"""
STARCODER_FIM = """{{- with .Suffix }}<fim_prefix>{{ $.Prompt }}<fim_suffix>{{ . }}<fim_middle>
{{- else }}{{ .Prompt }}{{ end }}"""

_TOOL_CALL = '"get_weather", "arguments": {"city":"Paris","unit":"c"}}'

RENDERINGS = (
    Rendering(
        name="command-r",
        template=COMMAND_R,
        expected="<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Hello!<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Bye<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    ),
    Rendering(
        name="command-r with tools",
        template=COMMAND_R,
        messages=WITH_TOOL,
        tools=(WEATHER,),
        expected="<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|># Safety Preamble\n"
        "You are in contextual safety mode.\n\nBe brief.\n\n## Available Tools\n"
        "Here is a list of tools that you have available to you:\n\n```python\n"
        "def get_weather(city: str, unit: str) -> List[Dict]:\n    '''Weather at a place\n\n"
        "    Args:\n        city: The city\n        unit: \n    '''\n    pass\n```\n"
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|USER_TOKEN|>Weather in Paris?"
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Action: ```json\n[\n"
        '    {"tool_name": "get_weather", "parameters": {"city":"Paris","unit":"c"}}\n]```'
        "<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|><results>\n"
        '{"temp": 21}</results><|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>',
    ),
    Rendering(
        name="llama3.1 with tools",
        template=LLAMA31,
        messages=WITH_TOOL,
        tools=(WEATHER,),
        expected="<|start_header_id|>system<|end_header_id|>\n\nBe brief.\n\nYou can call "
        "functions. When you receive a tool call response, answer the original question.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nGiven the following functions, respond with a "
        f"JSON for a function call.\n\n{WEATHER_JSON}\n\nQuestion: Weather in Paris?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
        '{"name": "get_weather", "parameters": {"city":"Paris","unit":"c"}}<|eot_id|>'
        '<|start_header_id|>ipython<|end_header_id|>\n\n{"temp": 21}<|eot_id|>'
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    Rendering(
        name="llama3.1",
        template=LLAMA31,
        messages=PLAIN[1:],
        expected="<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    Rendering(
        name="mistral with tools",
        template=MISTRAL_TOOLS,
        messages=WITH_TOOL,
        tools=(WEATHER,),
        expected=f"[AVAILABLE_TOOLS] [{WEATHER_JSON}][/AVAILABLE_TOOLS][INST] Be brief.\n\n"
        f'Weather in Paris?[/INST][TOOL_CALLS] [{{"name": {_TOOL_CALL}]</s>'
        '[TOOL_RESULTS] {"content": "{\\"temp\\": 21}"}[/TOOL_RESULTS]',
    ),
    Rendering(
        name="qwen2.5 with tools",
        template=QWEN25,
        messages=WITH_TOOL,
        tools=(WEATHER,),
        expected="<|im_start|>system\nBe brief.\n\n# Tools\n\nYou may call one or more functions to"
        " assist with the user query.\n\nYou are provided with function signatures within "
        "<tools></tools> XML tags:\n<tools>\n"
        f'{{"type": "function", "function": {WEATHER_FUNCTION}}}\n</tools>\n\n'
        "For each function call, return a json object within <tool_call></tool_call> XML tags:\n"
        '<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
        "<|im_end|>\n<|im_start|>user\nWeather in Paris?<|im_end|>\n<|im_start|>assistant\n"
        f'<tool_call>\n{{"name": {_TOOL_CALL}\n</tool_call><|im_end|>\n<|im_start|>user\n'
        '<tool_response>\n{"temp": 21}\n</tool_response><|im_end|>\n<|im_start|>assistant\n',
    ),
    Rendering(
        name="qwen2.5",
        template=QWEN25,
        expected="<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    Rendering(
        name="qwen3, told to think",
        template=QWEN3,
        think=True,
        expected="<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye /think<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    Rendering(
        name="qwen3, told not to think",
        template=QWEN3,
        think=False,
        expected="<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye /no_think<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n",
    ),
    Rendering(
        name="deepseek-r1, a thought begun",
        template=DEEPSEEK_R1,
        think="high",
        messages=(
            Message(role="user", content="Hi"),
            Message(role="assistant", thinking="Greet.", content="Hel"),
        ),
        expected="<｜User｜>Hi<｜Assistant｜><think>\nGreet.\n</think>\nHel",
    ),
    Rendering(
        name="deepseek-r1, told not to think",
        template=DEEPSEEK_R1,
        think=False,
        expected="Be brief.<｜User｜>Hi<｜Assistant｜>Hello!<｜end▁of▁sentence｜><｜User｜>Bye"
        "<｜Assistant｜><think>\n\n</think>\n\n",
    ),
    Rendering(
        name="hermes 3 with tools",
        template=HERMES3,
        messages=WITH_TOOL,
        tools=(WEATHER,),
        expected="<|im_start|>system\nBe brief. You are a function calling AI model. Here are the "
        f"available tools: <tools> {WEATHER_FUNCTION} </tools><|im_end|>\n<|im_start|>user\n"
        "Weather in Paris?<|im_end|>\n<|im_start|>assistant\n<tool_call>\n"
        '{"arguments": {"city":"Paris","unit":"c"}, "name": "get_weather"}\n</tool_call>'
        '<|im_end|>\n<|im_start|>tool\n<tool_response>\n{"temp": 21}\n</tool_response><|im_end|>\n'
        "<|im_start|>assistant\n",
    ),
    Rendering(
        name="granite 3 with tools",
        template=GRANITE3,
        messages=WITH_TOOL[1:],
        tools=(WEATHER,),
        expected="<|start_of_role|>system<|end_of_role|>Knowledge Cutoff Date: April 2024.\n"
        "Today's Date: 2026-11-21.<|end_of_text|>\n<|start_of_role|>tools<|end_of_role|>"
        f"[{WEATHER_JSON}]<|end_of_text|>\n<|start_of_role|>user<|end_of_role|>Weather in Paris?"
        "<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|><|tool_call|>"
        f'[{{"name": {_TOOL_CALL}]<|end_of_text|>\n<|start_of_role|>tool_response<|end_of_role|>'
        '{"temp": 21}<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>',
    ),
    Rendering(
        name="nemotron mini with tools",
        template=NEMOTRON_MINI,
        messages=WITH_TOOL,
        tools=(WEATHER,),
        expected=f"<extra_id_0>System\nBe brief.\n\n<tool> {WEATHER_JSON} </tool>\n"
        "<extra_id_1>User\nWeather in Paris?\n<extra_id_1>Assistant\n"
        f'<toolcall> {{"name": {_TOOL_CALL} </toolcall>\n<extra_id_1>Tool\n{{"temp": 21}}\n'
        "<extra_id_1>Assistant\n",
    ),
    Rendering(
        name="gpt-oss with tools",
        template=GPT_OSS,
        messages=WITH_TOOL,
        tools=(WEATHER,),
        think="low",
        expected="<|start|>system<|message|>You are ChatGPT.\nCurrent date: 2026-11-21\n\n"
        "Reasoning: low<|end|><|start|>developer<|message|># Instructions\n\nBe brief.\n\n"
        "# Tools\n\nnamespace functions {\n\n// Weather at a place\ntype get_weather = (_: {\n"
        "  // The city\n"
        '  city: string,\n  unit?: "c" | "f",\n}) => any;\n\n} // namespace functions<|end|>'
        "<|start|>user<|message|>Weather in Paris?<|end|><|start|>assistant<|channel|>commentary "
        'to=functions.get_weather <|constrain|>json<|message|>{"city":"Paris","unit":"c"}<|call|>'
        "<|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>"
        '{"temp": 21}<|end|><|start|>assistant',
    ),
)

INSERTIONS = (
    (CODELLAMA_FIM, "<PRE> def add( <SUF>return x <MID>"),
    (QWEN_CODER_FIM, "<|fim_prefix|>def add(<|fim_suffix|>return x<|fim_middle|>"),
    (STARCODER_FIM, "<fim_prefix>def add(<fim_suffix>return x<fim_middle>"),
)
"""Templates for text between `def add(` and `return x`, and their prompts."""
