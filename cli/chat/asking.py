"""The options that go with a question to a model, from flags and from `/set`."""

import json
import re
from dataclasses import dataclass, field

from olmkit.cli.errors import UsageError
from olmkit.engine.durations import parse_duration
from olmkit.engine.settings import Settings

THINK_LEVELS = ("true", "false", "low", "medium", "high", "max")


@dataclass(slots=True, kw_only=True)
class Asking:
    """The options of a run or of a chat session, which `/set` changes."""

    keep_alive: str | int | None = None
    format: object = None
    """`"json"`, a JSON schema, or None."""
    think: bool | str | None = None
    """Whether to think, or how much; None for what the model does by itself."""
    truncate: bool | None = None
    """Whether what the context cannot hold is shortened; None: as the daemon does."""
    shift: bool | None = None
    """Whether an answer goes on when the context is full; None: as the daemon does."""
    options: dict[str, object] = field(default_factory=dict)
    """Parameters by name."""
    wraps: bool = True
    verbose: bool = False
    hides_thinking: bool = False
    markdown: bool = False
    """Whether Markdown is drawn as what it means."""

    @property
    def draws_markdown(self) -> bool:
        """Whether an answer is taken for Markdown: JSON is not."""
        is_grammar = isinstance(self.format, dict) and self.format.get("type") == "grammar"
        return self.markdown and (self.format is None or is_grammar)

    def body(self, model: str) -> dict[str, object]:
        """The fields that generate and chat requests share."""
        body: dict[str, object] = {"model": model, "options": self.options}
        if self.keep_alive is not None:
            body["keep_alive"] = self.keep_alive
        if self.format is not None:
            body["format"] = self.format
        if self.think is not None:
            body["think"] = self.think
        if self.truncate is not None:
            body["truncate"] = self.truncate
        if self.shift is not None:
            body["shift"] = self.shift
        return body

    def take_project(self, settings: Settings) -> None:
        """Asks as the project's file says, where no flag said otherwise.

        The daemon serves all projects, so it does not know of that file.
        """
        chosen = settings.project_fields
        if "keep_alive_s" in chosen and self.keep_alive is None:
            self.keep_alive = parse_keep_alive(settings.readings["keep_alive"].text or "")
        if "context_tokens" in chosen and settings.context_tokens:
            self.options.setdefault("num_ctx", settings.context_tokens)
        if "on_overflow" in chosen and self.truncate is None:
            self.truncate = settings.on_overflow != "error"
            self.shift = settings.on_overflow == "shift"


def parse_keep_alive(text: str) -> str | int | None:
    """`--keepalive` as the API takes it: a duration, or a number of seconds; None for nothing.

    Raises:
        UsageError: neither.
    """
    if not text:
        return None
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text, re.ASCII):
        return int(text)
    try:
        parse_duration(text)
    except ValueError as error:
        raise UsageError(
            f"invalid value for --keepalive: {error}", hint="such as 5m, 1h30m, 300 or -1"
        ) from error
    return text


def parse_format(text: str) -> object:
    """`--format` as the API takes it: the word `json`, or a JSON schema; None for nothing.

    Raises:
        UsageError: neither.
    """
    if not text:
        return None
    if text == "json":
        return text
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise UsageError(f"invalid value for --format: {error}") from error
    if not isinstance(schema, dict):
        raise UsageError("invalid value for --format: it takes `json` or a JSON schema object")
    return schema


def parse_think(text: str | None) -> bool | str | None:
    """`--think` as the API takes it: true, false or a level; None for nothing.

    Raises:
        UsageError: another word.
    """
    if text is None:
        return None
    if text in ("", "true"):
        return True
    if text == "false":
        return False
    if text not in THINK_LEVELS:
        raise UsageError(
            f'invalid value for --think: "{text}" (must be true, false, low, medium, high or max)'
        )
    return text
