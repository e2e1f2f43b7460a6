"""A chat with a model on a terminal: prompt, answer, and what is remembered between them.

Ctrl-C ends an answer, not the chat: what was said so far stays part of it. A failed answer is
told and its question forgotten; only a daemon that cannot be reached again ends the chat.
"""

import contextlib
import threading
from collections.abc import Iterator

from olmkit.cli.chat.answer import AnswerView, timings_text
from olmkit.cli.chat.asking import Asking
from olmkit.cli.errors import CliError
from olmkit.cli.screen.progress import Waiting
from olmkit.cli.screen.report import tell
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.engine.client import Client
from olmkit.engine.client.replies import Message, ModelDetails
from olmkit.engine.errors import AddressInUse, DaemonError, DaemonNotRunning, DaemonStartFailed
from olmkit.engine.settings import Settings

GONE = (DaemonNotRunning, DaemonStartFailed, AddressInUse)


def chat(
    client: Client,
    model: str,
    details: ModelDetails,
    asking: Asking,
    terminal: Terminal,
    settings: Settings,
) -> None:
    """Chats until the user leaves.

    Raises:
        DaemonError: the model cannot be loaded, or the daemon is gone for good.
    """
    with terminal.held_input():
        # Both take their time: the editor's imports, and the model's load.
        imports = threading.Thread(target=_import_editor)
        imports.start()
        load(client, model, asking, terminal)
        imports.join()
        Chat(client, model, details, asking, terminal, settings).run()


def _import_editor() -> None:
    import olmkit.cli.chat.slash  # noqa: F401  imports the line editor too


def load(client: Client, model: str, asking: Asking, terminal: Terminal) -> None:
    """Loads the model, with a spinner."""
    with Waiting(terminal):
        for _ in client.generate(asking.body(model)):
            pass


class Chat:
    """One chat."""

    def __init__(
        self,
        client: Client,
        model: str,
        details: ModelDetails,
        asking: Asking,
        terminal: Terminal,
        settings: Settings,
    ) -> None:
        from olmkit.cli.chat.lineeditor import LineEditor

        self.client = client
        self.model = model
        self.details = details
        self.asking = asking
        self.terminal = terminal
        self.system: str | None = None
        """The user's system message, in place of the model's."""
        self.turns: list[Message] = []
        """What was said here; the model's own messages come before it by themselves."""
        self.editor = LineEditor(settings, terminal)

    def run(self) -> None:
        """Reads and answers until the user leaves."""
        from olmkit.cli.chat.lineeditor import unquoted
        from olmkit.cli.chat.slash import obey

        self._show_stored()
        while True:
            try:
                line = self.editor.read()
            except KeyboardInterrupt:
                self.say("\nUse Ctrl + d or /bye to exit.")
                continue
            except EOFError:
                return
            text = line.strip()
            if not text:
                continue
            with self._surviving():
                if text.startswith("/") and not self._names_file(text):
                    if not obey(self, text):
                        return
                else:
                    self.ask(unquoted(line))

    def say(self, text: str) -> None:
        """A line on stdout."""
        self.terminal.data(visible(text) + "\n")

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        """Tells errors that the chat survives."""
        try:
            yield
        except GONE:
            raise
        except (DaemonError, CliError) as error:
            tell(error, self.terminal)
        except KeyboardInterrupt:
            self.say("")

    def _names_file(self, text: str) -> bool:
        """Whether a line that begins with `/` is a prompt about a file."""
        if not self.details.is_multimodal:
            return False
        from olmkit.cli.chat.media import extract_files

        _, attachments = extract_files(text)
        return any(text.startswith(attachment.path) for attachment in attachments)

    def _show_stored(self) -> None:
        for message in self.details.messages:
            if message.role == "user":
                self.say(f">>> {message.content}")
            elif message.role == "assistant":
                self.say(f"{message.content}\n")

    def ask(self, text: str) -> None:
        """Sends the text, shows the answer, remembers both."""
        images: tuple[str, ...] = ()
        if self.details.is_multimodal:
            from olmkit.cli.chat.media import extract_files

            text, attachments = extract_files(text)
            for attachment in attachments:
                self.terminal.message(f"Added {attachment.kind} '{attachment.path}'\n")
            images = tuple(attachment.data for attachment in attachments)
        question = Message(role="user", content=text, images=images)
        view = AnswerView(
            self.terminal, wraps=self.asking.wraps, hides_thinking=self.asking.hides_thinking
        )
        timings = None
        try:
            with view, contextlib.closing(self.client.chat(self._body(question))) as answer:
                for chunk in answer:
                    view.show(chunk)
                    timings = chunk.timings or timings
        except KeyboardInterrupt:
            # Templates want turns to alternate: a question stays only with an answer.
            if view.text:
                self._remember(question, view)
            return
        self._remember(question, view)
        if self.asking.verbose and timings is not None:
            self.terminal.message(timings_text(timings) + "\n")

    def _remember(self, question: Message, view: AnswerView) -> None:
        answer = Message(role="assistant", content=view.text, thinking=view.thinking)
        self.turns += [question, answer]

    def _body(self, question: Message) -> dict[str, object]:
        system = [] if self.system is None else [Message(role="system", content=self.system)]
        messages = [message.as_request() for message in (*system, *self.turns, question)]
        return {**self.asking.body(self.model), "messages": messages}

    def clear(self) -> None:
        """Forgets what was said; the system message stays."""
        self.turns.clear()

    def overlaid(self) -> ModelDetails:
        """The model's details with this chat's system message and parameters in its Modelfile."""
        overlay: dict[str, object] = {"options": self.asking.options}
        if self.system is not None:
            overlay["system"] = self.system
        return self.client.show(self.model, overlay=overlay)

    def switch(self, model: str, details: ModelDetails) -> None:
        """Goes on with another model, and nothing said yet."""
        load(self.client, model, self.asking, self.terminal)
        self.model, self.details = model, details
        self.system = None
        self.turns.clear()
        self._show_stored()

    def save(self, name: str) -> None:
        """Makes a model of this chat: its parameters, system message and turns."""
        body: dict[str, object] = {"model": name, "parameters": self.asking.options}
        if self.model.startswith("sha256:"):
            body["files"] = {"model.gguf": self.model}
        else:
            body["from"] = self.details.parent_model or self.model
        if self.system is not None:
            body["system"] = self.system
        elif self.details.system:
            body["system"] = self.details.system
        turns = [message.as_request() for message in (*self.details.messages, *self.turns)]
        if turns:
            body["messages"] = turns
        for _ in self.client.create(body):
            pass
