"""One answer taken together from its pieces: as an object for programs, and its end judged."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from olmkit.cli.errors import AnswerCut, AnswerRepeats, SchemaViolated
from olmkit.cli.oneshot.constraints import is_json_format, parse_json_answer
from olmkit.cli.oneshot.schemacheck import find_violation
from olmkit.engine.client.replies import Chunk, Dropped, Timings


@dataclass(slots=True, kw_only=True)
class OneAnswer:
    """An answer as far as it has come."""

    model: str
    digest: str
    """Of the model's manifest, `sha256:` and 64 hex digits."""
    text: str = ""
    thinking: str = ""
    tool_calls: list[Mapping[str, Any]] = field(default_factory=list)
    end: str = ""
    """`stop`, `length`, `repeat`; empty while it goes on."""
    timings: Timings = field(default_factory=Timings)
    dropped: Dropped = field(default_factory=Dropped)

    def add(self, chunk: Chunk) -> None:
        """Takes one piece in."""
        self.text += chunk.text
        self.thinking += chunk.thinking
        self.tool_calls += chunk.tool_calls
        if chunk.timings is not None:
            self.end = chunk.done_reason
            self.timings = chunk.timings
            self.dropped = chunk.dropped

    def as_json(self) -> dict[str, Any]:
        """The object of `--json`; durations in nanoseconds."""
        timings = self.timings
        return {
            "model": self.model,
            "digest": self.digest,
            "text": self.text,
            "thinking": self.thinking,
            "tool_calls": [dict(call) for call in self.tool_calls],
            "end": self.end,
            "tokens": {"prompt": timings.prompt_tokens, "completion": timings.completion_tokens},
            "timings": {
                "total_ns": timings.total_ns,
                "load_ns": timings.load_ns,
                "prompt_ns": timings.prompt_ns,
                "completion_ns": timings.completion_ns,
            },
            "dropped": self.dropped._asdict(),
            "schema_ignored": timings.schema_ignored,
        }


def piece_line(chunk: Chunk) -> str:
    """A line of `--jsonl` for one piece; empty for one that brings nothing."""
    piece: dict[str, Any] = {}
    if chunk.text:
        piece["text"] = chunk.text
    if chunk.thinking:
        piece["thinking"] = chunk.thinking
    if chunk.tool_calls:
        piece["tool_calls"] = [dict(call) for call in chunk.tool_calls]
    return json.dumps(piece, ensure_ascii=False) + "\n" if piece else ""


def judge(answer: OneAnswer, format_: object, *, own_limit_tokens: int | None) -> None:
    """Nothing, if the answer is whole and what was asked for.

    `own_limit_tokens`: the `num_predict` of the model itself, where the request set none. An
    answer of that length is as long as its model was made to answer, which is no failure.

    Raises:
        SchemaViolated: it is not the JSON that it was to be.
        AnswerRepeats: it was ended because it repeated itself.
        AnswerCut: the limit of tokens or the context ended it.
    """
    is_own_length = own_limit_tokens == answer.timings.completion_tokens
    if answer.end == "repeat":
        raise AnswerRepeats(
            "the answer was ended because it repeated itself",
            hint="a higher repeat_penalty or temperature may help",
        )
    if answer.end == "length" and not is_own_length:
        raise AnswerCut(
            f"the answer was cut after {answer.timings.completion_tokens} tokens",
            hint="--max-tokens and num_ctx set the limits",
        )
    if not is_json_format(format_) or answer.tool_calls:
        return
    try:
        value = parse_json_answer(answer.text)
    except ValueError as error:
        raise SchemaViolated(f"the answer is no JSON: {error}") from error
    if format_ != "json" and (violation := find_violation(value, format_)):
        raise SchemaViolated(f"the answer violates the schema at {violation}")
