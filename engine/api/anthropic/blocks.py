"""The content blocks of an answer, put together while the events of a stream go out.

Blocks never overlap: one ends before the next begins.
Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from olmkit.engine.api.dialogues import Told
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
class Blocks:
    """The blocks of one answer. Each method gives the events that tell of the change."""

    finished: list[dict[str, Any]] = field(default_factory=list)
    has_calls: bool = False
    _open: dict[str, Any] | None = None
    _text: list[str] = field(default_factory=list)

    def add(self, event: OutputEvent) -> Iterator[Told]:
        """Take a part of the answer in."""
        match event:
            case ThoughtDelta():
                yield from self._require({"type": "thinking", "thinking": "", "signature": ""})
                yield self._delta({"type": "thinking_delta", "thinking": event.text}, event.text)
            case AnswerDelta():
                yield from self._require({"type": "text", "text": ""})
                yield self._delta({"type": "text_delta", "text": event.text}, event.text)
            case CallStarted():
                self.has_calls = True
                yield from self.close()
                yield from self._begin(
                    {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
                )
            case CallArguments() if self._is_open("tool_use"):
                delta = {"type": "input_json_delta", "partial_json": event.text}
                yield self._delta(delta, event.text)
            case CallFinished() if self._open is not None:
                self._open["input"] = dict(event.call.arguments)
                yield from self.close()
            case CallBroken():
                yield from self.close()
            case _:
                pass

    def close(self) -> Iterator[Told]:
        """End the block that is open, if one is."""
        block, text = self._open, "".join(self._text)
        if block is None:
            return
        index = len(self.finished)
        match block["type"]:
            case "thinking":
                block = block | {"thinking": text, "signature": _signature(text)}
                delta = {"type": "signature_delta", "signature": block["signature"]}
                yield ("content_block_delta", {"index": index, "delta": delta})
            case "text":
                block = block | {"text": text}
            case _:
                pass
        yield ("content_block_stop", {"index": index})
        self.finished.append(block)
        self._open = None
        self._text.clear()

    def _is_open(self, kind: str) -> bool:
        return self._open is not None and self._open["type"] == kind

    def _require(self, block: dict[str, Any]) -> Iterator[Told]:
        if not self._is_open(block["type"]):
            yield from self.close()
            yield from self._begin(block)

    def _begin(self, block: dict[str, Any]) -> Iterator[Told]:
        self._open = block
        members = {"index": len(self.finished), "content_block": dict(block)}
        yield ("content_block_start", members)

    def _delta(self, delta: dict[str, Any], text: str) -> Told:
        self._text.append(text)
        return ("content_block_delta", {"index": len(self.finished), "delta": delta})


def _signature(thinking: str) -> str:
    """What stands for a signature: clients send it back with the thought and require one.

    It proves nothing, and nothing checks it: whoever can send a thought may change it.
    """
    return "olm-" + hashlib.sha256(thinking.encode()).hexdigest()
