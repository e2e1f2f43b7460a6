"""One question in a chat that is kept: asked after all that was said, and kept with its answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from olmkit.cli.chat.sessionfile import KeptSession, SessionFile
from olmkit.cli.oneshot.oneanswer import OneAnswer
from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.client.replies import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A chat as it stands before the question."""

    file: SessionFile
    system: str | None
    """The user's system message, in place of the model's."""
    options: dict[str, object]
    """Of the chat; flags of one question are not kept."""
    turns: tuple[Message, ...]

    @classmethod
    @contextmanager
    def opened(cls, file: SessionFile, system: str | None, terminal: Terminal) -> Iterator[Self]:
        """The chat of that file, which nobody else goes on with meanwhile; `system` replaces its
        system message, if there is one.

        Raises:
            CliError: the file cannot be read.
        """

        def tell() -> None:
            terminal.message(f"waiting for another command that uses the session {file.name}\n")

        with file.held(on_wait=tell):
            kept = file.read() or KeptSession(model="", system=None, options={}, turns=())
            yield cls(
                file=file,
                system=kept.system if system is None else system,
                options=kept.options,
                turns=kept.turns,
            )

    def messages(self, question: Message) -> list[dict[str, object]]:
        """All that was said and the question, as the API takes it."""
        system = [] if self.system is None else [Message(role="system", content=self.system)]
        return [message.as_request() for message in (*system, *self.turns, question)]

    def keep(self, model: str, question: Message, answer: OneAnswer) -> None:
        """Keeps the question and its answer too. Raises: CliError: it cannot be written."""
        said = Message(role="assistant", content=answer.text, thinking=answer.thinking)
        self.file.write(
            KeptSession(
                model=model,
                system=self.system,
                options=self.options,
                turns=(*self.turns, question, said),
            )
        )
