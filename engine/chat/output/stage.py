"""The output stage: raw pieces of a model's text in, typed events out.

The same text gives the same events under any chunking, but for where deltas are cut. Nothing that
a model writes makes it fail: what looks like a call and is none comes back as text.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from olmkit.engine.chat.conversation import Tool, ToolCall
from olmkit.engine.chat.output.calls import Calls
from olmkit.engine.chat.output.callsyntax import CallSyntax, Context
from olmkit.engine.chat.output.cursor import (
    Cursor,
    Malformed,
    Steps,
    Unfinished,
    Waiting,
    held_back,
)
from olmkit.engine.chat.output.deltas import (
    AnswerDelta,
    CallArguments,
    CallFinished,
    OutputEvent,
    ThoughtDelta,
)
from olmkit.engine.chat.output.formats import OutputFormat, ThoughtTags
from olmkit.engine.chat.output.syntaxes.harmony import read_harmony


class OutputStage:
    """Takes one answer apart."""

    def __init__(
        self,
        output_format: OutputFormat,
        *,
        tools: Sequence[Tool] = (),
        prompt: str = "",
        parses_calls: bool = True,
    ) -> None:
        """`prompt` tells what the prompt has already opened; only its end matters.

        `tools`: what the request offers. Without `parses_calls` calls are text, as befits a
        request that offers no tools.
        """
        self._format = output_format
        self._cursor = Cursor()
        self._context = Context(
            cursor=self._cursor, calls=Calls(tools, new_id=output_format.new_id)
        )
        self._syntaxes = output_format.calls if parses_calls else ()
        self._thought = output_format.open_thought(prompt)
        self._openers = self._marks()
        self._pattern = (
            re.compile("|".join(map(re.escape, self._openers))) if self._openers else None
        )
        self._initials = frozenset(opener[0] for opener in self._openers)
        """Where none of these letters is, no opener begins."""
        self._first_openers = tuple(
            opener for syntax in self._syntaxes for opener in syntax.first_openers
        )
        self._first_tags = tuple(t.open for t in output_format.thoughts if not t.anywhere)
        self._is_fresh = True
        """No text has come since the beginning, the last thought or the last call."""
        self._space = ""
        """White space that belongs to the answer only if text follows."""
        self._has_text = False
        self._passes_text = False
        """All that came is told, and text of the answer goes on."""
        self._is_cut = False
        if output_format.prompt_end and prompt.rstrip().endswith(output_format.prompt_end):
            self._cursor.append(output_format.prompt_end)
        self._steps = self._run()

    def feed(self, piece: str) -> list[OutputEvent]:
        """The events that a further piece of the model's text completes."""
        if self._passes_text and self._initials.isdisjoint(piece):
            return self._say(piece)  # most of what models write: there is nothing to parse
        self._cursor.append(piece)
        return self._advance()

    def finish(self, *, is_cut: bool = False) -> list[OutputEvent]:
        """The last events; `is_cut`: a limit ended the text, not the model."""
        self._is_cut = is_cut
        self._cursor.has_ended = True
        return self._advance()

    def _advance(self) -> list[OutputEvent]:
        events: list[OutputEvent] = []
        for event in self._steps:
            if event is None:
                break
            if events and (joined := _joined(events[-1], event)) is not None:
                events[-1] = joined
            else:
                events.append(event)
        return events

    def _marks(self) -> tuple[str, ...]:
        """Texts that count wherever they stand, the longer first."""
        marks = {tags.open for tags in self._format.thoughts if tags.anywhere}
        marks.update(self._format.dropped)
        marks.update(opener for syntax in self._syntaxes for opener in syntax.openers)
        return tuple(sorted(marks, key=len, reverse=True))

    def _run(self) -> Steps[None]:
        if self._format.is_harmony:
            yield from read_harmony(self._context, self._fail)
            return
        if self._thought is not None:
            yield from self._think(self._thought)
        while opener := (yield from self._text()):
            self._context.done()
            tags = next((t for t in self._format.thoughts if t.open == opener), None)
            if tags is not None:
                self._cursor.position += len(opener)
                yield from self._think(tags)
            elif opener in self._format.dropped:
                self._cursor.position += len(opener)
            else:
                yield from self._call(opener)
        if self._space and (self._has_text or not self._context.calls.count):
            yield AnswerDelta(text=self._space)

    # --- text -----------------------------------------------------------------------------------

    def _text(self) -> Steps[str]:
        """Passes text on up to the next opener, which is returned; empty at the end."""
        cursor = self._cursor
        while True:
            cursor.forget()
            if self._is_fresh:
                yield from self._leading_space()
                if opener := (yield from self._first_opener()):
                    return opener
            if cursor.is_at_end:
                return ""
            match = self._pattern.search(cursor.text) if self._pattern else None
            if match is not None and (yield from self._may_grow(match)):
                continue
            end = match.start() if match else len(cursor.text)
            may_begin = match is None and not self._initials.isdisjoint(cursor.text)
            if may_begin and not cursor.has_ended:
                end -= held_back(cursor.text, 0, self._openers)
            yield from self._say(cursor.text[:end])
            cursor.position = end
            if match is not None:
                return match[0]
            if end == len(cursor.text) and cursor.has_ended:
                return ""
            if end == 0 or not cursor.has_ended:
                self._passes_text = end == len(cursor.text) and not self._is_fresh
                yield None
                self._passes_text = False

    def _may_grow(self, match: re.Match[str]) -> Waiting[bool]:
        """Waits where more text could make the opener a longer one; true when text came."""
        rest = self._cursor.text[match.start() :]
        if self._cursor.has_ended:
            return False
        if any(o != match[0] and len(o) > len(rest) and o.startswith(rest) for o in self._openers):
            yield None
            return True
        return False

    def _leading_space(self) -> Waiting[None]:
        cursor = self._cursor
        start = cursor.position
        yield from cursor.skip_space()
        self._space += cursor.text[start : cursor.position]
        cursor.forget()

    def _first_opener(self) -> Waiting[str]:
        for opener in (*self._first_tags, *self._first_openers):
            if (yield from self._cursor.starts_with(opener)):
                return opener
        return ""

    def _say(self, text: str) -> list[OutputEvent]:
        """Text of the answer; white space at its end waits for what follows."""
        body = text.rstrip()
        if not body:
            self._space += text
            return []
        said = AnswerDelta(text=self._space + body)
        self._space = text[len(body) :]
        self._has_text = True
        self._is_fresh = False
        return [said]

    # --- thoughts -------------------------------------------------------------------------------

    def _think(self, tags: ThoughtTags) -> Steps[None]:
        """A thought up to its closing tag, without the white space around it."""
        cursor, space, has_begun = self._cursor, "", False
        ends = re.compile("|".join(map(re.escape, (tags.close, *tags.before))))
        while True:
            cursor.forget()
            found = ends.search(cursor.text)
            end = found.start() if found else len(cursor.text)
            if found is None and not cursor.has_ended:
                end -= held_back(cursor.text, 0, (tags.close, *tags.before))
            body = cursor.text[:end].rstrip()
            if body:
                piece = space + body
                yield ThoughtDelta(text=piece if has_begun else piece.lstrip())
                has_begun = True
                space = cursor.text[len(body) : end]
            else:
                space += cursor.text[:end]
            cursor.position = end
            if found is not None:
                cursor.position += len(tags.close) if found[0] == tags.close else 0
                self._space, self._is_fresh = "", True
                yield from self._drop_space()
                return
            if cursor.has_ended:
                if has_begun and space:
                    yield ThoughtDelta(text=space)
                return
            yield None

    def _drop_space(self) -> Waiting[None]:
        yield from self._cursor.skip_space()

    # --- calls ----------------------------------------------------------------------------------

    def _call(self, opener: str) -> Steps[None]:
        """The calls that an opener begins; text where it begins none."""
        context, cursor = self._context, self._cursor
        start, failure = cursor.position, Malformed()
        is_first = opener in self._first_openers and opener not in self._openers
        for syntax in self._candidates(opener):
            cursor.position, has_begun = start, False
            try:
                for event in syntax.parse(context):
                    if event is not None and not has_begun:
                        has_begun = True
                        yield from self._before_call()
                    yield event
            except Malformed as error:
                failure = error
            else:
                yield from self._before_call()
                return
            if has_begun:
                break
        if context.parsed_to == start and not isinstance(failure, Unfinished):
            cursor.position = max(cursor.position, start + len(opener))
        is_text = is_first and not context.calls.is_open
        yield from self._fail(isinstance(failure, Unfinished), is_text=is_text)

    def _candidates(self, opener: str) -> Iterator[CallSyntax]:
        for syntax in self._syntaxes:
            if opener in syntax.openers or opener in syntax.first_openers:
                yield syntax

    def _before_call(self) -> Iterator[OutputEvent]:
        """White space that stood before a call: text in some families, nothing in others."""
        if self._space and self._has_text and not self._format.trims_text and not self._is_fresh:
            yield AnswerDelta(text=self._space)
        self._space, self._is_fresh = "", True

    def _fail(self, is_unfinished: bool, *, is_text: bool = False) -> Steps[None]:
        """What was read since the last whole thing is no call: it is text, or cut off."""
        context, cursor = self._context, self._cursor
        if is_unfinished:
            cursor.position = len(cursor.text)
        raw = cursor.text[context.parsed_to : cursor.position]
        is_cut = is_unfinished and self._is_cut and not is_text
        yield from context.calls.give_up(raw, is_cut=is_cut)
        if is_cut:
            self._space = ""
        else:
            yield from self._say(raw)
        context.done()
        cursor.forget()


def _joined(before: OutputEvent, event: OutputEvent) -> OutputEvent | None:
    """Two neighbouring deltas as one; None when they are not of a kind."""
    if isinstance(before, AnswerDelta) and isinstance(event, AnswerDelta):
        return AnswerDelta(text=before.text + event.text)
    if isinstance(before, ThoughtDelta) and isinstance(event, ThoughtDelta):
        return ThoughtDelta(text=before.text + event.text)
    if isinstance(before, CallArguments) and isinstance(event, CallArguments):
        return CallArguments(index=event.index, text=before.text + event.text)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A whole answer taken apart."""

    text: str
    thinking: str
    calls: tuple[ToolCall, ...]


def collect(events: Sequence[OutputEvent]) -> Parsed:
    """What the events of one answer add up to."""
    return Parsed(
        text="".join(event.text for event in events if isinstance(event, AnswerDelta)),
        thinking="".join(event.text for event in events if isinstance(event, ThoughtDelta)),
        calls=tuple(event.call for event in events if isinstance(event, CallFinished)),
    )
