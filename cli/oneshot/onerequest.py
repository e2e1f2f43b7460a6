"""One request for one answer: sent, shown in the form that was asked for, and judged."""

import enum
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from olmkit.cli.chat.asking import Asking
from olmkit.cli.chat.preload import say_notes
from olmkit.cli.errors import UsageError
from olmkit.cli.oneshot.oneanswer import OneAnswer, judge, piece_line
from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.client import Client
from olmkit.engine.client.replies import Chunk, Message, ModelDetails
from olmkit.engine.client.storereplies import inspect

if TYPE_CHECKING:
    from olmkit.cli.oneshot.keptquestion import Conversation


class Form(enum.Enum):
    """How an answer is printed."""

    TEXT = enum.auto()
    JSON = enum.auto()
    JSON_LINES = enum.auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one answer is asked with, besides the options of any question."""

    text: str
    system: str | None = None
    images: Sequence[str] = ()
    """Paths."""
    form: Form = Form.TEXT
    record: str = ""
    """The file to record to; empty for none."""
    conversation: "Conversation | None" = None
    """The chat that it is asked in, which keeps it."""


def generate(
    client: Client,
    name: str,
    details: ModelDetails,
    request: Request,
    asking: Asking,
    terminal: Terminal,
) -> None:
    """Asks the model and prints what it answers.

    Raises:
        AnswerCut, AnswerRepeats, SchemaViolated: after the answer was printed.
    """
    from olmkit.cli.chat.answer import dropped_text, timings_text

    chat = request.conversation if request.text else None
    if chat is not None:
        asking.options = chat.options | asking.options
    question = _question(details, request, terminal)
    body = asking.body(name)
    if chat is not None:
        body["messages"] = chat.messages(question)
    else:
        body["prompt"] = question.content
        if request.system is not None:
            body["system"] = request.system
        if question.images:
            body["images"] = list(question.images)
    answer = OneAnswer(model=name, digest=_digest(client, name, request))
    ask = client.generate if chat is None else client.chat
    chunks = ask(body, tells_wait=terminal.shows_messages)
    show(chunks, answer, request.form, asking, terminal)
    if chat is not None:
        chat.keep(name, question, answer)
    if request.record:
        from olmkit.cli.oneshot.recording import write_recording

        write_recording(request.record, body, answer)
    if notice := dropped_text(answer.dropped):
        terminal.message(notice)
    if asking.verbose:
        terminal.message(timings_text(answer.timings))
    say_notes(client, name, terminal)
    if request.text:
        own = None if "num_predict" in asking.options else own_limit_tokens(details)
        judge(answer, asking.format, own_limit_tokens=own)


def show(
    chunks: Iterable[Chunk], answer: OneAnswer, form: Form, asking: Asking, terminal: Terminal
) -> None:
    """Prints an answer while it comes, and fills `answer` with it."""
    if form is Form.TEXT:
        from olmkit.cli.chat.answer import AnswerView

        with AnswerView(
            terminal,
            wraps=asking.wraps,
            hides_thinking=asking.hides_thinking,
            draws_markdown=asking.draws_markdown,
        ) as view:
            for chunk in chunks:
                answer.add(chunk)
                view.show(chunk)
        return
    from olmkit.cli.screen.progress import Waiting

    with Waiting(terminal) as waiting:
        for chunk in chunks:
            answer.add(chunk)
            waiting.tell(chunk.waits_for)
            if form is Form.JSON_LINES and (line := piece_line(chunk)):
                waiting.end()
                terminal.data(line)
    terminal.data(json.dumps(answer.as_json(), ensure_ascii=False) + "\n")


def embed(
    client: Client,
    name: str,
    text: str,
    asking: Asking,
    terminal: Terminal,
    *,
    dimensions: int,
) -> None:
    """Prints the vector of the text as a JSON array. Raises: UsageError: there is no text."""
    if not text:
        raise UsageError(
            "embedding models require input text", hint=f'usage: olm run {name} "your text here"'
        )
    body: dict[str, object] = {"model": name, "input": text}
    if asking.keep_alive is not None:
        body["keep_alive"] = asking.keep_alive
    if asking.truncate is not None:
        body["truncate"] = asking.truncate
    if dimensions:
        body["dimensions"] = dimensions
    terminal.data(json.dumps(client.embed(body), separators=(",", ":")) + "\n")


def own_limit_tokens(details: ModelDetails) -> int | None:
    """The `num_predict` in the model's own parameters; None where it sets none."""
    for line in details.parameters.splitlines():
        name, _, value = line.partition(" ")
        if name == "num_predict" and value.strip().isdecimal():
            return int(value)
    return None


def _question(details: ModelDetails, request: Request, terminal: Terminal) -> Message:
    """What the user says, with the images that flags or the text name."""
    text, images = request.text, []
    if request.images or details.is_multimodal:
        from olmkit.cli.chat.media import extract_files, read_media

        images = [read_media(Path(path)).data for path in request.images]
        if details.is_multimodal:
            text, attachments = extract_files(text)
            for attachment in attachments:
                terminal.message(f"Added {attachment.kind} '{attachment.path}'\n")
            images += [attachment.data for attachment in attachments]
    return Message(role="user", content=text, images=tuple(images))


def _digest(client: Client, name: str, request: Request) -> str:
    """The model's digest, where the output tells it; a local file is its own."""
    if name.startswith("sha256:") or (request.form is Form.TEXT and not request.record):
        return name if name.startswith("sha256:") else ""
    return str(inspect(client, name)["id"])
