"""What a Modelfile says, as values: instructions in order, and how repeated ones add up.

Equality is about meaning: where an instruction stood does not count.
The language is described in docs/modelfile.md.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import ClassVar, Final

from olmkit.modelfile.diagnostics import Code, Diagnostic, nearest, quoted
from olmkit.modelfile.errors import InvalidInstruction
from olmkit.modelfile.parameters import TABLE, ParameterType, ParameterValue, check_value
from olmkit.modelfile.source import Source, Span

_PRERELEASE = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)"
    rf"(?:-{_PRERELEASE}(?:\.{_PRERELEASE})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?)?)?"
)


class Role(StrEnum):
    """Who says a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One command. The spans are None when it was not read from a text."""

    keyword: ClassVar[str]

    span: Span | None = field(default=None, compare=False, repr=False)
    """The whole command, from the keyword to the end of the value."""
    value_span: Span | None = field(default=None, compare=False, repr=False)
    """The value as written, with its quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextInstruction(Instruction):
    """A command whose operand is one text; empty when it was written empty.

    Each of them is this dataclass under another name.
    """

    value: str


class From(TextInstruction):
    """What to build on: a model's name, a file or a directory. Which of them, the engine finds."""

    __slots__ = ()
    keyword = "FROM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter(Instruction):
    """One option, typed by the table in `parameters`; a list such as `stop` has one string here.

    Raises:
        InvalidParameter: on creation, when the table has no such name or another type.
    """

    keyword = "PARAMETER"

    name: str
    value: ParameterValue

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", check_value(self.name, self.value))


class Template(TextInstruction):
    """How messages become a prompt: a Go template. Empty: none of its own."""

    __slots__ = ()
    keyword = "TEMPLATE"


class System(TextInstruction):
    """The system prompt. Empty: an inherited one is cleared."""

    __slots__ = ()
    keyword = "SYSTEM"


class Adapter(TextInstruction):
    """Path of a LoRA adapter, a file or a directory, or of a control vector."""

    __slots__ = ()
    keyword = "ADAPTER"


class Draft(TextInstruction):
    """Path of a draft model for speculative decoding: a file or a directory."""

    __slots__ = ()
    keyword = "DRAFT"


class License(TextInstruction):
    """The text of a license."""

    __slots__ = ()
    keyword = "LICENSE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(Instruction):
    """One message of the conversation that the model starts with.

    Raises:
        InvalidInstruction: on creation, when the role is none of `Role`.
    """

    keyword = "MESSAGE"

    role: Role
    value: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "role", parse_role(self.role))


class Renderer(TextInstruction):
    """Name of a built-in prompt format. Empty: an inherited one is cleared."""

    __slots__ = ()
    keyword = "RENDERER"


class Parser(TextInstruction):
    """Name of a built-in reader of the model's output. Empty: an inherited one is cleared."""

    __slots__ = ()
    keyword = "PARSER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requires(TextInstruction):
    """The least version of the program, kept without a leading `v`.

    Raises:
        InvalidInstruction: on creation, when it is no version.
    """

    keyword = "REQUIRES"

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", parse_version(self.value))


TEXT_INSTRUCTIONS: Mapping[str, type[TextInstruction]] = MappingProxyType(
    {
        kind.keyword: kind
        for kind in (From, Template, System, Adapter, Draft, License, Renderer, Parser, Requires)
    }
)
"""The instructions whose operand is one text, by keyword."""


def parse_role(text: str) -> Role:
    """The role that `text` names; lower case only, as in Ollama.

    Raises:
        InvalidInstruction: there is none; the suggestion is the nearest one.
    """
    try:
        return Role(text)
    except ValueError:
        roles = [role.value for role in Role]
        raise InvalidInstruction(
            f"unknown role {quoted(text)}",
            keyword="MESSAGE",
            code=Code.INVALID_ROLE,
            expected=roles,
            suggestion=nearest(text, roles),
        ) from None


def parse_version(text: str) -> str:
    """`text` without its leading `v`, when it is a semantic version as Go reads it.

    `1` and `1.2` count as versions.

    Raises:
        InvalidInstruction: it is no version.
    Source: https://pkg.go.dev/golang.org/x/mod/semver
    """
    version = text.removeprefix("v")
    if _VERSION.fullmatch(version):
        return version
    raise InvalidInstruction(
        f"{quoted(text)} is no version",
        keyword="REQUIRES",
        code=Code.INVALID_VALUE,
        expected=("a semantic version such as 0.14.0",),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Modelfile:
    """The instructions of a file in their order, and what they come to together.

    Where an instruction repeats, the properties tell what counts. None and the empty tuple mean
    that the file does not say; an empty text means that it says "nothing" in place of what the
    model is built on has.
    """

    instructions: tuple[Instruction, ...] = ()
    arguments: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({}), compare=False
    )
    """What each ARG that has a value was taken for; already put into the instructions."""
    warnings: tuple[Diagnostic, ...] = field(default=(), compare=False, repr=False)
    source: Source | None = field(default=None, compare=False, repr=False)
    """The text it was read from: with `problems.Problems`, later stages report in the same form."""

    @property
    def from_(self) -> str | None:
        """The last FROM. Names: this one counts; local files: all of `froms` do."""
        return self._last(From)

    @property
    def froms(self) -> tuple[str, ...]:
        """Every FROM."""
        return self._all(From)

    @property
    def parameters(self) -> dict[str, ParameterValue | list[str]]:
        """The last value of each parameter, in the order of first mention; those that add up,
        such as `stop`, are lists.
        """
        values: dict[str, ParameterValue | list[str]] = {}
        lists: dict[str, list[str]] = {}
        for instruction in self.instructions:
            if not isinstance(instruction, Parameter):
                continue
            name = instruction.name
            if TABLE[name].type is ParameterType.STRINGS:
                values[name] = listed = lists.setdefault(name, [])
                listed.append(str(instruction.value))
            else:
                values[name] = instruction.value
        return values

    @property
    def template(self) -> str | None:
        """The last TEMPLATE."""
        return self._last(Template)

    @property
    def system(self) -> str | None:
        """The last SYSTEM."""
        return self._last(System)

    @property
    def adapters(self) -> tuple[str, ...]:
        """The last ADAPTER, alone: as in Ollama, it takes the place of those before it."""
        return self._all(Adapter)[-1:]

    @property
    def drafts(self) -> tuple[str, ...]:
        """Every DRAFT; their files add up."""
        return self._all(Draft)

    @property
    def licenses(self) -> tuple[str, ...]:
        """Every LICENSE."""
        return self._all(License)

    @property
    def messages(self) -> tuple[Message, ...]:
        """Every MESSAGE."""
        return tuple(each for each in self.instructions if isinstance(each, Message))

    @property
    def renderer(self) -> str | None:
        """The last RENDERER."""
        return self._last(Renderer)

    @property
    def parser(self) -> str | None:
        """The last PARSER."""
        return self._last(Parser)

    @property
    def requires(self) -> str | None:
        """The last REQUIRES."""
        return self._last(Requires)

    def _all(self, kind: type[TextInstruction]) -> tuple[str, ...]:
        return tuple(each.value for each in self.instructions if isinstance(each, kind))

    def _last(self, kind: type[TextInstruction]) -> str | None:
        values = self._all(kind)
        return values[-1] if values else None


_STATEMENT: Final = re.compile(
    r"\{%[-+]?\s*(?:if|for|set|macro|generation|block|raw|filter|call|with|endif|endfor)\b"
)
_VARIABLE: Final = re.compile(r"\{\{-?\s*(?:bos_token|eos_token|messages?|raise_exception)\b")
_GO_ACTION: Final = re.compile(
    r"\{\{-?\s*(?:[.$]|(?:if|range|with|end|else|define|block|template)\b)"
)


def is_jinja(template: str) -> bool:
    """Whether a template is written in Jinja: a TEMPLATE is Go's language or that.

    Only Jinja has statements in `{% … %}`, which Go would print as they stand; and Go's variables
    begin with a dot or a dollar.

    Source: https://pkg.go.dev/text/template, https://jinja.palletsprojects.com/templates/
    """
    if _GO_ACTION.search(template):
        return False
    return bool(_STATEMENT.search(template) or _VARIABLE.search(template))
