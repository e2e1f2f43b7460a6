"""OpenAI's harmony format (gpt-oss): messages with a channel and perhaps a recipient.

`<|channel|>analysis<|message|>…<|end|><|start|>assistant to=functions.f<|channel|>commentary
<|constrain|>json<|message|>{…}<|call|>`. The recipient may stand in either part of the header.
Source: https://github.com/openai/harmony/blob/main/docs/format.md
"""

import re
from collections.abc import Callable, Generator
from typing import Final

from olmkit.engine.chat.output.callsyntax import Context
from olmkit.engine.chat.output.cursor import Cursor, Malformed, Steps, Unfinished, held_back
from olmkit.engine.chat.output.deltas import AnswerDelta, OutputEvent, ThoughtDelta
from olmkit.engine.chat.output.syntaxes.jsoncalls import stream_arguments

HARMONY_MARKS: Final = (
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|channel|>",
    "<|constrain|>",
    "<|call|>",
    "<|return|>",
)
_MAX_HEADER: Final = 512
_START: Final = "<|start|>"
_MESSAGE: Final = "<|message|>"
_ENDS: Final = ("<|end|>", "<|return|>", "<|start|>assistant")
_CALL_ENDS: Final = ("<|call|>", "<|end|>", "<|return|>")
_HEADER: Final = re.compile(
    r"(?P<parts>(?:(?!<\|end\|>|<\|start\|>|<\|message\|>).)*?)"
    r"(?P<end><\|message\|>|<\|end\|>|(?=<\|start\|>assistant))",
    re.DOTALL,
)
_HEADER_MARKS: Final = (_START, "<|channel|>", _MESSAGE, " to=", "assistant", "<|constrain|>")
_CHANNEL: Final = re.compile(r"<\|channel\|>\s*([^\s<]*)")
_RECIPIENT: Final = re.compile(r"\bto=([^\s<]+)")


def read_harmony(context: Context, on_failure: Callable[[bool], Steps[None]]) -> Steps[None]:
    """The events of a whole answer; `on_failure` deals with what is no message or no call."""
    cursor = context.cursor
    while True:
        if (yield from cursor.peek()) == "":
            return
        context.done()
        start = cursor.position
        try:
            yield from _message(context)
            context.done()
        except Unfinished:
            yield from on_failure(True)
        except Malformed:
            cursor.position = max(cursor.position, start + 1)
            yield from on_failure(False)


def _message(context: Context) -> Steps[None]:
    cursor = context.cursor
    if not (yield from _has_header(cursor)):
        yield from _body(cursor, AnswerDelta)
        return
    yield from cursor.take(_START)
    yield from cursor.take("assistant")
    header = yield from cursor.match(_HEADER, most=_MAX_HEADER)
    if header["end"] != _MESSAGE:
        raise Malformed("a header without a message")
    channels = _CHANNEL.findall(header["parts"])
    recipient = _RECIPIENT.search(header["parts"])
    name = recipient[1] if recipient else ""
    if name.startswith("functions.") or (name and name in context.calls.offered_names):
        yield from _call(context, name.removeprefix("functions."))
    elif name and name != "assistant":
        yield from _body(cursor, None)  # a built-in tool that nobody offered
    elif channels and channels[-1] == "analysis":
        yield from _body(cursor, ThoughtDelta)
    else:
        yield from _body(cursor, AnswerDelta)


def _has_header(cursor: Cursor) -> Generator[None, None, bool]:
    """False for an answer that begins with text: the prompt wrote the header."""
    for mark in _HEADER_MARKS:
        if (yield from cursor.starts_with(mark)):
            return True
    return False


def _call(context: Context, name: str) -> Steps[None]:
    cursor = context.cursor
    yield context.calls.start(name)
    yield from cursor.skip_space()
    if cursor.is_at_end:
        raise Unfinished
    if not (yield from cursor.starts_with("{")):
        raise Malformed("the arguments are no object")
    yield from stream_arguments(context)
    yield context.calls.finish()
    context.done()
    yield from cursor.skip_space()
    yield from cursor.take_any(_CALL_ENDS)


def _body(
    cursor: Cursor, event: type[AnswerDelta] | type[ThoughtDelta] | None
) -> Generator[OutputEvent | None, None, None]:
    """The message's text up to its end or the next message; without `event` it is left out."""
    while True:
        ends = [(at, end) for end in _ENDS if (at := cursor.text.find(end, cursor.position)) >= 0]
        stop = min(ends)[0] if ends else len(cursor.text)
        safe = stop if ends else stop - held_back(cursor.text, cursor.position, _ENDS)
        if cursor.has_ended:
            safe = stop
        if safe > cursor.position:
            piece = cursor.text[cursor.position : safe]
            cursor.position = safe
            if event is not None:
                yield event(text=piece)
        if ends:
            end = min(ends)[1]
            if not end.startswith(_START):
                cursor.position += len(end)
            return
        if cursor.has_ended:
            return
        yield None
