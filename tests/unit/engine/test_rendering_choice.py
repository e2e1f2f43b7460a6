from dataclasses import replace
from pathlib import Path

import pytest

from olmkit.engine.chat.conversation import Conversation, Message, ToolCall
from olmkit.engine.chat.rendering import jinja_variables, plain_text, without_bos
from olmkit.engine.chat.templates.choice import TemplateKind, choose
from olmkit.engine.gguf.header import GgufHeader
from olmkit.engine.models.capabilities import TemplateFacts, capabilities, jinja_facts
from olmkit.engine.models.spec import ModelSpec
from olmkit.engine.runner.protocol import ModelFiles
from olmkit.registry.oci.modelconfig import ModelConfig

TOOL_JINJA = (
    "{% if tools %}{{ tools|tojson }}{% endif %}{% for m in messages %}{{ m.tool_calls }}"
    "{% if m.role == 'tool' %}<tool_response>{% endif %}{% endfor %}"
)


def model(
    *, go: str | None = None, jinja: str | None = None, config: ModelConfig | None = None
) -> ModelSpec:
    metadata: dict[str, str] = {"general.architecture": "llama"}
    if jinja is not None:
        metadata["tokenizer.chat_template"] = jinja
    header = GgufHeader(
        path=Path("/x"),
        name="m",
        version=3,
        metadata=metadata,
        tensors=(),
        data_offset_bytes=0,
        size_bytes=0,
    )
    return ModelSpec(
        name="m:latest",
        full_name="registry.ollama.ai/library/m:latest",
        digest="sha256:0",
        model_key="k",
        size_bytes=0,
        modified_at=None,
        files=ModelFiles(weights_path="/x"),
        config=config or ModelConfig(),
        gguf=header,
        go_template=go,
    )


def kind_of(spec: ModelSpec, facts: TemplateFacts | None = None) -> TemplateKind:
    return choose(spec, facts).kind


def test_the_only_template_there_is_renders() -> None:
    assert kind_of(model()) is TemplateKind.PLAIN
    assert kind_of(model(jinja="x")) is TemplateKind.JINJA
    assert kind_of(model(go="x"), TemplateFacts()) is TemplateKind.GO


def test_a_go_template_wins_unless_the_jinja_one_does_more() -> None:
    both = model(go="x", jinja="y")
    assert kind_of(both, TemplateFacts()) is TemplateKind.GO
    able = model(go="x", jinja=TOOL_JINJA)
    assert kind_of(able, TemplateFacts()) is TemplateKind.JINJA
    assert kind_of(able, TemplateFacts(tools=True, tool_round_trip=True)) is TemplateKind.GO
    assert kind_of(able, TemplateFacts(tools=True)) is TemplateKind.JINJA
    assert kind_of(able, TemplateFacts(tools=True, insert=True)) is TemplateKind.GO


def test_a_parser_keeps_the_go_template_and_a_renderer_gives_way_to_jinja() -> None:
    parsed = model(go="x", jinja=TOOL_JINJA, config=ModelConfig(parser="qwen3"))
    assert kind_of(parsed, TemplateFacts()) is TemplateKind.GO
    rendered = model(go="x", jinja="y", config=ModelConfig(renderer="qwen3-coder"))
    choice = choose(rendered, TemplateFacts())
    assert choice.kind is TemplateKind.JINJA
    assert "qwen3-coder" in choice.reason


@pytest.mark.parametrize(
    ("prefers_go", "kind"), [(True, TemplateKind.GO), (False, TemplateKind.JINJA)]
)
def test_the_setting_decides_only_where_both_languages_would_do(
    prefers_go: bool, kind: TemplateKind
) -> None:
    def kind_with(spec: ModelSpec) -> TemplateKind:
        return choose(spec, TemplateFacts(tools=True), prefers_go=prefers_go).kind

    assert kind_with(model(go="x", jinja=TOOL_JINJA)) is kind
    assert kind_with(model(go="x", jinja="y")) is kind
    assert kind_with(model(go="x")) is TemplateKind.GO
    assert kind_with(model(jinja="y")) is TemplateKind.JINJA
    parsed = ModelConfig(parser="qwen3")
    assert kind_with(model(go="x", jinja="y", config=parsed)) is TemplateKind.GO


def test_jinja_text_gives_its_facts_away() -> None:
    facts = jinja_facts(TOOL_JINJA)
    assert (facts.tools, facts.tool_round_trip, facts.thinking) == (True, True, False)
    assert jinja_facts("<think></think>").thinking
    assert jinja_facts("{{ c.split('</think>')[-1] }}").thinking
    assert not jinja_facts("{{ c.split('</think>')[-1] }} reasoning_content").thinking


def test_capabilities_come_from_templates_config_and_header_in_ollamas_order() -> None:
    spec = model(jinja=TOOL_JINJA, config=ModelConfig(parser="cogito", capabilities=("image",)))
    assert capabilities(spec, None) == ("completion", "tools", "thinking", "image")
    assert capabilities(model(go="x"), TemplateFacts(insert=True)) == ("completion", "insert")
    bert = model()
    bert = replace(
        bert,
        gguf=replace(
            bert.gguf,
            metadata={
                "general.architecture": "bert",
                "bert.pooling_type": 1,
            },
        ),
    )
    assert capabilities(bert, None) == ("embedding",)
    assert bert.pools


def test_a_begun_answer_goes_behind_the_generation_prompt() -> None:
    begun = Conversation(
        messages=(Message(role="user", content="a"), Message(role="assistant", content="b"))
    )
    assert (begun.prefill, len(begun.asked)) == ("b", 1)
    call = ToolCall(name="f", arguments={})
    called = Conversation(messages=(Message(role="assistant", content="", tool_calls=(call,)),))
    assert (called.prefill, len(called.asked)) == ("", 1)


def test_jinja_sees_turns_as_transformers_gives_them() -> None:
    conversation = Conversation(
        messages=(
            Message(
                role="assistant",
                thinking="hm",
                tool_calls=(ToolCall(name="f", arguments={"b": 1, "a": 2}, id="c1"),),
            ),
            Message(role="tool", content="4", tool_name="f", tool_call_id="c1"),
        ),
        think="high",
    )
    variables = jinja_variables({"bos_token": "<s>"}, conversation)
    first, second = variables["messages"]
    assert first["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"b": 1, "a": 2}}}
    ]
    assert list(first["tool_calls"][0]["function"]["arguments"]) == ["b", "a"]
    assert first["reasoning_content"] == "hm"
    assert (second["name"], second["tool_call_id"]) == ("f", "c1")
    assert variables["enable_thinking"] is True and variables["reasoning_effort"] == "high"
    assert variables["tools"] is None and variables["add_generation_prompt"] is True
    assert variables["bos_token"] == "<s>"


def test_without_a_template_one_prompt_is_itself() -> None:
    alone = Conversation(messages=(Message(role="user", content="Once upon"),))
    assert plain_text(alone) == "Once upon"
    more = Conversation(
        messages=(
            Message(role="system", content="S"),
            Message(role="user", content="a"),
            Message(role="assistant", content="b"),
        )
    )
    assert plain_text(more) == "S\n\na\nb"


def test_bos_is_not_doubled() -> None:
    assert without_bos("<bos>Hi", "<bos>", adds_bos=True) == "Hi"
    assert without_bos("<bos><bos>Hi", "<bos>", adds_bos=True) == "<bos>Hi"
    assert without_bos("<bos>Hi", "<bos>", adds_bos=False) == "<bos>Hi"
    assert without_bos("Hi", "", adds_bos=True) == "Hi"


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("<think>\nhm\n</think>\n\nYes.", "Yes."),
        (" \n<think>hm</think>Yes.<think>a</think>", "Yes.<think>a</think>"),
        ("<think>cut short", ""),
        ("Yes. <think>hm</think>", "Yes. <think>hm</think>"),
    ],
)
def test_thoughts_before_the_last_question_are_forgotten(content: str, kept: str) -> None:
    conversation = Conversation(
        messages=(
            Message(role="user", content="<think>a</think>b"),
            Message(role="assistant", content=content),
            Message(role="user", content="c"),
            Message(role="assistant", content=content),
        )
    )
    texts = [message.content for message in conversation.without_old_thoughts().messages]
    assert texts == ["<think>a</think>b", kept, "c", content]


def test_a_conversation_without_a_question_keeps_its_thoughts() -> None:
    alone = Conversation(messages=(Message(role="assistant", content="<think>a</think>b"),))
    assert alone.without_old_thoughts() == alone
