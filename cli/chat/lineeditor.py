"""The prompt of a chat: editing, history, pasting, several lines, an external editor.

Enter sends; Ctrl-J, and Enter inside an open `\"\"\"`, begin another line; so does every line end
inside a paste. Imported only by chats: prompt-toolkit costs a tenth of a second.
"""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from prompt_toolkit import PromptSession
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import is_searching
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from olmkit.cli.screen.terminal import GREY, RESET, Terminal
from olmkit.engine.settings import Settings

QUOTES: Final = '"""'
Following = Callable[[str], list[str]]
"""The words that may stand in the place of the last one of a text."""
KEPT_ENTRIES: Final = 100
TRIM_ABOVE_BYTES: Final = 256 * 1024


def is_open(text: str) -> bool:
    """Whether the text begins a `\"\"\"` block and has not ended it."""
    start = text.removeprefix("/set system ").lstrip() if text.startswith("/set") else text.lstrip()
    if not start.startswith(QUOTES):
        return False
    return len(start) < 2 * len(QUOTES) or not start.rstrip().endswith(QUOTES)


def unquoted(text: str) -> str:
    """The inside of a `\"\"\"` block, without the line ends beside the quotes; else the text."""
    inner = text.strip()
    if inner.startswith(QUOTES) and inner.endswith(QUOTES) and len(inner) >= 2 * len(QUOTES):
        return inner[3:-3].removeprefix("\n").removesuffix("\n")
    return text


class ChatHistory(FileHistory):
    """Lines of earlier chats, in a file that only its owner reads."""

    def __init__(self, path: Path, *, saves: bool) -> None:
        self.saves = saves
        """Whether new lines go to the file; they can be recalled in this chat anyway."""
        super().__init__(str(path))
        self._trim(path)

    def store_string(self, string: str) -> None:
        """Appends an entry; where the file cannot be written it is lost, not the chat."""
        if not self.saves:
            return
        try:
            os.makedirs(os.path.dirname(self.filename), mode=0o700, exist_ok=True)
            descriptor = os.open(self.filename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with open(descriptor, "wb") as file:
                file.write(_entry(string).encode("utf-8", "replace"))
        except OSError:
            pass

    def _trim(self, path: Path) -> None:
        """Forgets all but the newest entries of a file that has grown large."""
        try:
            if path.stat().st_size <= TRIM_ABOVE_BYTES or not self.saves:
                return
            newest_first: Iterable[str] = self.load_history_strings()
            entries = [string for string, _ in zip(newest_first, range(KEPT_ENTRIES), strict=False)]
            replacement = path.with_suffix(".tmp")
            descriptor = os.open(replacement, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "wb") as file:
                file.write("".join(map(_entry, reversed(entries))).encode("utf-8", "replace"))
            replacement.replace(path)
        except OSError:
            pass


def _entry(string: str) -> str:
    """An entry in prompt-toolkit's form: each line behind a plus sign."""
    return "\n# chat\n" + "".join(f"+{line}\n" for line in string.split("\n"))


class _WordCompleter(Completer):
    """Offers whole words for the one before the cursor."""

    def __init__(self, following: Following) -> None:
        self._following = following

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """The words, in their order."""
        text = document.text_before_cursor
        begun = len(text) - text.rfind(" ") - 1
        return (Completion(word, start_position=-begun) for word in self._following(text))


class LineEditor:
    """Reads what the user wants to say."""

    def __init__(self, settings: Settings, terminal: Terminal) -> None:
        self._settings = settings
        self._terminal = terminal
        grey, reset = (GREY, RESET) if terminal.has_colour else ("", "")
        self.history = ChatHistory(settings.home / "history", saves=not settings.no_history)
        self._following: Following = lambda text: []
        self._session: PromptSession[str] = PromptSession(
            ">>> ",
            multiline=True,
            prompt_continuation=lambda width, number, is_soft_wrap: "" if is_soft_wrap else "... ",
            placeholder=ANSI(f"{grey}Send a message (/? for help){reset}"),
            history=self.history,
            key_bindings=self._bindings(),
            completer=_WordCompleter(self._words),
            complete_while_typing=False,
            enable_suspend=True,
            include_default_pygments_style=False,
        )

    def complete_with(self, following: Following) -> None:
        """From now on the tabulator offers those words, where there are any."""
        self._following = following

    def _words(self, text: str) -> list[str]:
        return self._following(text)

    def read(self) -> str:
        """The next message or command.

        Raises:
            KeyboardInterrupt: Ctrl-C; what was typed is dropped.
            EOFError: Ctrl-D on an empty line.
        """
        return self._session.prompt()

    def _bindings(self) -> KeyBindings:
        bindings = KeyBindings()

        @bindings.add("enter", filter=~is_searching)
        def _(event: KeyPressEvent) -> None:
            if is_open(event.current_buffer.text):
                event.current_buffer.insert_text("\n")
            else:
                event.current_buffer.validate_and_handle()

        @bindings.add("c-j", filter=~is_searching)
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @bindings.add("tab", filter=~is_searching)
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            if buffer.complete_state:
                buffer.complete_next()
            elif self._following(buffer.document.text_before_cursor):
                buffer.start_completion(insert_common_part=True)
            else:
                buffer.insert_text(" " * 8)

        @bindings.add("c-g")
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer

            def edit() -> None:
                text = self._edited(buffer.text)
                if text:
                    buffer.text = text
                    buffer.cursor_position = len(text)

            run_in_terminal(edit)

        return bindings

    def _edited(self, text: str) -> str:
        """The text after the user's editor had it, without line ends at its end."""
        environ = os.environ
        editor = self._settings.editor or environ.get("VISUAL") or environ.get("EDITOR") or "vi"
        with tempfile.TemporaryDirectory(prefix="olm-prompt-") as folder:
            path = Path(folder) / "prompt.txt"
            path.write_text(text, encoding="utf-8")
            try:
                subprocess.run([*shlex.split(editor), str(path)], check=False)
            except (OSError, ValueError):
                self._terminal.message(
                    f"error: editor {editor!r} not found, "
                    "set OLM_EDITOR to the path of your preferred editor\n"
                )
                return text
            return path.read_text(encoding="utf-8", errors="replace").rstrip("\r\n")
