"""The input of the Responses API as a conversation.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from olmkit.engine.api.openai.conversation import (
    parse_arguments,
    parse_messages,
    requested_format,
)
from olmkit.engine.api.openai.responsestore import Item
from olmkit.engine.api.openai.wire import new_id
from olmkit.engine.chat.conversation import Message, Tool, ToolCall
from olmkit.engine.errors import InvalidRequest

_IGNORED: Final = {"web_search_call", "item_reference"}


def input_items(given: Any) -> tuple[Item, ...]:
    """The items of an input, each with an id.

    Raises:
        InvalidRequest: it is neither a text nor an array of objects.
    """
    if isinstance(given, str):
        given = [{"role": "user", "content": [{"type": "input_text", "text": given}]}]
    if not isinstance(given, list):
        raise InvalidRequest("input must be a string or array", field="input")
    for place, item in enumerate(given):
        if not isinstance(item, dict):
            raise InvalidRequest(f"input[{place}]: an item must be an object", field="input")
    return tuple(map(_identified, given))


def _identified(item: Item) -> Item:
    kind = item.get("type") or ("message" if "role" in item else None)
    item_id = item.get("id") or new_id("msg_" if kind == "message" else "item_")
    return {**item, "id": item_id, **({"type": kind} if kind else {})}


def parse_input(
    items: Sequence[Item], instructions: str | None, *, earlier: int = 0
) -> tuple[Message, ...]:
    """The turns that items stand for, behind the instructions as a system message.

    The first `earlier` ones are those of stored responses.

    Raises:
        InvalidRequest: an item is malformed; names its place in the request.
    """
    system = (Message(role="system", content=instructions),) if instructions else ()
    reader = _Reader()
    for place, item in enumerate(items, start=-earlier):
        reader.add(item, f"input[{place}]")
    messages = reader.messages()
    if not messages:
        raise InvalidRequest("input is empty", field="input")
    return (*system, *messages)


class _Reader:
    """Puts items together: thoughts and calls belong to the assistant's turn around them."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._names: dict[str, str] = {}
        self._text = ""
        self._thinking = ""
        self._calls: list[ToolCall] = []

    def messages(self) -> tuple[Message, ...]:
        """All turns."""
        self._flush()
        return tuple(self._messages)

    def add(self, item: Item, place: str) -> None:
        """Take one item in. Raises: InvalidRequest."""
        kind = item.get("type")
        match kind:
            case "message":
                self._message(item, place)
            case "function_call":
                call = ToolCall(
                    name=_text(item.get("name")),
                    arguments=parse_arguments(item.get("arguments")),
                    id=_text(item.get("call_id")),
                    index=len(self._calls),
                )
                self._names[call.id] = call.name
                self._calls.append(call)
            case "function_call_output":
                self._flush()
                call_id = _text(item.get("call_id"))
                self._messages.append(
                    Message(
                        role="tool",
                        content=_joined(item.get("output"), place),
                        tool_name=self._names.get(call_id, ""),
                        tool_call_id=call_id,
                    )
                )
            case "reasoning":
                self._thinking += _thought(item)
            case None:
                raise InvalidRequest(
                    f"{place}: input item missing required 'type' field", field="input"
                )
            case _ if kind in _IGNORED:
                pass
            case _:
                raise InvalidRequest(f"{place}: unknown input item type: {kind!r}", field="input")

    def _message(self, item: Mapping[str, Any], place: str) -> None:
        if any(
            isinstance(part, dict) and part.get("type") == "input_file"
            for part in item.get("content") or ()
        ):
            raise InvalidRequest("file inputs are not currently supported", field="input")
        (message,) = parse_messages([item])
        if message.role == "assistant":
            self._text += message.content
            return
        self._flush()
        self._messages.append(message)

    def _flush(self) -> None:
        if self._text or self._thinking or self._calls:
            self._messages.append(
                Message(
                    role="assistant",
                    content=self._text,
                    thinking=self._thinking,
                    tool_calls=tuple(self._calls),
                )
            )
        self._text, self._thinking, self._calls = "", "", []


def _text(given: Any) -> str:
    return given if isinstance(given, str) else ""


def _joined(output: Any, place: str) -> str:
    if isinstance(output, list):
        return "".join(_text(part.get("text")) for part in output if isinstance(part, dict))
    if not isinstance(output, str):
        raise InvalidRequest(f"{place}: output must be a string or array", field="input")
    return output


def _thought(item: Mapping[str, Any]) -> str:
    """The thought of an earlier answer: olm writes it where others encrypt it."""
    if text := _text(item.get("encrypted_content")):
        return text
    parts = item.get("content") or item.get("summary") or ()
    return "".join(_text(part.get("text")) for part in parts if isinstance(part, dict))


def parse_response_tools(given: Sequence[Mapping[str, Any]] | None) -> tuple[Tool, ...]:
    """The functions that the model may call; here a function stands flat in its tool.

    Raises:
        InvalidRequest: a tool is of a kind that only OpenAI's servers have.
    """
    tools = []
    for tool in given or ():
        kind = tool.get("type", "function")
        if kind != "function":
            raise InvalidRequest(
                f"tools of type {kind!r} are not supported, only functions", field="tools"
            )
        function = {key: value for key, value in tool.items() if key != "type"}
        try:
            tools.append(Tool.parse({"type": "function", "function": function}))
        except ValueError as error:
            raise InvalidRequest(str(error), field="tools") from error
    return tuple(tools)


def requested_text_format(given: Mapping[str, Any] | None) -> Any:
    """The value of `format` in the native API that means the same. Raises: InvalidRequest."""
    wanted = (given or {}).get("format")
    return requested_format(wanted if isinstance(wanted, dict) else None)
