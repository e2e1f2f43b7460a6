"""The output format of a model, found from what its own template makes of a call.

A conversation with a call is rendered and the family looked for whose parser reads that call back
out of it: so fine-tunes and renamed models are known by what they do, and no table of model names
is needed. A Modelfile's `PARSER` goes before.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from olmkit.engine.chat.conversation import Conversation, Message, Tool, ToolCall
from olmkit.engine.chat.output.families import FAMILIES
from olmkit.engine.chat.output.formats import PLAIN, OutputFormat, ThoughtTags
from olmkit.engine.chat.output.stage import OutputStage, collect

PARSERS: Final[Mapping[str, str]] = {
    "qwen3": "hermes",
    "qwen3-thinking": "hermes",
    "qwen3-vl-instruct": "hermes",
    "qwen3-vl-thinking": "hermes",
    "qwen3-coder": "qwen3-coder",
    "qwen3.5": "qwen3-coder",
    "ornith": "qwen3-coder",
    "nemotron-3-nano": "qwen3-coder",
    "nemotron-3.5-nano": "qwen3-coder",
    "ministral": "mistral",
    "passthrough": "plain",
    "harmony": "harmony",
    "cogito": "deepseek-v3",
    "deepseek3": "deepseek-v3",
    "olmo3": "olmo3",
    "olmo3-think": "olmo3",
    "functiongemma": "functiongemma",
    "glm-4.7": "glm",
    "glm-ocr": "glm",
    "gemma4": "gemma4",
    "gemma4-no-thinking": "gemma4",
    "lfm2": "lfm2",
    "lfm2-thinking": "lfm2",
    "laguna": "glm",
    "poolside-v1": "glm",
    "cohere": "cohere",
}
"""Ollama's names of parsers, by which its models carry them, and our families."""

_VALUE: Final = "Zanzibar"
_TOOL: Final = Tool.parse(
    {
        "type": "function",
        "function": {
            "name": "find_place",
            "description": "Finds a place.",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string", "description": "Its name."}},
                "required": ["place"],
            },
        },
    }
)
_CALL: Final = ToolCall(name=_TOOL.name, arguments={"place": _VALUE}, id="abcdefghi")
"""The id has nine letters because Mistral's templates refuse any other."""
_QUESTION: Final = Message(role="user", content="Where is it?")

QUESTION: Final = Conversation(messages=(_QUESTION,), tools=(_TOOL,))
"""The first probe: what a prompt with a tool ends with."""
CALLED: Final = Conversation(
    messages=(_QUESTION, Message(role="assistant", tool_calls=(_CALL,))), tools=(_TOOL,)
)
"""The second: what a call looks like."""
ANSWERED: Final = replace(
    CALLED,
    messages=(
        *CALLED.messages,
        Message(role="tool", content="there", tool_name=_TOOL.name, tool_call_id=_CALL.id),
    ),
)
"""In place of the second, for templates that want each call answered."""

_ORDER: Final = tuple(family for family in FAMILIES.values() if family is not PLAIN)
_ALL_TAGS: Final = (
    *{tags.open: tags for family in reversed(_ORDER) for tags in family.thoughts}.values(),
    ThoughtTags(open="<thinking>", close="</thinking>"),
    ThoughtTags(open="<thought>", close="</thought>"),
    ThoughtTags(open="<reasoning>", close="</reasoning>"),
    ThoughtTags(open="<reason>", close="</reason>"),
    ThoughtTags(open="<seed:think>", close="</seed:think>", anywhere=True),
    ThoughtTags(open="<|inner_prefix|>", close="<|inner_suffix|>", anywhere=True),
    ThoughtTags(open="<|START_OF_THOUGHT|>", close="<|END_OF_THOUGHT|>", anywhere=True),
)


def named_format(name: str, template: str) -> OutputFormat | None:
    """The format of a parser or family of this name; None for one that nobody knows."""
    family = FAMILIES.get(PARSERS.get(name, name))
    return None if family is None else _with_thoughts(family, template, keep=True)


def find_format(template: str, question: str, called: str) -> OutputFormat:
    """The format of a model.

    `template` is its text, `question` what it makes of `QUESTION`, `called` of `CALLED` or
    `ANSWERED`; both empty where the template knows no tools.
    """
    same = next((i for i, (a, b) in enumerate(zip(question, called, strict=False)) if a != b), None)
    answer = called[len(question) if same is None else same :]
    if _VALUE in answer:
        for family in _ORDER:
            if _reads(family, answer):
                return _with_thoughts(_own_first(family, answer), template, keep=False)
    if "<|channel|>" in template and "<|message|>" in template:
        return FAMILIES["harmony"]
    family = FAMILIES["json"] if _TOOL.name in question else PLAIN
    return _with_thoughts(family, template, keep=False)


def _own_first(family: OutputFormat, answer: str) -> OutputFormat:
    """The family with the syntax first that the model itself writes, out of those it has."""
    own = next((s for s in family.calls if _reads(replace(family, calls=(s,)), answer)), None)
    if own is None:
        return family
    return replace(family, calls=(own, *(s for s in family.calls if s is not own)))


def _reads(family: OutputFormat, answer: str) -> bool:
    stage = OutputStage(family, tools=(_TOOL,), prompt=family.prompt_end)
    calls = collect([*stage.feed(answer), *stage.finish()]).calls
    return [(c.name, dict(c.arguments)) for c in calls] == [(_CALL.name, dict(_CALL.arguments))]


def _with_thoughts(family: OutputFormat, template: str, *, keep: bool) -> OutputFormat:
    """The family with the thoughts that the template tells of."""
    if family.is_harmony:
        return family
    own = tuple(t for t in family.thoughts if keep or _mentions(template, t))
    known = {tags.open for tags in own} | {tags.open for tags in family.thoughts}
    more = tuple(t for t in _ALL_TAGS if t.open not in known and _mentions(template, t))
    return replace(family, thoughts=own + more)


def _mentions(template: str, tags: ThoughtTags) -> bool:
    return tags.close in template and tags.open.rstrip() in template
