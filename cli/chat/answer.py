"""The display of an answer as it arrives: wrapped, with grey thoughts, on a terminal; bare
elsewhere.

When stdout is no terminal it carries the answer's own bytes and one newline at the end if the
answer has none; what the model thinks goes to stderr then.
"""

import os
from typing import TYPE_CHECKING

from olmkit.cli.screen.progress import Waiting
from olmkit.cli.screen.terminal import BOLD, GREY, RESET, Terminal, visible
from olmkit.cli.screen.units import duration_text
from olmkit.cli.screen.wordwrap import WordWrap
from olmkit.engine.client.replies import Chunk, Dropped, Timings

if TYPE_CHECKING:
    from olmkit.cli.chat.markdownstream import MarkdownStream


class AnswerView:
    """One answer on one terminal; a context in which a spinner turns until it begins."""

    def __init__(
        self,
        terminal: Terminal,
        *,
        wraps: bool = True,
        hides_thinking: bool = False,
        draws_markdown: bool = False,
    ) -> None:
        """`draws_markdown`: of an answer's text, on a terminal that knows how to."""
        self._terminal = terminal
        self._wraps = wraps
        self._hides_thinking = hides_thinking
        self._wrap = WordWrap()
        self._waiting = Waiting(terminal)
        self._markdown = _markdown_for(terminal) if draws_markdown else None
        self._is_thinking = False
        self._at_line_start = True
        self.text = ""
        """The answer so far, without thoughts."""
        self.thinking = ""

    def __enter__(self) -> "AnswerView":
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._waiting.end()
        if kind is BrokenPipeError:
            return
        if self._is_thinking:
            self._end_thinking()
        if self._markdown is not None:
            self._terminal.paint(self._markdown.end())
            self._at_line_start = True
        if self._terminal.shows_data:
            # A cut answer ends its line; a whole one is set off by an empty line.
            if not self._at_line_start:
                self._terminal.data("\n")
            if kind is None and self.text:
                self._terminal.data("\n")
        elif self.text and not self.text.endswith("\n"):
            self._terminal.data("\n")

    def show(self, chunk: Chunk) -> None:
        """Shows a piece of the answer, or what it waits for."""
        self._waiting.tell(chunk.waits_for)
        if chunk.thinking:
            self.thinking += chunk.thinking
            if not self._hides_thinking:
                self._show_thinking(chunk.thinking)
        if chunk.text:
            if self._is_thinking:
                self._end_thinking()
            self.text += chunk.text
            if self._markdown is not None:
                self._draw(self._markdown.feed(visible(chunk.text)))
            else:
                self._waiting.end()
                self._write(chunk.text)
        for call in chunk.tool_calls:
            self._waiting.end()
            name, arguments = call.get("name"), call.get("arguments")
            self._terminal.message(f"the model called {name}({arguments}), which nobody offers\n")

    def _draw(self, text: str) -> None:
        """Draws what came of Markdown; the spinner turns on while the next block is made."""
        if text:
            self._waiting.end()
            self._terminal.paint(text)
            self._waiting = Waiting(self._terminal)

    def _show_thinking(self, text: str) -> None:
        self._waiting.end()
        if not self._is_thinking:
            self._is_thinking = True
            self._mark("Thinking...\n")
        if self._terminal.has_colour:
            self._terminal.paint(GREY)
        if self._terminal.shows_data:
            self._write(text)
        else:
            self._terminal.message(text)
            self._at_line_start = text.endswith("\n")
        if self._terminal.has_colour:
            self._terminal.paint(RESET)

    def _end_thinking(self) -> None:
        self._is_thinking = False
        self._mark(("" if self._at_line_start else "\n") + "...done thinking.\n\n")

    def _mark(self, text: str) -> None:
        if self._terminal.has_colour:
            self._terminal.paint(f"{GREY}{BOLD}{text}{RESET}")
        elif self._terminal.shows_data:
            self._terminal.data(text)
        else:
            self._terminal.message(text)
        self._wrap, self._at_line_start = WordWrap(), True

    def _write(self, text: str) -> None:
        self._at_line_start = text.endswith("\n")
        if self._terminal.shows_data:
            text = visible(text)
            if self._wraps:
                text = self._wrap.feed(text, self._terminal.size[0])
        self._terminal.paint(text)


def _markdown_for(terminal: Terminal) -> "MarkdownStream | None":
    """What draws Markdown on the terminal; None: it cannot, or is a pipe or file."""
    if not terminal.shows_data or os.environ.get("TERM") == "dumb":
        return None
    from olmkit.cli.chat.markdownstream import MarkdownStream

    return MarkdownStream(terminal.size[0], has_colour=terminal.has_colour)


def dropped_text(dropped: Dropped) -> str:
    """One line on what did not fit the context, with its line end; empty when all did."""
    messages, tokens, shifted = dropped
    parts = [
        f"{messages} earlier messages were left out" if messages else "",
        f"{tokens} tokens were cut out of the middle of the prompt" if tokens else "",
        f"{shifted} tokens were forgotten to go on" if shifted else "",
    ]
    said = ", ".join(part for part in parts if part)
    return f"the context is full: {said} (num_ctx sets its length)\n" if said else ""


def timings_text(timings: Timings) -> str:
    """The timings as `--verbose` shows them; what is zero is left out."""
    rows = [
        ("total duration", _duration(timings.total_ns)),
        ("load duration", _duration(timings.load_ns)),
        ("prompt eval count", _tokens(timings.prompt_tokens)),
        ("prompt eval duration", _duration(timings.prompt_ns)),
        ("prompt eval rate", _rate(timings.prompt_tokens, timings.prompt_ns)),
        ("eval count", _tokens(timings.completion_tokens)),
        ("eval duration", _duration(timings.completion_ns)),
        ("eval rate", _rate(timings.completion_tokens, timings.completion_ns)),
        ("schema ignored", visible(timings.schema_ignored)),
    ]
    return "".join(f"{name + ':':<22}{value}\n" for name, value in rows if value)


def _duration(nanoseconds: int) -> str:
    return duration_text(nanoseconds) if nanoseconds else ""


def _tokens(count: int) -> str:
    return f"{count} token(s)" if count else ""


def _rate(tokens: int, nanoseconds: int) -> str:
    return f"{tokens / nanoseconds * 1e9:.2f} tokens/s" if tokens and nanoseconds else ""
