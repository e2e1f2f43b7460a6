"""OpenAI's messages, tools and wishes as olm's own values."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from olmkit.engine.api.checks import refuse_image_address
from olmkit.engine.chat.conversation import (
    Message,
    Part,
    PartKind,
    Think,
    ToolCall,
)
from olmkit.engine.errors import InvalidRequest

_EFFORTS: Final[Mapping[str, Think]] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
    "xhigh": "max",
    "ultra": "max",
}
_IMAGE_PREFIXES: Final = (
    "data:image/jpeg;base64,",
    "data:image/jpg;base64,",
    "data:image/png;base64,",
    "data:image/webp;base64,",
    "data:;base64,",
)
_GO_TYPES: Final = {type(None): "<nil>", bool: "bool", dict: "map[string]interface {}"}
"""What Go calls what JSON may hold where a text or a list is meant; numbers are the rest."""


def parse_messages(given: Sequence[Mapping[str, Any]] | None) -> tuple[Message, ...]:
    """The turns of a conversation, one for each message whatever its number of parts.

    Raises:
        InvalidRequest: there is none, or one is malformed; names its place.
    """
    if not given:
        raise InvalidRequest("[] is too short - 'messages'", field="messages")
    names: dict[str, str] = {}
    messages = []
    for place, message in enumerate(given):
        parsed = _message(message, names, f"messages[{place}]")
        names.update((call.id, call.name) for call in parsed.tool_calls)
        messages.append(parsed)
    return tuple(messages)


def _message(given: Mapping[str, Any], names: Mapping[str, str], place: str) -> Message:
    role = given.get("role")
    if not isinstance(role, str) or not role:
        raise InvalidRequest(f"{place}: role is required", field="messages")
    calls = _calls(given.get("tool_calls"), place)
    parts = _parts(given.get("content"), place, may_be_absent=bool(calls) or role == "assistant")
    texts = [part.text for part in parts if part.kind is PartKind.TEXT]
    call_id = _text(given.get("tool_call_id"))
    thinking = given.get("reasoning") or given.get("reasoning_content")
    return Message(
        role="system" if role.lower() == "developer" else role.lower(),
        content="\n".join(texts),
        parts=() if len(texts) == len(parts) else parts,
        thinking=_text(thinking),
        tool_calls=calls,
        tool_name=_text(given.get("name")) or names.get(call_id, ""),
        tool_call_id=call_id,
    )


def _text(given: Any) -> str:
    return given if isinstance(given, str) else ""


def _parts(content: Any, place: str, *, may_be_absent: bool) -> tuple[Part, ...]:
    if isinstance(content, str):
        return (Part(kind=PartKind.TEXT, text=content),)
    if content is None and may_be_absent:
        return ()
    if not isinstance(content, list):
        kind = _GO_TYPES.get(type(content), "float64")
        raise InvalidRequest(f"invalid message content type: {kind}", field="messages")
    return tuple(_part(part, place) for part in content)


def _part(part: Any, place: str) -> Part:
    kind = part.get("type") if isinstance(part, dict) else None
    match kind:
        case "text" | "input_text" | "output_text" | "refusal":
            return Part(kind=PartKind.TEXT, text=_text(part.get("text") or part.get("refusal")))
        case "image_url" | "input_image":
            image = part.get("image_url")
            address = image.get("url") if isinstance(image, dict) else image
            return Part(kind=PartKind.IMAGE, data=_image(address))
        case "input_audio":
            audio = part.get("input_audio")
            if not isinstance(audio, dict):
                raise InvalidRequest("invalid input_audio format", field="messages")
            return Part(kind=PartKind.AUDIO, data=decoded(audio.get("data"), "input_audio"))
        case _:
            raise InvalidRequest(f"{place}: unsupported content part {kind!r}", field="messages")


def _image(address: Any) -> bytes:
    if not isinstance(address, str):
        raise InvalidRequest("invalid image input", field="messages")
    refuse_image_address(address)
    for prefix in _IMAGE_PREFIXES:
        if address.startswith(prefix):
            return decoded(address[len(prefix) :], "image")
    raise InvalidRequest("invalid image input", field="messages")


def decoded(data: Any, what: str) -> bytes:
    """The bytes of base64 text. Raises: InvalidRequest."""
    try:
        return base64.b64decode(data if isinstance(data, str) else "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"invalid {what} base64 data: {error}", field="messages") from error


def _calls(given: Any, place: str) -> tuple[ToolCall, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise InvalidRequest(f"{place}: tool_calls must be an array", field="messages")
    calls = []
    for index, call in enumerate(given):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise InvalidRequest(f"{place}: invalid tool call", field="messages")
        calls.append(
            ToolCall(
                name=_text(function.get("name")),
                arguments=parse_arguments(function.get("arguments")),
                id=_text(call.get("id")),
                index=index,
            )
        )
    return tuple(calls)


def parse_arguments(given: Any) -> Mapping[str, Any]:
    """The arguments of a call, which this API writes as text. Raises: InvalidRequest."""
    if isinstance(given, dict):
        return given
    try:
        value = json.loads(given or "{}") if isinstance(given, str | None) else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest("invalid tool call arguments", field="messages")
    return value


def parse_effort(effort: str | None, reasoning: Mapping[str, Any] | None) -> Think:
    """Whether the model shall think. Raises: InvalidRequest."""
    value = (reasoning or {}).get("effort") or effort
    if not value:
        return None
    if value not in _EFFORTS:
        known = '"minimal", "low", "medium", "high", "xhigh", "ultra", "max", or "none"'
        raise InvalidRequest(
            f'invalid reasoning value: "{str(value)[:80]}" (must be {known})',
            field="reasoning_effort",
        )
    return _EFFORTS[value]


def requested_format(given: Mapping[str, Any] | None) -> Any:
    """The value of `format` in the native API that means the same.

    Raises:
        InvalidRequest: it is of no known type, or lacks its schema.
    """
    kind = (given or {}).get("type")
    match kind.strip().lower() if isinstance(kind, str) else kind:
        case None | "text":
            return None
        case "json_object":
            return "json"
        case "grammar":
            return given
        case "json_schema":
            assert given is not None
            holder = given.get("json_schema", given)
            schema = holder.get("schema") if isinstance(holder, dict) else None
            if isinstance(schema, dict):
                return schema
            raise InvalidRequest("json_schema needs a schema", field="response_format")
        case _:
            raise InvalidRequest(
                f"response_format must be text, json_object, json_schema or grammar, not {kind!r}"[
                    :200
                ],
                field="response_format",
            )
