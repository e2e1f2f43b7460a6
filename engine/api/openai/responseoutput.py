"""The answer of the Responses API: its items, put together while the events of a stream go out.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from olmkit.engine.api.dialogues import Told
from olmkit.engine.api.openai.wire import new_id
from olmkit.engine.chat.output.deltas import (
    AnswerDelta,
    CallArguments,
    CallBroken,
    CallFinished,
    CallStarted,
    OutputEvent,
    ThoughtDelta,
)


@dataclass(slots=True)
class ResponseItems:
    """The items of one answer. Each method gives the events that tell of the change."""

    finished: list[dict[str, Any]] = field(default_factory=list)
    _open: dict[str, Any] | None = None
    _text: list[str] = field(default_factory=list)

    def add(self, event: OutputEvent) -> Iterator[Told]:
        """Take a part of the answer in."""
        match event:
            case ThoughtDelta():
                yield from self._require("reasoning")
                self._text.append(event.text)
                yield (
                    "response.reasoning_summary_text.delta",
                    self._at({"summary_index": 0, "delta": event.text}),
                )
            case AnswerDelta():
                yield from self._require("message")
                self._text.append(event.text)
                yield (
                    "response.output_text.delta",
                    self._at({"content_index": 0, "delta": event.text, "logprobs": []}),
                )
            case CallStarted():
                yield from self.close()
                yield from self._begin(
                    {
                        "id": new_id("fc_"),
                        "type": "function_call",
                        "status": "in_progress",
                        "call_id": event.id,
                        "name": event.name,
                        "arguments": "",
                    }
                )
            case CallArguments() if self._is_open("function_call"):
                self._text.append(event.text)
                yield (
                    "response.function_call_arguments.delta",
                    self._at({"delta": event.text}),
                )
            case CallFinished() | CallBroken():
                yield from self.close(is_cut=isinstance(event, CallBroken))
            case _:
                pass

    def close(self, *, is_cut: bool = False) -> Iterator[Told]:
        """End the item that is open, if one is."""
        item, text = self._open, "".join(self._text)
        if item is None:
            return
        match item["type"]:
            case "reasoning":
                part = {"type": "summary_text", "text": text}
                yield (
                    "response.reasoning_summary_text.done",
                    self._at({"summary_index": 0, "text": text}),
                )
                yield (
                    "response.reasoning_summary_part.done",
                    self._at({"summary_index": 0, "part": part}),
                )
                item = item | {"summary": [part], "encrypted_content": text}
            case "message":
                part = _output_text(text)
                yield (
                    "response.output_text.done",
                    self._at({"content_index": 0, "text": text, "logprobs": []}),
                )
                yield ("response.content_part.done", self._at({"content_index": 0, "part": part}))
                item = item | {"content": [part]}
            case _:
                if not is_cut:
                    yield (
                        "response.function_call_arguments.done",
                        self._at({"arguments": text, "name": item["name"]}),
                    )
                item = item | {"arguments": text}
        if "status" in item:
            item = item | {"status": "incomplete" if is_cut else "completed"}
        done = self._at({"item": item})
        done.pop("item_id")
        yield ("response.output_item.done", done)
        self.finished.append(item)
        self._open = None
        self._text.clear()

    def _is_open(self, kind: str) -> bool:
        return self._open is not None and self._open["type"] == kind

    def _require(self, kind: str) -> Iterator[Told]:
        if self._is_open(kind):
            return
        yield from self.close()
        if kind == "reasoning":
            yield from self._begin({"id": new_id("rs_"), "type": kind, "summary": []})
            part = {"type": "summary_text", "text": ""}
            yield (
                "response.reasoning_summary_part.added",
                self._at({"summary_index": 0, "part": part}),
            )
        else:
            head = {"id": new_id("msg_"), "type": kind, "status": "in_progress"}
            yield from self._begin(head | {"role": "assistant", "content": []})
            part = _output_text("")
            yield ("response.content_part.added", self._at({"content_index": 0, "part": part}))

    def _begin(self, item: dict[str, Any]) -> Iterator[Told]:
        self._open = item
        yield ("response.output_item.added", {"output_index": len(self.finished), "item": item})

    def _at(self, members: dict[str, Any]) -> dict[str, Any]:
        assert self._open is not None
        place = {"item_id": self._open["id"], "output_index": len(self.finished)}
        return place | members


def _output_text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
