"""One chat with a model: its turns, its settings, and the actions on them."""

import contextlib
from collections.abc import Generator

from olmkit.cli.chat.answer import AnswerView, dropped_text, timings_text
from olmkit.cli.chat.asking import Asking
from olmkit.cli.chat.lineeditor import LineEditor
from olmkit.cli.chat.media import extract_files, insert_texts
from olmkit.cli.chat.preload import load
from olmkit.cli.chat.sessionfile import KeptSession, SessionFile
from olmkit.cli.screen.terminal import Terminal, visible
from olmkit.engine.client import Client
from olmkit.engine.client.replies import Chunk, Message, ModelDetails, Timings


class Chat:
    """One chat."""

    def __init__(
        self,
        client: Client,
        model: str,
        details: ModelDetails,
        asking: Asking,
        terminal: Terminal,
        editor: LineEditor,
        kept: SessionFile | None = None,
    ) -> None:
        """`kept` is where the chat goes on, and is kept; its system message and options count
        where the user says nothing else. Raises: CliError: it cannot be read."""
        self.client = client
        self.model = model
        self.details = details
        self.asking = asking
        self.terminal = terminal
        self.system: str | None = None
        """The user's system message, in place of the model's."""
        self.turns: list[Message] = []
        """The turns of this chat; the daemon puts the model's own messages before them."""
        self.timings: list[Timings] = []
        """Of every whole answer."""
        self.editor = editor
        self._kept = kept
        self._resume()

    def _resume(self) -> None:
        before = None if self._kept is None else self._kept.read()
        if before is not None:
            self.system = before.system
            self.asking.options = before.options | self.asking.options
            self.turns = list(before.turns)

    def keep(self) -> None:
        """Keeps the chat as it is, if it has a name. Raises: CliError: it cannot be written."""
        if self._kept is not None:
            self._kept.write(
                KeptSession(
                    model=self.model,
                    system=self.system,
                    options=self.asking.options,
                    turns=tuple(self.turns),
                )
            )

    def say(self, text: str) -> None:
        """A line on stdout."""
        self.terminal.data(visible(text) + "\n")

    def show_stored(self) -> None:
        """The model's own messages, as if they had been said here, and the last turn that was
        kept."""
        for message in self.details.messages:
            if message.role == "user":
                self.say(f">>> {message.content}")
            elif message.role == "assistant":
                self.say(f"{message.content}\n")
        if self.turns:
            question, answer = self.turns[-2:]
            self.say(f">>> {question.content}\n{answer.content}\n")

    def ask(self, text: str) -> None:
        """Sends the text, shows the answer and remembers both."""
        images: tuple[str, ...] = ()
        if self.details.is_multimodal:
            text, attachments = extract_files(text)
            for attachment in attachments:
                self.terminal.message(f"Added {attachment.kind} '{attachment.path}'\n")
            images = tuple(attachment.data for attachment in attachments)
        text, texts = insert_texts(text)
        for path in texts:
            self.terminal.message(f"Added text '{path}'\n")
        self._send(Message(role="user", content=text, images=images))

    def retry(self) -> bool:
        """Asks the last question again, and forgets its answer once another begins to be one;
        False: there is none."""
        if not self.turns:
            return False
        before = self.turns
        self.turns = before[:-2]
        try:
            self._send(before[-2])
        finally:
            if len(self.turns) < len(before):
                self.turns = before
        return True

    def undo(self) -> str | None:
        """Forgets the last question and its answer; returns the question, None: there is none."""
        if not self.turns:
            return None
        question, _ = self.turns[-2:]
        del self.turns[-2:]
        return question.content

    def _send(self, question: Message) -> None:
        view = AnswerView(
            self.terminal,
            wraps=self.asking.wraps,
            hides_thinking=self.asking.hides_thinking,
            draws_markdown=self.asking.draws_markdown,
        )
        timings, notice = None, ""
        try:
            with view, contextlib.closing(self._ask(question)) as answer:
                for chunk in answer:
                    view.show(chunk)
                    timings = chunk.timings or timings
                    notice = dropped_text(chunk.dropped)
        except KeyboardInterrupt:
            # Templates want turns to alternate: a question stays only with an answer.
            if view.text:
                self._remember(question, view)
            return
        self._remember(question, view)
        if notice:
            self.terminal.message(notice)
        if timings is not None:
            self.timings.append(timings)
        if self.asking.verbose and timings is not None:
            self.terminal.message(timings_text(timings) + "\n")

    def _ask(self, question: Message) -> Generator[Chunk, None, None]:
        return self.client.chat(self._body(question), tells_wait=self.terminal.shows_messages)

    def _remember(self, question: Message, view: AnswerView) -> None:
        answer = Message(role="assistant", content=view.text, thinking=view.thinking)
        self.turns += [question, answer]

    def _body(self, question: Message) -> dict[str, object]:
        messages = [*self.messages(), question.as_request()]
        return {**self.asking.body(self.model), "messages": messages}

    def messages(self) -> list[dict[str, object]]:
        """What was said so far, as the API takes it."""
        system = [] if self.system is None else [Message(role="system", content=self.system)]
        return [message.as_request() for message in (*system, *self.turns)]

    def clear(self) -> None:
        """Forgets the turns; the system message stays."""
        self.turns.clear()

    def overlaid(self) -> ModelDetails:
        """The model's details with this chat's system message and parameters in its Modelfile."""
        overlay: dict[str, object] = {"options": self.asking.options}
        if self.system is not None:
            overlay["system"] = self.system
        return self.client.show(self.model, overlay=overlay)

    def switch(self, model: str, details: ModelDetails) -> None:
        """Goes on with another model and without turns."""
        self.go_on_with(model, details)
        self.system = None
        self.turns.clear()
        self.show_stored()

    def go_on_with(self, model: str, details: ModelDetails) -> None:
        """Goes on with another model; what was said stays."""
        load(self.client, model, self.asking, self.terminal)
        self.model, self.details = model, details

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
