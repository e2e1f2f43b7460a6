"""A request to /v1/messages as olm's own values.

Source: https://docs.anthropic.com/en/api/messages. `cache_control`, `metadata`, `service_tier` and
`container` are accepted and change nothing: olm caches prefixes by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from olmkit.engine.api.checks import NOTHING_IS_FETCHED
from olmkit.engine.api.openai.conversation import decoded
from olmkit.engine.chat.conversation import (
    Message,
    Part,
    PartKind,
    Think,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
)
from olmkit.engine.errors import InvalidRequest

_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}


class MessagesBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/messages and /v1/messages/count_tokens; unknown members are ignored."""

    model: str | None = None
    messages: list[dict[str, Any]] | None = None
    max_tokens: int | None = None
    system: str | list[dict[str, Any]] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    """Olm's own, as in the native API."""
    keep_alive: Any = None
    """Olm's own, as in the native API."""
    truncate: bool | None = None
    shift: bool | None = None
    """Olm's own, as in the native API."""


def check_required(body: MessagesBody, *, needs_max_tokens: bool) -> None:
    """Refuse a request that lacks a member, in Ollama's order. Raises: InvalidRequest."""
    if not body.model:
        raise InvalidRequest("model is required", field="model")
    if needs_max_tokens and (body.max_tokens is None or body.max_tokens < 1):
        raise InvalidRequest("max_tokens is required and must be positive", field="max_tokens")
    if not body.messages:
        raise InvalidRequest("messages is required", field="messages")


def parse_conversation(body: MessagesBody) -> tuple[Message, ...]:
    """The turns, the system message first; results of tools are turns of their own.

    Raises:
        InvalidRequest: a block is malformed; names its place.
    """
    system = body.system or ""
    if not isinstance(system, str):
        system = "".join(_text(block.get("text")) for block in system)
    messages = [Message(role="system", content=system)] if system else []
    names: dict[str, str] = {}
    for place, given in enumerate(body.messages or ()):
        turns = _turns(given, names, f"messages[{place}]")
        names.update((call.id, call.name) for turn in turns for call in turn.tool_calls)
        messages += turns
    return tuple(messages)


def _turns(given: Mapping[str, Any], names: Mapping[str, str], place: str) -> list[Message]:
    role = given.get("role")
    if role not in ("user", "assistant", "system"):
        raise InvalidRequest(f"{place}: role must be user or assistant", field="messages")
    content = given.get("content")
    if isinstance(content, str):
        return [Message(role=role, content=content)]
    if not isinstance(content, list):
        raise InvalidRequest(f"{place}: content must be a string or array", field="messages")
    results: list[Message] = []
    parts: list[Part] = []
    calls: list[ToolCall] = []
    thinking = ""
    for position, block in enumerate(content):
        where = f"{place}.content[{position}]"
        match block.get("type") if isinstance(block, dict) else None:
            case "text":
                parts.append(Part(kind=PartKind.TEXT, text=_text(block.get("text"))))
            case "image":
                parts.append(_image(block))
            case "thinking":
                thinking = _text(block.get("thinking"))
            case "tool_use":
                calls.append(_call(block, len(calls)))
            case "tool_result":
                results.append(_result(block, names, where))
            case "redacted_thinking" | "server_tool_use" | "web_search_tool_result":
                pass  # nothing of it can be shown to a model that did not make it
            case kind:
                raise InvalidRequest(
                    f"{where}: content blocks of type {kind!r} are not supported", field="messages"
                )
    if not parts and not calls and not thinking:
        return results
    texts = [part.text for part in parts if part.kind is PartKind.TEXT]
    turn = Message(
        role=role,
        content="".join(texts),
        parts=() if len(texts) == len(parts) else tuple(parts),
        thinking=thinking,
        tool_calls=tuple(calls),
    )
    return [*results, turn]


def _text(given: Any) -> str:
    return given if isinstance(given, str) else ""


def _image(block: Mapping[str, Any]) -> Part:
    source = block.get("source")
    if not isinstance(source, dict):
        raise InvalidRequest("invalid image source", field="messages")
    if source.get("type") != "base64":
        raise InvalidRequest(
            f"invalid image source type: {source.get('type')}. Only base64 images are supported.",
            field="messages",
            hint=NOTHING_IS_FETCHED if source.get("type") == "url" else None,
        )
    return Part(kind=PartKind.IMAGE, data=decoded(source.get("data"), "image"))


def _call(block: Mapping[str, Any], index: int) -> ToolCall:
    for member in ("id", "name"):
        if not _text(block.get(member)):
            raise InvalidRequest(
                f"tool_use block missing required '{member}' field", field="messages"
            )
    arguments = block.get("input")
    return ToolCall(
        name=block["name"],
        arguments=arguments if isinstance(arguments, dict) else {},
        id=block["id"],
        index=index,
    )


def _result(block: Mapping[str, Any], names: Mapping[str, str], place: str) -> Message:
    content = block.get("content") or ""
    parts: tuple[Part, ...] = ()
    if isinstance(content, list):
        found = [
            _image(part)
            if part.get("type") == "image"
            else Part(kind=PartKind.TEXT, text=_text(part.get("text")))
            for part in content
            if isinstance(part, dict)
        ]
        content = "".join(part.text for part in found)
        parts = tuple(found) if any(part.kind is not PartKind.TEXT for part in found) else ()
    if not isinstance(content, str):
        raise InvalidRequest(f"{place}: content must be a string or array", field="messages")
    if block.get("is_error"):
        content = f"Error: {content}"
    call_id = _text(block.get("tool_use_id"))
    return Message(
        role="tool",
        content=content,
        parts=parts,
        tool_name=names.get(call_id, ""),
        tool_call_id=call_id,
    )


def parse_tools(given: Sequence[Mapping[str, Any]] | None) -> tuple[Tool, ...]:
    """The functions that the model may call.

    Raises:
        InvalidRequest: a tool is one of Anthropic's own, which only their servers have.
    """
    tools = []
    for tool in given or ():
        kind = tool.get("type") or "custom"
        if kind != "custom":
            raise InvalidRequest(
                f"tools of type {kind!r} are not supported, only custom ones", field="tools"
            )
        function = {
            "name": tool.get("name"),
            "description": tool.get("description") or "",
            "parameters": tool.get("input_schema") or {},
            "strict": tool.get("strict") is True,
        }
        try:
            tools.append(Tool.parse({"type": "function", "function": function}))
        except ValueError as error:
            raise InvalidRequest(str(error), field="tools") from error
    return tuple(tools)


def parse_tool_choice(given: Mapping[str, Any] | None, tools: Sequence[Tool]) -> ToolChoice:
    """Which tools the answer shall call. Raises: InvalidRequest."""
    if given is None:
        return ToolChoice()
    several = given.get("disable_parallel_tool_use") is not True
    match given.get("type"):
        case "auto":
            return ToolChoice(parallel=several)
        case "none":
            return ToolChoice(mode=ToolChoiceMode.NONE)
        case "any" if tools:
            return ToolChoice(mode=ToolChoiceMode.REQUIRED, parallel=several)
        case "tool" if given.get("name") in {tool.name for tool in tools}:
            return ToolChoice(mode=ToolChoiceMode.NAMED, name=str(given["name"]), parallel=several)
        case "any" | "tool":
            raise InvalidRequest(
                "tool_choice asks for a tool that is not given", field="tool_choice"
            )
        case kind:
            raise InvalidRequest(f"unknown tool_choice type: {kind!r}", field="tool_choice")


def parse_thinking(body: MessagesBody) -> Think:
    """Whether the model shall think; only a request that asks for it gets thoughts.

    Raises:
        InvalidRequest: an unknown word.
    """
    effort = (body.output_config or {}).get("effort")
    if effort is not None and effort not in _EFFORTS:
        raise InvalidRequest(f"unknown effort: {effort!r}", field="output_config")
    match (body.thinking or {}).get("type"):
        case "enabled" | "adaptive":
            return _EFFORTS.get(effort or "", True)
        case "disabled" | None:
            return False
        case kind:
            raise InvalidRequest(f"unknown thinking type: {kind!r}", field="thinking")


def parse_thinking_budget(body: MessagesBody) -> int | None:
    """Most tokens of the thought. Raises: InvalidRequest."""
    budget = (body.thinking or {}).get("budget_tokens")
    if budget is None:
        return None
    if type(budget) is not int or budget < 0:
        raise InvalidRequest("budget_tokens must be a whole number", field="thinking")
    return budget


def requested_format(body: MessagesBody) -> Any:
    """The value of `format` in the native API that means the same. Raises: InvalidRequest."""
    wanted = (body.output_config or {}).get("format")
    if wanted is None:
        return None
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    if not isinstance(schema, dict) or wanted.get("type") != "json_schema":
        raise InvalidRequest(
            "output_config.format must be a json_schema with a schema", field="output_config"
        )
    return schema


def parse_options(body: MessagesBody) -> dict[str, Any]:
    """Options of the native API; what the request leaves out is left to the model."""
    given = {
        "num_predict": body.max_tokens,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "stop": body.stop_sequences,
    }
    said = {name: value for name, value in given.items() if value is not None}
    return (body.options or {}) | said
