"""The families of output formats, by the names that `PARSER` and `olm parse --family` take."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from olmkit.engine.chat.output.calls import nine_letters
from olmkit.engine.chat.output.formats import PLAIN, OutputFormat, ThoughtTags
from olmkit.engine.chat.output.syntaxes.braces import BraceCalls
from olmkit.engine.chat.output.syntaxes.jsoncalls import JsonCalls
from olmkit.engine.chat.output.syntaxes.namedcalls import NamedCalls
from olmkit.engine.chat.output.syntaxes.parametercalls import Layout, ParameterCalls
from olmkit.engine.chat.output.syntaxes.pythonic import PythonCalls

_NAME: Final = r"(?P<name>[^\s<>{}\[\]\"'(),|]+)"

THINK: Final = ThoughtTags(open="<think>", close="</think>")
_BRACKETS: Final = ThoughtTags(open="[THINK]", close="[/THINK]", anywhere=True)
_COHERE: Final = ThoughtTags(open="<|START_THINKING|>", close="<|END_THINKING|>", anywhere=True)
_GEMMA: Final = ThoughtTags(open="<|channel>thought\n", close="<channel|>", anywhere=True)
_K2: Final = replace(THINK, before=("<|tool_calls_section_begin|>",))
_K3: Final = ThoughtTags(
    open="<|open|>think<|sep|>",
    close="<|close|>think<|sep|>",
    before=("<|open|>response<|sep|>", "<|open|>tools<|sep|>"),
    anywhere=True,
)
_CODER: Final = replace(THINK, before=("<tool_call>\n<function=",))

TAGGED_JSON: Final = JsonCalls(openers=("<tool_call>",), closers=("</tool_call>",))
_BARE_JSON: Final = JsonCalls(first_openers=("{",), separators=";", only_offered=True)
_JSON_LIST: Final = JsonCalls(first_openers=("[",), only_offered=True)
_FENCED_JSON: Final = JsonCalls(
    first_openers=("```json", "```tool_call"), closers=("```",), only_offered=True, separators=";"
)
_CODER_XML: Final = ParameterCalls(
    section_open="<tool_call>",
    section_close="</tool_call>",
    stands_alone=True,
    call_open="<function=",
    call_head=r"(?P<name>[^<>\n]+)>",
    call_close="</function>",
    parameter_open="<parameter=",
    parameter_head=r"(?P<name>[^<>\n]+)>",
    parameter_close="</parameter>",
    lines=True,
    written=Layout(
        section="<tool_call>\n",
        call="<function={name}>\n",
        parameter="<parameter={key}>\n",
        parameter_end="\n</parameter>\n",
        call_end="</function>\n",
        section_end="</tool_call>",
    ),
)
_ARGUMENT_PAIRS: Final = ParameterCalls(
    call_open="<tool_call>",
    call_head=r"\s*(?P<name>[^\s<>{}]+)\s*(?=<arg_key>|</tool_call>)",
    call_close="</tool_call>",
    parameter_open="<arg_key>",
    parameter_head=r"(?P<name>[^<>]+)</arg_key>\s*<arg_value>",
    head_marks=("</arg_key>", "<arg_value>"),
    parameter_close="</arg_value>",
    written=Layout(
        call="<tool_call>{name}",
        parameter="<arg_key>{key}</arg_key><arg_value>",
        parameter_end="</arg_value>",
        call_end="</tool_call>",
    ),
)
_FUNCTION_JSON: Final = NamedCalls(
    call_open="<function=",
    head=_NAME + r">\s*(?=\{)",
    written_head="{name}>",
    call_close="</function>",
)


def _dsml(section: str, space: str = "") -> ParameterCalls:
    """DeepSeek's markup from V3.2 on."""
    mark = f"｜DSML｜{space}"
    return ParameterCalls(
        section_open=f"<{mark}{section}>",
        section_close=f"</{mark}{section}>",
        call_open=f"<{mark}invoke ",
        call_head=r"(?P<attributes>[^<>]*?)/?>",
        call_close=f"</{mark}invoke>",
        empty_close="/>",
        parameter_open=f"<{mark}parameter ",
        parameter_head=r"(?P<attributes>[^<>]*)>",
        parameter_close=f"</{mark}parameter>",
        written=Layout(
            section=f"\n\n<{mark}{section}>\n",
            call=f'<{mark}invoke name="{{name}}">\n',
            parameter=f'<{mark}parameter name="{{key}}" string="{{type}}">',
            parameter_end=f"</{mark}parameter>\n",
            call_end=f"</{mark}invoke>\n",
            section_end=f"</{mark}{section}>",
        ),
        type_attribute="string",
    )


_DEEPSEEK_V3: Final = NamedCalls(
    section_open="<｜tool▁calls▁begin｜>",
    section_close="<｜tool▁calls▁end｜>",
    call_open="<｜tool▁call▁begin｜>",
    head=r"(?:function<｜tool▁sep｜>)?(?P<name>[^\s<>{}｜]+)(?:<｜tool▁sep｜>|\s*```json)\s*(?=\{)",
    written_head="{name}<｜tool▁sep｜>",
    head_marks=("<｜tool▁sep｜>",),
    tail="```",
    call_close="<｜tool▁call▁end｜>",
    is_close_needed=True,
)
_KIMI_K2: Final = NamedCalls(
    section_open="<|tool_calls_section_begin|>",
    section_close="<|tool_calls_section_end|>",
    call_open="<|tool_call_begin|>",
    head=r"\s*(?P<id>(?:functions\.)?(?P<name>[^\s<>{}|:]+)(?::\d+)?)\s*"
    r"<\|tool_call_argument_begin\|>",
    written_head="functions.{name}:0<|tool_call_argument_begin|>",
    head_marks=("<|tool_call_argument_begin|>",),
    call_close="<|tool_call_end|>",
)
_KIMI_K3: Final = ParameterCalls(
    section_open="<|open|>tools<|sep|>",
    section_close="<|close|>tools<|sep|>",
    call_open="<|open|>call ",
    call_head=r"(?P<attributes>[^<>]*)<\|sep\|>",
    call_close="<|close|>call<|sep|>",
    name_attribute="tool",
    parameter_open="<|open|>argument ",
    parameter_head=r"(?P<attributes>[^<>]*)<\|sep\|>",
    parameter_close="<|close|>argument<|sep|>",
    written=Layout(
        section="<|open|>tools<|sep|>",
        call='<|open|>call tool="{name}" index="1"<|sep|>',
        parameter='<|open|>argument key="{key}" type="{type}"<|sep|>',
        parameter_end="<|close|>argument<|sep|>",
        call_end="<|close|>call<|sep|>",
        section_end="<|close|>tools<|sep|>",
    ),
    key_attribute="key",
    type_attribute="type",
)
_MISTRAL_LIST: Final = JsonCalls(openers=("[TOOL_CALLS]",), is_list=True)
_MISTRAL_NAMED: Final = NamedCalls(
    call_open="[TOOL_CALLS]",
    head=_NAME + r"(?:\[CALL_ID\](?P<id>[^\s\[\]{}]+))?(?:\[ARGS\])?(?=\s*\{)",
    written_head="{name}[ARGS]",
    head_marks=("[CALL_ID]", "[ARGS]"),
)
_MINIMAX: Final = ParameterCalls(
    section_open="<minimax:tool_call>",
    section_close="</minimax:tool_call>",
    call_open="<invoke ",
    call_head=r"(?P<attributes>[^<>]*)>",
    call_close="</invoke>",
    parameter_open="<parameter ",
    parameter_head=r"(?P<attributes>[^<>]*)>",
    parameter_close="</parameter>",
    written=Layout(
        section="<minimax:tool_call>\n",
        call='<invoke name="{name}">\n',
        parameter='<parameter name="{key}">',
        parameter_end="</parameter>\n",
        call_end="</invoke>\n",
        section_end="</minimax:tool_call>",
    ),
)
_FUNCTIONARY: Final = NamedCalls(call_open=">>>", head=_NAME + r"\n(?=\{)", written_head="{name}\n")

HERMES: Final = OutputFormat(
    name="hermes",
    thoughts=(THINK,),
    calls=(TAGGED_JSON, _FENCED_JSON, _BARE_JSON),
    trims_text=True,
)

FAMILIES: Final[Mapping[str, OutputFormat]] = {
    family.name: family
    for family in (
        PLAIN,
        HERMES,
        OutputFormat(
            name="qwen3-coder", thoughts=(_CODER,), calls=(_CODER_XML, TAGGED_JSON), trims_text=True
        ),
        OutputFormat(name="glm", thoughts=(THINK,), calls=(_ARGUMENT_PAIRS,), trims_text=True),
        OutputFormat(name="deepseek-v3", thoughts=(THINK,), calls=(_DEEPSEEK_V3,)),
        OutputFormat(
            name="deepseek",
            thoughts=(THINK,),
            calls=(_dsml("function_calls"), _dsml("tool_calls"), _dsml("calls", " ")),
            trims_text=True,
        ),
        OutputFormat(name="kimi-k2", thoughts=(_K2,), calls=(_KIMI_K2,)),
        OutputFormat(
            name="kimi-k3",
            thoughts=(_K3,),
            calls=(_KIMI_K3,),
            dropped=(
                "<|open|>response<|sep|>",
                "<|close|>response<|sep|>",
                "<|close|>message<|sep|>",
                '<|open|>message role="assistant"<|sep|>',
                "<|end_of_msg|>",
            ),
        ),
        OutputFormat(
            name="mistral",
            thoughts=(_BRACKETS, THINK),
            calls=(_MISTRAL_LIST, _MISTRAL_NAMED),
            new_id=nine_letters,
        ),
        OutputFormat(
            name="llama3",
            calls=(
                replace(_BARE_JSON, keys=("name", "parameters")),
                JsonCalls(openers=("<|python_tag|>",), separators=";"),
                _FUNCTION_JSON,
                PythonCalls(first_openers=("[",)),
                _JSON_LIST,
            ),
        ),
        OutputFormat(
            name="llama4",
            calls=(
                PythonCalls(openers=("<|python_start|>",), closers=("<|python_end|>",)),
                PythonCalls(first_openers=("[",)),
                _BARE_JSON,
            ),
        ),
        OutputFormat(name="harmony", is_harmony=True),
        OutputFormat(
            name="gemma4",
            thoughts=(_GEMMA,),
            calls=(BraceCalls(opener="<|tool_call>", closer="<tool_call|>", quote='<|"|>'),),
        ),
        OutputFormat(
            name="functiongemma",
            calls=(
                BraceCalls(
                    opener="<start_function_call>",
                    closer="<end_function_call>",
                    quote="<escape>",
                ),
            ),
        ),
        OutputFormat(
            name="gemma3",
            calls=(
                JsonCalls(
                    openers=("```tool_code\n", "```json\n"), closers=("```",), only_offered=True
                ),
                PythonCalls(openers=("```tool_code\n",), closers=("```",), lines=True),
                PythonCalls(first_openers=("[",)),
                _BARE_JSON,
            ),
        ),
        OutputFormat(
            name="granite",
            thoughts=(THINK,),
            calls=(
                JsonCalls(
                    openers=("<|tool_call|>", "<tool_call>"),
                    closers=("</tool_call>", "<|/tool_call|>"),
                    is_list=True,
                    separators=";",
                ),
            ),
        ),
        OutputFormat(
            name="cohere",
            thoughts=(_COHERE,),
            calls=(
                JsonCalls(
                    openers=("<|START_ACTION|>",),
                    closers=("<|END_ACTION|>",),
                    keys=("tool_name", "parameters"),
                    is_list=True,
                ),
                JsonCalls(openers=("Action: ```json\n", "Action:```json\n"), closers=("```",)),
            ),
            dropped=("<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
            trims_text=True,
        ),
        OutputFormat(
            name="functionary",
            calls=(_FUNCTIONARY, _FUNCTION_JSON),
            dropped=(">>>all\n",),
            prompt_end=">>>",
        ),
        OutputFormat(name="minimax", thoughts=(THINK,), calls=(_MINIMAX,), trims_text=True),
        OutputFormat(
            name="lfm2",
            thoughts=(THINK,),
            calls=(
                PythonCalls(openers=("<|tool_call_start|>",), closers=("<|tool_call_end|>",)),
                JsonCalls(openers=("<|tool_call_start|>",), closers=("<|tool_call_end|>",)),
            ),
        ),
        OutputFormat(
            name="olmo3",
            thoughts=(THINK,),
            calls=(
                PythonCalls(
                    openers=("<function_calls>",), closers=("</function_calls>",), lines=True
                ),
            ),
            trims_text=True,
        ),
        OutputFormat(
            name="json",
            thoughts=(THINK,),
            calls=(TAGGED_JSON, _FENCED_JSON, _BARE_JSON, _JSON_LIST),
            trims_text=True,
        ),
    )
}
