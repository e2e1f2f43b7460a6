"""The output format of a model is found from what its template makes of a call."""

import pytest

from olmkit.engine.chat.conversation import Conversation
from olmkit.engine.chat.output.detection import (
    CALLED,
    PARSERS,
    QUESTION,
    find_format,
    named_format,
)
from olmkit.engine.chat.output.families import FAMILIES
from olmkit.engine.chat.output.formats import OutputFormat
from olmkit.engine.chat.rendering import jinja_variables
from olmkit.engine.chat.templates import jinja
from olmkit.engine.models.capabilities import TOOL_PARSERS

TURNS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{{ m.content }}CALLS<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALL = "{% for c in m.tool_calls %}{% set f = c.function %}BODY{% endfor %}"
XML = (
    "<tool_call>\n<function={{ f.name }}>\n{% for k, v in f.arguments | items %}<parameter={{ k }}>"
    "\n{{ v }}\n</parameter>\n{% endfor %}</function>\n</tool_call>"
)
PAIRS = (
    "<tool_call>{{ f.name }}{% for k, v in f.arguments | items %}<arg_key>{{ k }}</arg_key>"
    "<arg_value>{{ v }}</arg_value>{% endfor %}</tool_call>"
)


def template(body: str) -> str:
    return TURNS.replace("CALLS", CALL.replace("BODY", body))


def found(text: str) -> OutputFormat:
    def rendered(conversation: Conversation) -> str:
        return jinja.render(text, jinja_variables({}, conversation))

    return find_format(text, rendered(QUESTION), rendered(CALLED))


@pytest.mark.parametrize(
    ("body", "family"),
    [
        (
            '<tool_call>\n{"name": "{{ f.name }}", "arguments": {{ f.arguments | tojson }}}\n'
            "</tool_call>",
            "hermes",
        ),
        (XML, "qwen3-coder"),
        (PAIRS, "glm"),
        ("[TOOL_CALLS]{{ f.name }}[ARGS]{{ f.arguments | tojson }}", "mistral"),
        (
            '[TOOL_CALLS] [{"name": "{{ f.name }}", "arguments": {{ f.arguments | tojson }}}]',
            "mistral",
        ),
        (
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.{{ f.name }}:0"
            "<|tool_call_argument_begin|>{{ f.arguments | tojson }}<|tool_call_end|>"
            "<|tool_calls_section_end|>",
            "kimi-k2",
        ),
        (
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{{ f.name }}<｜tool▁sep｜>"
            "{{ f.arguments | tojson }}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
            "deepseek-v3",
        ),
        (
            "<|START_ACTION|>[\n    "
            '{"tool_call_id": "0", "tool_name": "{{ f.name }}", '
            '"parameters": {{ f.arguments | tojson }}}\n]<|END_ACTION|>',
            "cohere",
        ),
        (
            "<minimax:tool_call>\n"
            '<invoke name="{{ f.name }}">\n{% for k, v in f.arguments | items %}'
            '<parameter name="{{ k }}">{{ v }}</parameter>\n{% endfor %}</invoke>\n'
            "</minimax:tool_call>",
            "minimax",
        ),
        (
            "<|tool_call_start|>[{{ f.name }}({% for k, v in f.arguments | items %}"
            '{{ k }}="{{ v }}"{% endfor %})]<|tool_call_end|>',
            "lfm2",
        ),
        (
            "<|tool_call>call:{{ f.name }}{{ '{' }}{% for k, v in f.arguments | items %}"
            '{{ k }}:<|"|>{{ v }}<|"|>{% endfor %}{{ "}" }}<tool_call|>',
            "gemma4",
        ),
        ("I call {{ f.name }} with {{ f.arguments | tojson }}", "json"),
    ],
)
def test_the_family_is_the_one_that_reads_the_call_back(body: str, family: str) -> None:
    assert found(template(body)).name == family


def test_the_syntax_that_the_model_writes_comes_first() -> None:
    named = found(template("[TOOL_CALLS]{{ f.name }}[ARGS]{{ f.arguments | tojson }}"))
    assert named.calls[0] is FAMILIES["mistral"].calls[1]


def test_a_bare_object_is_the_call_of_llama() -> None:
    body = '{"name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}'
    assert found(template(body)).calls[0].first_openers == ("{",)


def test_a_template_without_tools_makes_plain_text() -> None:
    text = "{% for m in messages %}{{ m.content }}{% endfor %}"
    plain = found(text)
    assert (plain.name, plain.calls, plain.thoughts) == ("plain", (), ())


@pytest.mark.parametrize("tag", ["think", "thinking", "thought", "reasoning", "seed:think"])
def test_thoughts_are_those_that_the_template_tells_of(tag: str) -> None:
    text = f"{{% for m in messages %}}{{{{ m.content }}}}{{% endfor %}}<{tag}></{tag}>"
    assert [tags.open for tags in found(text).thoughts] == [f"<{tag}>"]


def test_all_of_ollamas_parsers_are_known_by_name() -> None:
    glimmer = {"glimmer"}  # its syntax is published nowhere
    assert TOOL_PARSERS - PARSERS.keys() == glimmer
    assert all(named_format(name, "") is not None for name in PARSERS)
    assert named_format("nobody", "") is None


def test_a_prompt_that_ends_in_an_open_tag_opens_a_thought() -> None:
    hermes = FAMILIES["hermes"]
    assert hermes.open_thought("<|im_start|>assistant\n<think>\n") is not None
    assert hermes.open_thought("<think>\n\n</think>\n\n") is None
