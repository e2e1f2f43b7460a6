"""A chat on a terminal: reads lines, and gives each to the model or to a command.

Ctrl-C ends an answer, not the chat: what was said so far stays part of it. A failed answer is
told and its question forgotten; only a daemon that cannot be reached again ends the chat.
"""

import contextlib
from collections.abc import Iterator

from olmkit.cli.chat.lineeditor import unquoted
from olmkit.cli.chat.media import extract_files
from olmkit.cli.chat.session import Chat
from olmkit.cli.chat.slash import obey
from olmkit.cli.chat.slashwords import following
from olmkit.cli.errors import CliError
from olmkit.cli.screen.report import tell
from olmkit.engine.errors import AddressInUse, DaemonError, DaemonNotRunning, DaemonStartFailed

GONE = (DaemonNotRunning, DaemonStartFailed, AddressInUse)


def run(chat: Chat) -> None:
    """Reads and answers until the user leaves.

    Raises:
        DaemonError: the daemon is gone for good.
    """
    chat.show_stored()
    chat.editor.complete_with(lambda text: following(chat, text))
    while True:
        try:
            line = chat.editor.read()
        except KeyboardInterrupt:
            chat.say("\nUse Ctrl + d or /bye to exit.")
            continue
        except EOFError:
            return
        text = line.strip()
        if not text:
            continue
        with _surviving(chat):
            if text.startswith("/") and not _names_file(chat, text):
                if not obey(chat, text):
                    return
            else:
                chat.ask(unquoted(line))
            chat.keep()


@contextlib.contextmanager
def _surviving(chat: Chat) -> Iterator[None]:
    """Tells errors that the chat survives."""
    try:
        yield
    except GONE:
        raise
    except (DaemonError, CliError) as error:
        tell(error, chat.terminal)
    except KeyboardInterrupt:
        chat.say("")


def _names_file(chat: Chat, text: str) -> bool:
    """Whether a line that begins with `/` is a prompt about a file."""
    if not chat.details.is_multimodal:
        return False
    _, attachments = extract_files(text)
    return any(text.startswith(attachment.path) for attachment in attachments)
