"""Draws the events of a pull, a create or an import on stderr.

On a terminal: one line a status, with a spinner while it lasts, and one bar a blob, redrawn
in place. Elsewhere: plain lines, one a change; where asked for, JSON. The pictures follow
Ollama's: https://github.com/ollama/ollama/blob/v0.17.4/progress/bar.go
"""

import enum
import json
import threading
import time
from collections import OrderedDict
from datetime import timedelta
from types import TracebackType
from typing import Annotated, Final

from typer import Option

from olmkit.cli.screen.output import character_width, display_width
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.cli.screen.units import eta_text, size_text
from olmkit.engine.client.replies import Progress, Wait

FRAME_S: Final = 0.1
GLYPHS: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_NARROW_TEXT: Final = 12
"""Columns that the text of a line needs at least where there is no room for a bar."""
PATIENCE_S: Final = 0.5
"""What takes no longer is not worth a word."""
_WAITS: Final = {"load": "loading the model", "prompt": "reading the prompt"}
RATE_SAMPLES: Final = 10
"""Number of samples, one a second, over which the rate is taken."""


class Spinner:
    """A status line, turning until something else begins."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.done = False

    def line(self, columns: int, now_s: float) -> str:
        """The line as it is now."""
        glyph = "" if self.done else GLYPHS[int(now_s / FRAME_S) % len(GLYPHS)]
        return _cut(f"{self.text} {glyph}".lstrip(), columns)

    def finish(self) -> None:
        """Stops turning."""
        self.done = True


class PatientSpinner(Spinner):
    """A spinner that says what is waited for once it has turned for a while."""

    def __init__(self, began_s: float) -> None:
        super().__init__("")
        self._began_s = began_s

    def tell(self, wait: Wait) -> None:
        """Notes what is waited for, and how far it is."""
        what = _WAITS.get(wait.phase)
        self.text = f"{what} {int(100 * wait.fraction)}%" if what else ""
        if wait.position is not None:
            self.text = f"number {wait.position} in the queue"

    def line(self, columns: int, now_s: float) -> str:
        """The line as it is now."""
        is_long = now_s - self._began_s >= PATIENCE_S
        glyph = GLYPHS[int(now_s / FRAME_S) % len(GLYPHS)]
        return _cut(f"{self.text} {glyph}".lstrip(), columns) if is_long else glyph


class Bar:
    """A line for something whose size is known."""

    def __init__(self, text: str, total_bytes: int, now_s: float) -> None:
        self.text = text
        self.total_bytes = total_bytes
        self.completed_bytes = 0
        self._samples: list[tuple[float, int]] = []
        self._started_s = now_s

    @property
    def done(self) -> bool:
        """Whether all is there."""
        return self.completed_bytes >= self.total_bytes

    def finish(self) -> None:
        """Bars end by being full."""

    def advance(self, completed_bytes: int, now_s: float) -> None:
        """Notes how much is there; it never becomes less."""
        if not self._samples:
            self._samples.append((now_s, completed_bytes))
        self.completed_bytes = min(max(self.completed_bytes, completed_bytes), self.total_bytes)
        if now_s - self._samples[-1][0] >= 1:
            self._samples = [*self._samples[1 - RATE_SAMPLES :], (now_s, self.completed_bytes)]

    def rate(self, now_s: float) -> float:
        """Bytes per second lately; 0 while unknown."""
        if not self._samples:
            return 0.0
        first_s, first_bytes = self._samples[0]
        span_s = max(now_s - first_s, 1e-3)
        return (self.completed_bytes - first_bytes) / span_s if span_s >= FRAME_S else 0.0

    def line(self, columns: int, now_s: float) -> str:
        """The line as it is now."""
        percent = 100 * self.completed_bytes // self.total_bytes if self.total_bytes else 100
        prefix = f"{self.text} {percent:3d}%"
        suffix = self._suffix(now_s)
        room = columns - display_width(prefix) - display_width(suffix) - 5
        if room < 4:
            return self._narrow(percent, columns, now_s)
        filled = room * percent // 100
        return f"{prefix} ▕{'█' * filled}{' ' * (room - filled)}▏ {suffix}"

    def _narrow(self, percent: int, columns: int, now_s: float) -> str:
        """What there is room for without a bar: the percentage first, then the time left."""
        end = f" {percent:3d}%"
        left = "" if self.done else self._time_left(now_s)
        if left and columns - len(end) - len(left) >= _NARROW_TEXT:
            end += left
        return _cut(_cut(self.text, max(columns - len(end), 0)) + end, columns)

    def _suffix(self, now_s: float) -> str:
        total = size_text(self.total_bytes)
        if self.done:
            return f"{total:>6}{'':25}"
        rate = self.rate(now_s)
        speed = f"  {size_text(int(rate)):>6}/s" if rate > 0 else " " * 10
        eta = self._time_left(now_s) or " " * 8
        return f"{size_text(self.completed_bytes):>6}/{total:>6}{speed}{eta}"

    def _time_left(self, now_s: float) -> str:
        """How long it will take yet; empty while nobody knows."""
        rate = self.rate(now_s)
        if rate <= 0:
            return ""
        left_s = (self.total_bytes - self.completed_bytes) / rate
        return f"  {eta_text(timedelta(seconds=min(left_s, 4e5))):>6}"


def _cut(text: str, columns: int) -> str:
    """The text, or as much of it as fits before an ellipsis."""
    if display_width(text) <= columns:
        return text
    room, width = max(columns - 1, 0), 0
    for index, character in enumerate(text):
        width += character_width(character)
        if width > room:
            return text[:index] + "…"[:columns]
    return text


def label(event: Progress) -> str:
    """The label of a bar: the status, ending in a colon."""
    return f"{visible(event.status)}:"


class ProgressDisplay:
    """A context in which events are shown; use `progress_display` to get the right kind."""

    def __enter__(self) -> "ProgressDisplay":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def show(self, event: Progress) -> None:
        """Shows one event."""

    def close(self) -> None:
        """Draws the last state; nothing is shown afterwards."""


class PlainDisplay(ProgressDisplay):
    """A line where a status begins, and one at each quarter of what has a size."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._quarters: dict[str, int] = {}
        self._last = ""

    def show(self, event: Progress) -> None:
        """Shows one event."""
        if event.total_bytes is None:
            if event.status != self._last:
                self._terminal.message(f"{event.status}\n")
            self._last = event.status
            return
        completed_bytes = min(event.completed_bytes or 0, event.total_bytes)
        quarter = 4 * completed_bytes // event.total_bytes if event.total_bytes else 4
        key = event.digest + event.status
        if quarter > self._quarters.get(key, -1):
            self._quarters[key] = quarter
            total = size_text(event.total_bytes)
            self._terminal.message(f"{event.status}: {quarter * 25}% of {total}\n")


class JsonDisplay(ProgressDisplay):
    """A line of JSON an event, with the members that the API's lines have."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def show(self, event: Progress) -> None:
        """Shows one event."""
        members = {
            "status": event.status,
            "digest": event.digest or None,
            "total": event.total_bytes,
            "completed": event.completed_bytes,
        }
        told = {name: value for name, value in members.items() if value is not None}
        self._terminal.message(json.dumps(told, ensure_ascii=False) + "\n")


class LiveDisplay(ProgressDisplay):
    """Lines redrawn in place ten times a second by a thread of its own."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._lines: OrderedDict[str, Spinner | Bar] = OrderedDict()
        self._drawn = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._turn, daemon=True)
        self._thread.start()

    def show(self, event: Progress) -> None:
        """Shows one event."""
        now_s = time.monotonic()
        with self._lock:
            if event.total_bytes is not None:
                key = event.digest + event.status
                bar = self._lines.get(key)
                if not isinstance(bar, Bar):
                    if not event.completed_bytes:
                        return  # a bar at 0 % tells nothing yet
                    bar = Bar(label(event), event.total_bytes, now_s)
                    self._begin(key, bar)
                bar.advance(event.completed_bytes or 0, now_s)
            elif event.status and event.status != next(reversed(self._lines), None):
                self._lines.pop(event.status, None)
                self._begin(event.status, Spinner(visible(event.status)))

    def add(self, key: str, line: Spinner | Bar) -> None:
        """Shows a line that its owner changes."""
        with self._lock:
            self._begin(key, line)

    def _begin(self, key: str, line: Spinner | Bar) -> None:
        for earlier in self._lines.values():
            earlier.finish()
        self._lines[key] = line

    def _turn(self) -> None:
        while not self._ended.wait(FRAME_S):
            self._draw()

    def _draw(self) -> None:
        columns, rows = self._terminal.size
        now_s = time.monotonic()
        with self._lock:
            # The last column stays free, or the cursor would wrap.
            lines = [line.line(columns - 1, now_s) for line in self._lines.values()][-rows:]
            back = f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else ""
            body = "\n".join(f"{line}\x1b[K" for line in lines)
            self._drawn = len(lines)
        if lines:
            self._terminal.draw(f"\x1b[?2026h\x1b[?25l{back}\x1b[1G{body}\x1b[?25h\x1b[?2026l")

    def close(self) -> None:
        """Draws the last state and leaves it there."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        for line in self._lines.values():
            line.finish()
        self._draw()
        if self._drawn:
            self._terminal.draw("\n")

    def clear(self) -> None:
        """Takes away what was drawn; nothing is shown afterwards."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        up = f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else ""
        if self._drawn:
            self._terminal.draw(f"{up}\x1b[1G\x1b[J")


class ProgressStyle(enum.StrEnum):
    """How progress is shown."""

    AUTO = "auto"
    """Live on a terminal, plain elsewhere."""
    PLAIN = "plain"
    JSON = "json"


ProgressOption = Annotated[
    ProgressStyle,
    Option("--progress", help="How to show progress; `json` is a line an event, on stderr."),
]


def progress_display(
    terminal: Terminal, *, quiet: bool = False, style: ProgressStyle = ProgressStyle.AUTO
) -> ProgressDisplay:
    """The display of that style."""
    if quiet:
        return ProgressDisplay()
    if style is ProgressStyle.JSON:
        return JsonDisplay(terminal)
    if style is ProgressStyle.AUTO and terminal.shows_messages:
        return LiveDisplay(terminal)
    return PlainDisplay(terminal)


class Waiting:
    """A spinner on a terminal's stderr while nothing has come yet; else nothing."""

    def __init__(self, terminal: Terminal, text: str = "") -> None:
        """`text`: shown from the beginning on; see `tell` for what is told later."""
        self._display: LiveDisplay | None = None
        self._patient = PatientSpinner(time.monotonic())
        if terminal.shows_messages:
            self._display = LiveDisplay(terminal)
            self._display.add(" ", Spinner(text) if text else self._patient)

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    @property
    def is_shown(self) -> bool:
        """Whether there is somebody to tell what is waited for."""
        return self._display is not None

    def tell(self, wait: Wait | None) -> None:
        """Says what is waited for and how far it is, once the wait is a long one; None: nothing
        is known of it."""
        if wait is not None:
            self._patient.tell(wait)

    def end(self) -> None:
        """Takes the spinner away; may be called again."""
        if self._display is not None:
            self._display.clear()
