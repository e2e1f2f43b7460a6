"""How an answer looks on a terminal, and what goes where without one."""

import contextlib
import io
import os
import pty
from collections.abc import Iterator
from contextlib import contextmanager

import pyte
import pytest

from olmkit.cli.chat.answer import AnswerView, timings_text
from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.client.replies import Chunk, Timings, chunk


def piece(text: str = "", thinking: str = "") -> Chunk:
    return chunk({"message": {"content": text, "thinking": thinking}, "done": False})


class Piped:
    """A terminal that is none: both outputs are caught."""

    def __init__(self) -> None:
        self.raw_out, self.raw_err = io.BytesIO(), io.BytesIO()
        self.terminal = Terminal(
            stdout=io.TextIOWrapper(self.raw_out, encoding="ascii"),
            stderr=io.TextIOWrapper(self.raw_err, encoding="utf-8"),
        )


@contextmanager
def on_pty() -> Iterator[tuple[Terminal, pyte.Screen]]:
    """A terminal whose stdout is a real one, read into a screen at the end."""
    master, slave = pty.openpty()
    screen = pyte.Screen(40, 12)
    with open(slave, "w", encoding="utf-8") as stdout, io.StringIO() as stderr:
        yield Terminal(stdout=stdout, stderr=stderr), screen
    stream = pyte.ByteStream(screen)
    with contextlib.suppress(OSError):  # the other end is closed
        while data := os.read(master, 65536):
            stream.feed(data)
    os.close(master)


def shown(screen: pyte.Screen) -> list[str]:
    lines = [line.rstrip() for line in screen.display]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def test_a_pipe_gets_the_answer_and_stderr_the_thoughts() -> None:
    piped = Piped()
    with AnswerView(piped.terminal) as view:
        view.show(piece(thinking="hm"))
        view.show(piece("Grüße"))
        view.show(piece(" an alle"))
    assert piped.raw_out.getvalue() == "Grüße an alle\n".encode()
    assert piped.raw_err.getvalue() == b"Thinking...\nhm\n...done thinking.\n\n"
    assert (view.text, view.thinking) == ("Grüße an alle", "hm")


@pytest.mark.parametrize(("text", "written"), [("a\n", b"a\n"), ("a", b"a\n"), ("", b"")])
def test_a_pipe_gets_one_newline_at_the_end_where_there_is_none(text: str, written: bytes) -> None:
    piped = Piped()
    with AnswerView(piped.terminal) as view:
        view.show(piece(text))
    assert piped.raw_out.getvalue() == written


def test_a_pipe_gets_control_characters_as_they_are() -> None:
    piped = Piped()
    with AnswerView(piped.terminal) as view:
        view.show(piece("\x1b[1mbold\r\n"))
    assert piped.raw_out.getvalue() == b"\x1b[1mbold\r\n"


def test_hidden_thoughts_are_nowhere_but_in_memory() -> None:
    piped = Piped()
    with AnswerView(piped.terminal, hides_thinking=True) as view:
        view.show(piece(thinking="hm"))
        view.show(piece("a"))
    assert piped.raw_err.getvalue() == b""
    assert view.thinking == "hm"


def test_a_terminal_shows_thoughts_in_grey_and_an_empty_line_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    with on_pty() as (terminal, screen):
        with AnswerView(terminal) as view:
            view.show(piece(thinking="hm"))
            view.show(piece("The answer"))
        terminal.data("$")
    assert shown(screen) == ["Thinking...", "hm", "...done thinking.", "", "The answer", "", "$"]
    assert screen.buffer[1][0].fg == "8a8a8a"
    assert screen.buffer[4][0].fg == "default"


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with on_pty() as (terminal, screen), AnswerView(terminal) as view:
        view.show(piece(thinking="hm"))
    assert screen.buffer[1][0].fg == "default"


def test_a_terminal_is_spared_control_characters() -> None:
    with on_pty() as (terminal, screen), AnswerView(terminal) as view:
        view.show(piece("a\x1b[2Jb\x07c"))
    assert shown(screen) == ["a�[2Jb�c"]


def test_a_cut_answer_ends_its_line_on_a_terminal() -> None:
    with on_pty() as (terminal, screen):
        with pytest.raises(KeyboardInterrupt), AnswerView(terminal) as view:
            view.show(piece("half an ans"))
            raise KeyboardInterrupt
        terminal.data("$")
    assert shown(screen) == ["half an ans", "$"]


def test_timings_are_aligned_and_zeros_left_out() -> None:
    timings = Timings(
        total_ns=4_200_000_000,
        load_ns=12_300_000,
        prompt_tokens=26,
        prompt_ns=130_200_000,
        completion_tokens=298,
        completion_ns=4_010_000_000,
    )
    assert timings_text(timings) == (
        "total duration:       4.2s\n"
        "load duration:        12.3ms\n"
        "prompt eval count:    26 token(s)\n"
        "prompt eval duration: 130.2ms\n"
        "prompt eval rate:     199.69 tokens/s\n"
        "eval count:           298 token(s)\n"
        "eval duration:        4.01s\n"
        "eval rate:            74.31 tokens/s\n"
    )
    assert timings_text(Timings(total_ns=10**9)) == "total duration:       1s\n"
