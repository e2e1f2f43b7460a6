"""Go templates of model families, written from their published formats, with what they render to.

The expected texts are written by hand from the formats, not taken from any run.
"""

from dataclasses import dataclass

from olmkit.engine.chat.conversation import Message, Think, ToolCall

PLAIN = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="Hi"),
    Message(role="assistant", content="Hello!"),
    Message(role="user", content="Bye"),
)
WITH_TOOL = (
    Message(role="system", content="Be brief."),
    Message(role="user", content="Weather in Paris?"),
    Message(
        role="assistant",
        tool_calls=(ToolCall(name="get_weather", arguments={"unit": "c", "city": "Paris"}),),
    ),
    Message(role="tool", content='{"temp": 21}', tool_name="get_weather"),
)
WEATHER: dict[str, object] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather at a place",
        "parameters": {
            "type": "object",
            "required": ["city"],
            "properties": {
                "unit": {"type": "string", "enum": ["c", "f"]},
                "city": {"type": "string", "description": "The city"},
            },
        },
    },
}
WEATHER_FUNCTION = (
    '{"name":"get_weather","description":"Weather at a place","parameters":{"type":"object",'
    '"required":["city"],"properties":{"city":{"type":"string","description":"The city"},'
    '"unit":{"type":"string","enum":["c","f"]}}}}'
)
WEATHER_JSON = f'{{"type":"function","function":{WEATHER_FUNCTION}}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """A family's template, a conversation, and the prompt that it makes."""

    name: str
    template: str
    expected: str
    messages: tuple[Message, ...] = PLAIN
    tools: tuple[dict[str, object], ...] | None = None
    think: Think = None


CHATML = """{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""

CHATML_LEGACY = """{{ if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ if .Prompt }}<|im_start|>user
{{ .Prompt }}<|im_end|>
{{ end }}<|im_start|>assistant
{{ .Response }}<|im_end|>
"""

LLAMA3 = """{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>

{{ .Content }}<|eot_id|>
{{- end }}<|start_header_id|>assistant<|end_header_id|>

"""

LLAMA2 = """[INST] {{ $system := "" }}{{ range .Messages }}
{{- if eq .Role "system" }}{{ $system = .Content }}
{{- else if eq .Role "user" }}<<SYS>>{{ if $system }}
{{ $system }}
{{ $system = "" }}{{ end }}<</SYS>>

{{ .Content }} [/INST]
{{- else if eq .Role "assistant" }} {{ .Content }}</s><s>[INST] {{ end }}
{{- end }}"""

MISTRAL = """[INST] {{ range .Messages }}
{{- if eq .Role "system" }}{{ .Content }}

{{ else if eq .Role "user" }}{{ .Content }}[/INST]
{{- else if eq .Role "assistant" }} {{ .Content }}</s>[INST] {{ end }}
{{- end }}"""

GEMMA = """{{- $system := "" }}
{{- range .Messages }}
{{- if eq .Role "system" }}{{ $system = .Content }}{{ continue }}{{ end -}}
<start_of_turn>{{ if eq .Role "assistant" }}model{{ else }}{{ .Role }}{{ end }}
{{- if and $system (eq .Role "user") }}
{{ $system }}
{{- $system = "" }}
{{- end }}
{{ .Content }}<end_of_turn>
{{ end }}<start_of_turn>model
"""

GEMMA3 = """{{- $system := .System }}
{{- range $i, $m := .Messages }}
{{- if eq $m.Role "user" }}<start_of_turn>user
{{ if and $system (eq $i 1) }}{{ $system }}

{{ end }}{{ $m.Content }}<end_of_turn>
{{ else if eq $m.Role "assistant" }}<start_of_turn>model
{{ $m.Content }}<end_of_turn>
{{ end }}
{{- end }}<start_of_turn>model

"""

PHI3 = """{{- range .Messages }}<|{{ .Role }}|>
{{ .Content }}<|end|>
{{ end }}<|assistant|>
"""

PHI4 = """{{- range $i, $_ := .Messages }}
{{- $last := eq (len (slice $.Messages $i)) 1 -}}
<|im_start|>{{ .Role }}<|im_sep|>
{{ .Content }}{{ if not $last }}<|im_end|>
{{ end }}
{{- if and (ne .Role "assistant") $last }}<|im_end|>
<|im_start|>assistant<|im_sep|>
{{ end }}
{{- end }}"""

ZEPHYR = """{{- range .Messages }}<|{{ .Role }}|>
{{ .Content }}</s>
{{ end }}<|assistant|>
"""

OPENCHAT = """{{- range .Messages }}GPT4 Correct {{ if eq .Role "user" -}}
User
{{- else if eq .Role "assistant" -}}
Assistant
{{- else -}}
System
{{- end }}: {{ .Content }}<|end_of_turn|>{{ end }}GPT4 Correct Assistant:"""

ALPACA = """{{- $system := "" }}
{{- range .Messages }}
{{- if eq .Role "system" }}
{{- if $system }}{{ $system = printf "%s\\n\\n%s" $system .Content }}
{{- else }}{{ $system = .Content }}{{ end }}
{{- else if eq .Role "user" }}
{{- with $system }}{{ . }}

{{ $system = "" }}{{ end }}### Instruction:
{{ .Content }}

{{ else if eq .Role "assistant" }}### Response:
{{ .Content }}

{{ end }}
{{- end }}### Response:
"""

VICUNA = """{{- $system := "" }}
{{- range .Messages }}
{{- if eq .Role "system" }}{{ $system = .Content }}
{{- else if eq .Role "user" }}
{{- if $system }}{{ println $system }}
{{ $system = "" }}{{ end }}USER: {{ .Content }}
{{ else if eq .Role "assistant" }}ASSISTANT: {{ .Content }}</s>
{{ end }}
{{- end }}ASSISTANT:"""

SOLAR = """{{- range .Messages }}
{{- if eq .Role "system" }}### System:
{{ else if eq .Role "user" }}### User:
{{ else }}### Assistant:
{{ end }}{{ .Content }}{{ if eq .Role "assistant" }}</s>{{ end }}

{{ end }}### Assistant:
"""

STARCODER2 = """{{- with .System }}{{ . }}

{{ end }}
{{- range .Messages }}
{{- if eq .Role "user" }}### Instruction
{{ .Content }}

{{ else if eq .Role "assistant" }}### Response
{{ .Content }}<|endoftext|>

{{ end }}
{{- end }}### Response
"""

MAGICODER = """{{ with .System }}{{ . }}

{{ end }}{{ range .Messages }}{{ if ne .Role "system" -}}
@@ {{ if eq .Role "user" }}Instruction{{ else }}Response{{ end }}
{{ .Content }}

{{ end }}{{ end }}@@ Response
"""

GRANITE = """{{- range .Messages }}
{{- if eq .Role "system" }}System:
{{- else if eq .Role "user" }}Question:
{{- else }}Answer:
{{- end }}
{{ .Content }}

{{ end }}Answer:
"""

CHATQA = """{{- define "label" }}
{{- if eq . "system" }}System{{ else if eq . "user" }}User{{ else }}Assistant{{ end }}
{{- end }}
{{- range .Messages }}{{ template "label" .Role }}: {{ .Content }}

{{ end }}Assistant:"""

FALCON = """{{- range .Messages }}
{{- if eq .Role "system" }}System: {{ .Content }}
{{ else if eq .Role "user" }}User:
{{ .Content }}
{{ else if eq .Role "assistant" }}Falcon:
{{ .Content }}
{{ end }}
{{- end }}Falcon:
"""

ALFRED = """{{- range .Messages }}<start_{{ .Role }}>{{ .Content }}<end_message>
{{- end }}<start_assistant>"""

CODELLAMA_70B = """{{- range .Messages }}Source: {{ .Role }}

 {{ .Content }} <step> {{ end }}Source: assistant
Destination: user

 """

RENDERINGS = (
    Rendering(
        name="chatml",
        template=CHATML,
        expected="<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    Rendering(
        name="chatml, one exchange at a time",
        template=CHATML_LEGACY,
        expected="<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    Rendering(
        name="llama3",
        template=LLAMA3,
        expected="<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    Rendering(
        name="llama2",
        template=LLAMA2,
        expected="[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello!</s><s>[INST] "
        "<<SYS>><</SYS>>\n\nBye [/INST]",
    ),
    Rendering(
        name="mistral",
        template=MISTRAL,
        expected="[INST] Be brief.\n\nHi[/INST] Hello!</s>[INST] Bye[/INST]",
    ),
    Rendering(
        name="gemma",
        template=GEMMA,
        expected="<start_of_turn>user\nBe brief.\nHi<end_of_turn>\n<start_of_turn>model\n"
        "Hello!<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
    ),
    Rendering(
        name="gemma3",
        template=GEMMA3,
        expected="<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n"
        "Hello!<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n\n",
    ),
    Rendering(
        name="phi-3",
        template=PHI3,
        expected="<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello!<|end|>\n"
        "<|user|>\nBye<|end|>\n<|assistant|>\n",
    ),
    Rendering(
        name="phi-4",
        template=PHI4,
        expected="<|im_start|>system<|im_sep|>\nBe brief.<|im_end|>\n<|im_start|>user<|im_sep|>\n"
        "Hi<|im_end|>\n<|im_start|>assistant<|im_sep|>\nHello!<|im_end|>\n"
        "<|im_start|>user<|im_sep|>\nBye<|im_end|>\n<|im_start|>assistant<|im_sep|>\n",
    ),
    Rendering(
        name="zephyr",
        template=ZEPHYR,
        expected="<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello!</s>\n"
        "<|user|>\nBye</s>\n<|assistant|>\n",
    ),
    Rendering(
        name="openchat",
        template=OPENCHAT,
        expected="GPT4 Correct System: Be brief.<|end_of_turn|>GPT4 Correct User: Hi<|end_of_turn|>"
        "GPT4 Correct Assistant: Hello!<|end_of_turn|>GPT4 Correct User: Bye<|end_of_turn|>"
        "GPT4 Correct Assistant:",
    ),
    Rendering(
        name="alpaca",
        template=ALPACA,
        expected="Be brief.\n\n### Instruction:\nHi\n\n### Response:\nHello!\n\n"
        "### Instruction:\nBye\n\n### Response:\n",
    ),
    Rendering(
        name="vicuna",
        template=VICUNA,
        expected="Be brief.\n\nUSER: Hi\nASSISTANT: Hello!</s>\nUSER: Bye\nASSISTANT:",
    ),
    Rendering(
        name="solar",
        template=SOLAR,
        expected="### System:\nBe brief.\n\n### User:\nHi\n\n### Assistant:\nHello!</s>\n\n"
        "### User:\nBye\n\n### Assistant:\n",
    ),
    Rendering(
        name="starcoder2",
        template=STARCODER2,
        expected="Be brief.\n\n### Instruction\nHi\n\n### Response\nHello!<|endoftext|>\n\n"
        "### Instruction\nBye\n\n### Response\n",
    ),
    Rendering(
        name="magicoder",
        template=MAGICODER,
        expected="Be brief.\n\n@@ Instruction\nHi\n\n@@ Response\nHello!\n\n"
        "@@ Instruction\nBye\n\n@@ Response\n",
    ),
    Rendering(
        name="granite",
        template=GRANITE,
        expected="System:\nBe brief.\n\nQuestion:\nHi\n\nAnswer:\nHello!\n\n"
        "Question:\nBye\n\nAnswer:\n",
    ),
    Rendering(
        name="chatqa",
        template=CHATQA,
        expected="System: Be brief.\n\nUser: Hi\n\nAssistant: Hello!\n\nUser: Bye\n\nAssistant:",
    ),
    Rendering(
        name="falcon",
        template=FALCON,
        expected="System: Be brief.\nUser:\nHi\nFalcon:\nHello!\nUser:\nBye\nFalcon:\n",
    ),
    Rendering(
        name="alfred",
        template=ALFRED,
        expected="<start_system>Be brief.<end_message><start_user>Hi<end_message>"
        "<start_assistant>Hello!<end_message><start_user>Bye<end_message><start_assistant>",
    ),
    Rendering(
        name="codellama 70b",
        template=CODELLAMA_70B,
        expected="Source: system\n\n Be brief. <step> Source: user\n\n Hi <step> "
        "Source: assistant\n\n Hello! <step> Source: user\n\n Bye <step> "
        "Source: assistant\nDestination: user\n\n ",
    ),
)
