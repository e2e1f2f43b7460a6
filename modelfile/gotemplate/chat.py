"""Conversations through a Go template, as Ollama renders them; pure.

Decides what a template is given (messages, or one exchange at a time for templates that know only
`.Prompt` and `.Response`) and how messages are merged before. Knows nothing of models, renderers or
images, whose placeholders the caller has put into the content.
Source: https://github.com/ollama/ollama/blob/v0.17.4/template/template.go
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from olmkit.modelfile.gotemplate.evaluation.functions import FUNCTIONS
from olmkit.modelfile.gotemplate.evaluation.toolschema import tools_value
from olmkit.modelfile.gotemplate.evaluation.values import (
    Field,
    Struct,
    StructType,
    TypedList,
    TypedMap,
    from_json,
)
from olmkit.modelfile.gotemplate.limits import DEFAULT_LIMITS, Execution, Limits
from olmkit.modelfile.gotemplate.printing.goquoting import clean
from olmkit.modelfile.gotemplate.syntax import templateparser
from olmkit.modelfile.gotemplate.syntax.surgery import (
    append_field,
    call_without_data,
    cut_after_field,
)
from olmkit.modelfile.gotemplate.template import Template
from olmkit.modelfile.gotemplate.templateerrors import (
    TemplateError,
    TemplateLimitExceeded,
    TemplateSyntaxError,
)

Think = bool | str | None
"""Whether to think: unset, off, on, or on at a level such as `high`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that the model made; `arguments` is decoded JSON."""

    name: str
    arguments: Mapping[str, object]
    id: str = ""
    index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation; `images` only counts, and is true when there are any."""

    role: str
    content: str = ""
    thinking: str = ""
    images: Sequence[str] = ()
    tool_calls: Sequence[ToolCall] = ()
    tool_name: str = ""
    tool_call_id: str = ""


def find_errors(text: str) -> list[TemplateError]:
    """All that keeps `text` from being the template of a model, in the order of the text.

    One error for an action at most; empty when `ChatTemplate.parse` takes it.
    """
    found: list[TemplateError] = []
    found += templateparser.find_errors(text, functions=FUNCTIONS, limits=DEFAULT_LIMITS)
    if not found:
        try:
            ChatTemplate.parse(text)
        except TemplateError as error:
            return [error]
    return found


class ChatTemplate:
    """A template of a model, ready for conversations."""

    def __init__(self, template: Template) -> None:
        self.template = template

    @classmethod
    def parse(cls, text: str, *, limits: Limits = DEFAULT_LIMITS) -> "ChatTemplate":
        """The template of a model; `{{ .Response }}` is appended where nothing says where it goes.

        Raises:
            TemplateSyntaxError: no template, or one that calls another without handing it data.
            TemplateLimitExceeded: too long or nested too deeply.
        """
        template = Template.parse(text, limits=limits)
        call = call_without_data(template.trees.values())
        if call is not None:
            raise TemplateSyntaxError(
                "undefined template specified",
                template_name="",
                line=1,
                position=call.position,
            )
        if not template.variables & {"messages", "response"}:
            template = template.with_root(append_field(template.root, "Response"))
        return cls(template)

    @property
    def takes_messages(self) -> bool:
        """Whether the template goes through the messages itself."""
        return "messages" in self.template.variables

    @cached_property
    def before_response(self) -> Template:
        """The template up to where the model's answer goes on."""
        return self.template.with_root(cut_after_field(self.template.root, "Response"))


def render_chat(
    template: ChatTemplate,
    messages: Sequence[Message],
    *,
    tools: Sequence[Mapping[str, object]] | None = None,
    think: Think = None,
    today: datetime.date | None = None,
) -> str:
    """The prompt for a conversation.

    `tools` are decoded JSON as in a request, `{"type": "function", "function": {…}}`. `today` is
    what `currentDate` tells.

    Raises:
        TemplateExecutionError: the template does not fit the messages.
        TemplateLimitExceeded: it does too much.
    """
    system, merged = collate(messages)
    execution = Execution(template.template.limits, today=today)
    if not template.takes_messages:
        _render_exchanges(template, merged, _think_values(think), execution)
        return clean("".join(execution.output))
    try:
        data = {
            "System": system,
            "Messages": [_message_value(message) for message in merged],
            "Tools": tools_value(tools),
            "Response": "",
            **_think_values(think),
        }
    except RecursionError:
        limits = template.template.limits
        raise TemplateLimitExceeded("nesting", limits.nesting) from None
    template.template.run(execution, data)
    return clean("".join(execution.output))


def render_insert(
    template: ChatTemplate,
    prompt: str,
    suffix: str,
    *,
    think: Think = None,
    today: datetime.date | None = None,
) -> str:
    """The prompt for text between `prompt` and `suffix`, neither of them empty.

    Raises:
        TemplateExecutionError: the template does not fit.
        TemplateLimitExceeded: it does too much.
    """
    data = {"Prompt": prompt, "Suffix": suffix, "Response": "", **_think_values(think)}
    return template.template.execute(data, today=today)


def collate(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """The system messages' contents joined, and all messages with neighbours of one role merged.

    Merging joins contents by a blank line and keeps the first one's other fields; results of tools
    stay apart.
    """
    system = [message.content for message in messages if message.role == "system"]
    merged: list[Message] = []
    for message in messages:
        if merged and merged[-1].role == message.role != "tool":
            content = f"{merged[-1].content}\n\n{message.content}"
            merged[-1] = replace(merged[-1], content=content)
        else:
            merged.append(message)
    return "\n\n".join(system), merged


def without_old_thoughts(messages: Sequence[Message]) -> list[Message]:
    """The messages, without `<think>…</think>` in the model's answers before the last user's turn.

    For models that write their thoughts into the content: Ollama does this for the family qwen3 and
    for deepseek-r1.
    """
    users = [place for place, message in enumerate(messages) if message.role == "user"]
    last = users[-1] if users else 0
    return [
        replace(message, content=_without_thoughts(message.content))
        if place < last and message.role == "assistant"
        else message
        for place, message in enumerate(messages)
    ]


def _without_thoughts(text: str) -> str:
    kept: list[str] = []
    position = 0
    while (start := text.find("<think>", position)) >= 0:
        end = text.find("</think>", start)
        if end < 0:
            break
        kept.append(text[position:start])
        position = end + len("</think>")
        while text.startswith("\n", position):
            position += 1
    return "".join(kept) + text[position:]


def _render_exchanges(
    template: ChatTemplate,
    messages: Sequence[Message],
    think: Mapping[str, object],
    execution: Execution,
) -> None:
    """One run of the whole template for each finished exchange, a shortened one for the rest."""
    empty = {"System": "", "Prompt": "", "Response": ""}
    exchange = dict(empty)

    def finish() -> None:
        template.template.run(execution, {**exchange, **think})
        exchange.update(empty)

    for message in messages:
        if message.role == "system":
            if exchange["Prompt"] or exchange["Response"]:
                finish()
            exchange["System"] = message.content
        elif message.role == "user":
            if exchange["Response"]:
                finish()
            exchange["Prompt"] = message.content
        elif message.role == "assistant":
            exchange["Response"] = message.content
    template.before_response.run(execution, {**exchange, **think})


def _think_values(think: Think) -> dict[str, object]:
    level = think if isinstance(think, str) else "medium" if think else ""
    return {"Think": bool(think), "ThinkLevel": level, "IsThinkSet": think is not None}


_MESSAGE = StructType(
    name="template.templateMessage",
    fields=(
        Field(name="Role", json_name="role"),
        Field(name="Content", json_name="content"),
        Field(name="Thinking", json_name="thinking", omit_empty=True),
        Field(name="Images", json_name="images", omit_empty=True),
        Field(name="ToolCalls", json_name="tool_calls", omit_empty=True),
        Field(name="ToolName", json_name="tool_name", omit_empty=True),
        Field(name="ToolCallID", json_name="tool_call_id", omit_empty=True),
    ),
)
_TOOL_CALL = StructType(
    name="template.templateToolCall",
    prints_json=True,
    fields=(
        Field(name="ID", json_name="id", omit_empty=True),
        Field(name="Function", json_name="function"),
    ),
)
_CALLED_FUNCTION = StructType(
    name="template.templateToolCallFunction",
    prints_json=True,
    fields=(
        Field(name="Index", json_name="index", omit_empty=True),
        Field(name="Name", json_name="name"),
        Field(name="Arguments", json_name="arguments"),
    ),
)


def _message_value(message: Message) -> Struct:
    calls = [_call_value(call) for call in message.tool_calls] or None
    fields: dict[str, object] = {
        "Role": message.role,
        "Content": message.content,
        "Thinking": message.thinking,
        "Images": list(message.images),
        "ToolCalls": TypedList("[]template.templateToolCall", calls),
        "ToolName": message.tool_name,
        "ToolCallID": message.tool_call_id,
    }
    return Struct(_MESSAGE, fields)


def _call_value(call: ToolCall) -> Struct:
    arguments = {name: from_json(value) for name, value in call.arguments.items()}
    function: dict[str, object] = {
        "Index": call.index,
        "Name": call.name,
        "Arguments": TypedMap("template.templateArgs", arguments),
    }
    return Struct(_TOOL_CALL, {"ID": call.id, "Function": Struct(_CALLED_FUNCTION, function)})
