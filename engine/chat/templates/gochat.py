"""Conversations through a Go template, as Ollama renders them; pure.

Decides what a template is given (messages, or one exchange at a time for templates that know only
`.Prompt` and `.Response`) and how messages are merged before. Knows nothing of models, renderers or
images, whose placeholders the caller has put into the content.
Source: https://github.com/ollama/ollama/blob/v0.17.4/template/template.go
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import replace

from olmkit.engine.chat.conversation import Message, Think, ToolCall
from olmkit.modelfile.gotemplate.chattemplate import ChatTemplate
from olmkit.modelfile.gotemplate.evaluation.toolschema import tools_value
from olmkit.modelfile.gotemplate.evaluation.values import (
    Field,
    Struct,
    StructType,
    TypedList,
    TypedMap,
    from_json,
)
from olmkit.modelfile.gotemplate.limits import Execution
from olmkit.modelfile.gotemplate.printing.goquoting import clean
from olmkit.modelfile.gotemplate.templateerrors import TemplateLimitExceeded


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
        "Images": ["" for _ in message.images],
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
