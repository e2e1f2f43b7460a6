"""A suite's YAML as values and lines, by the parser's events: nothing is ever constructed.

Plain words mean what YAML 1.2's core schema says (https://yaml.org/spec/1.2.2/#103-core-schema), so
that `no` is a text. Aliases are refused, for a few of them can stand for any amount of values, and
so are tags and keys that are given twice.
"""

import re
from collections.abc import Iterator
from typing import Final

import yaml  # type: ignore[import-untyped]

from olmkit.engine.configuration.tomllines import Document, Path, Statement

MAX_DEPTH: Final = 64
MAX_DIGITS: Final = 400
_NULL: Final = re.compile(r"|~|null|Null|NULL")
_TRUE: Final = re.compile(r"true|True|TRUE")
_FALSE: Final = re.compile(r"false|False|FALSE")
_WHOLE: Final = re.compile(r"[-+]?[0-9]+", re.ASCII)
_BASED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_INFINITE: Final = re.compile(r"([-+]?)\.(inf|Inf|INF)|()\.(nan|NaN|NAN)")


class InvalidYaml(Exception):
    """The text is no YAML, or holds what a suite may not have; says line and column."""


def parse_yaml(text: str) -> Document:
    """The document of a text.

    Raises:
        InvalidYaml: it is no YAML, more than one document, too deep, or has aliases, tags or a key
            twice.
    """
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Reader(yaml.parse(text, Loader=loader)).document()
    except yaml.MarkedYAMLError as error:
        said = " ".join(filter(None, (error.context, error.problem)))
        raise _wrong(said or "this is no YAML", error.problem_mark or error.context_mark) from error
    except yaml.YAMLError as error:
        raise InvalidYaml(str(error).partition("\n")[0]) from error


def _wrong(message: str, mark: yaml.Mark | None) -> InvalidYaml:
    place = "" if mark is None else f" (at line {mark.line + 1}, column {mark.column + 1})"
    return InvalidYaml(message + place)


class _Reader:
    """Takes the events of one text, in their order."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._statements: list[Statement] = []

    def document(self) -> Document:
        values: object = {}
        count = 0
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                count += 1
                if count > 1:
                    raise _wrong("a second document begins", event.start_mark)
                values = self._value(next(self._events), (), 0)
        found = {} if values is None else values
        if not isinstance(found, dict):
            raise InvalidYaml("the suite is no mapping (at line 1, column 1)")
        return Document(values=found, statements=tuple(self._statements))

    def _value(self, event: yaml.Event, path: Path, depth: int) -> object:
        """The value that begins with the event."""
        self._check(event)
        if depth > MAX_DEPTH:
            raise _wrong("the text is nested too deeply", event.start_mark)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path, depth)
        if isinstance(event, yaml.SequenceStartEvent):
            values: list[object] = []
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                inner = (*path, len(values))
                self._note(inner, event)
                values.append(self._value(event, inner, depth + 1))
            return values
        assert isinstance(event, yaml.ScalarEvent)
        if event.implicit[0]:
            return _plain(event)
        return event.value

    def _mapping(self, path: Path, depth: int) -> dict[str, object]:
        values: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            self._check(event)
            if not isinstance(event, yaml.ScalarEvent):
                raise _wrong("a key is no text", event.start_mark)
            key = event.value
            if key in values:
                raise _wrong(f"the key {key[:80]!r} is given twice", event.start_mark)
            self._note((*path, key), event)
            values[key] = self._value(next(self._events), (*path, key), depth + 1)
        return values

    def _check(self, event: yaml.Event) -> None:
        """Raises: InvalidYaml: an alias or a tag."""
        if isinstance(event, yaml.AliasEvent):
            raise _wrong(f"the alias *{event.anchor} is not taken", event.start_mark)
        tag = getattr(event, "tag", None)
        if tag is not None and tag != "!":
            raise _wrong(f"the tag {tag[:80]} is not taken", event.start_mark)

    def _note(self, path: Path, event: yaml.Event) -> None:
        line = event.start_mark.line + 1
        self._statements.append(Statement(first_line=line, last_line=line, text="", paths=(path,)))


def _plain(event: yaml.ScalarEvent) -> object:
    """What a word without quotes means. Raises: InvalidYaml: a number that is too long."""
    text = event.value
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return text[0] in "tT"
    if _WHOLE.fullmatch(text) or _BASED.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise _wrong(f"a number has more than {MAX_DIGITS} digits", event.start_mark)
        return int(text) if _WHOLE.fullmatch(text) else int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if match := _INFINITE.fullmatch(text):
        return float(f"{match[1] or ''}{match[2] or match[4]}")
    return text
