"""Text to a Modelfile: syntax trees to typed instructions, with every error of the file at once.

Knows neither files nor models: what a FROM names, the engine finds out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from types import MappingProxyType

from lark import Token

from olmkit.modelfile.arguments import MAX_EXPANDED, Arguments
from olmkit.modelfile.check import check
from olmkit.modelfile.diagnostics import Code, brief, nearest, quoted
from olmkit.modelfile.errors import InvalidInstruction, ModelfileError, ModelfileSyntaxError
from olmkit.modelfile.instructions import (
    TEXT_INSTRUCTIONS,
    Instruction,
    Message,
    Modelfile,
    Parameter,
    parse_role,
)
from olmkit.modelfile.parameters import DEPRECATED, parse_value
from olmkit.modelfile.problems import ModelfileErrors, Problems
from olmkit.modelfile.scanner import QUOTE_LENGTHS, Command, Scanner
from olmkit.modelfile.source import Source, Span

MAX_SIZE = 16 * 1024 * 1024
"""Characters, or bytes, of a Modelfile; licenses are the largest part of real ones."""

# PARAMETER names that Ollama takes for instructions, as its parser keeps both in one namespace.
_AS_PARAMETERS = {
    "model": "FROM",
    "message": "MESSAGE",
    **{keyword.lower(): keyword for keyword in TEXT_INSTRUCTIONS if keyword != "FROM"},
}


def parse(
    text: str | bytes,
    *,
    file_name: str = "Modelfile",
    compatible: bool = False,
    arguments: Mapping[str, str] = MappingProxyType({}),
) -> Modelfile:
    """What `text` says, with the warnings about it.

    Every Modelfile that Ollama accepts is accepted, and means the same but for Ollama's defects.
    olm's additions are comments after quoted values, ARG (see `arguments`; the mapping of that
    name goes before defaults) and FROM with a digest or `pypi://`; `compatible` turns them off
    and warns of what Ollama would read otherwise.

    Bytes are UTF-8, or UTF-16 with a byte-order mark. `file_name` is for messages only.

    Raises:
        ModelfileErrors: every error of the file (the first hundred), each with its place.
    Source: docs/modelfile.md; https://github.com/ollama/ollama/blob/v0.17.4/parser/parser.go
    """
    problems = Problems(Source.read(text[:MAX_SIZE], file_name))
    if len(text) > MAX_SIZE:
        error = ModelfileSyntaxError(f"more than {MAX_SIZE} bytes", code=Code.TOO_LARGE)
        problems.error(error, problems.source.span(0, 0))
        problems.raise_errors()
    commands = list(Scanner(problems, is_compatible=compatible).commands())
    builder = _Builder(problems, commands, arguments, is_compatible=compatible)
    instructions = tuple(each for command in commands if (each := builder.build(command)))
    modelfile = Modelfile(
        instructions=instructions, arguments=builder.arguments.values, source=problems.source
    )
    check(modelfile, problems, is_compatible=compatible)
    try:
        problems.raise_errors()
    except ModelfileErrors as errors:
        errors.modelfile = modelfile
        raise
    return replace(modelfile, warnings=tuple(sorted(problems.warnings, key=attrgetter("span"))))


class _Builder:
    """Makes instructions of commands, in the order of the text."""

    def __init__(
        self,
        problems: Problems,
        commands: Sequence[Command],
        given: Mapping[str, str],
        *,
        is_compatible: bool,
    ) -> None:
        self.arguments = Arguments(given=given)
        self._problems = problems
        self._is_compatible = is_compatible
        self._names = {str(each.tokens[0]) for each in commands if each.rule == "argument"}
        """Every ARG of the file, wherever it stands; without one, `${NAME}` is plain text."""
        for name in sorted(given.keys() - self._names):
            problems.warning(
                Code.UNUSED_ARGUMENT,
                f"no ARG takes the argument {quoted(name)}",
                problems.source.span(0, 0),
                suggestion=nearest(name, self._names),
            )

    def build(self, command: Command) -> Instruction | None:
        """The instruction of `command`; None for an ARG, a dropped parameter, or an error."""
        text = None if self._problems.is_full else self._content(command)
        if text is None:
            return None
        try:
            return self._instruction(command, text)
        except ModelfileError as error:
            self._problems.error(error, self._place(error, command))
            return None

    def _instruction(self, command: Command, text: str) -> Instruction | None:
        first = command.tokens[0]
        places = {
            "span": self._span(command),
            "value_span": self._span(command.value) if command.value else None,
        }
        match command.rule:
            case "argument":
                has_default = len(command.tokens) > 1
                self.arguments.declare(str(first), text if has_default else None)
                return None
            case "message":
                return Message(role=parse_role(str(first)), value=text, **places)
            case "text":
                return TEXT_INSTRUCTIONS[first.type](value=text, **places)
        name = str(first)
        if name in DEPRECATED:
            self._warn_of_name(
                first, Code.DEPRECATED_PARAMETER, f"parameter {name} is deprecated and dropped"
            )
            return None
        if keyword := _AS_PARAMETERS.get(name):
            self._warn_of_name(
                first, Code.INSTRUCTION_AS_PARAMETER, f"PARAMETER {name} is read as {keyword}"
            )
            if keyword != "MESSAGE":
                return TEXT_INSTRUCTIONS[keyword](value=text, **places)
            role, _, content = text.partition(": ")
            return Message(role=parse_role(role), value=content, **places)
        value = parse_value(name, text, compatible=self._is_compatible)
        return Parameter(name=name, value=value, **places)

    def _content(self, command: Command) -> str | None:
        """What stands between the quotes, arguments put in; None when one is missing."""
        token = command.value
        if token is None:
            return ""
        quotes = QUOTE_LENGTHS[token.type]
        text = str(token)[quotes : len(token) - quotes]
        if not self._names:
            return text
        was_exhausted = self.arguments.is_exhausted
        expanded, missing = self.arguments.expand(text)
        if self.arguments.is_exhausted and not was_exhausted:
            error = InvalidInstruction(
                f"the arguments make values of more than {MAX_EXPANDED} characters",
                code=Code.TOO_LARGE,
                keyword=command.keyword,
            )
            self._problems.error(error, self._span(token))
        for each in missing:
            start = (token.start_pos or 0) + quotes
            span = self._problems.source.span(start + each.start, start + each.end)
            self._problems.error(self._undefined(each.name, command.keyword), span)
        return None if missing else expanded

    def _undefined(self, name: str, keyword: str) -> ModelfileError:
        hint = "write \\${…} for the text itself"
        if name in self.arguments.declared:
            message = f"the argument {brief(name)} has no value"
            hint = f"give one: --build-arg {brief(name)}=…, or ARG {brief(name)}=… in the file"
        elif name in self._names:
            message = f"the ARG of {brief(name)} stands further down"
        else:
            message = f"no ARG declares {brief(name)}"
        near = None if name in self._names else nearest(name, self.arguments.declared)
        return InvalidInstruction(
            message,
            code=Code.UNDEFINED_ARGUMENT,
            keyword=keyword,
            expected=sorted(self.arguments.values),
            suggestion=f"${{{near}}}" if near else None,
            hint=hint,
        )

    def _warn_of_name(self, name: Token, code: Code, message: str) -> None:
        self._problems.warning(code, message, self._span(name))

    def _place(self, error: ModelfileError, command: Command) -> Span:
        """The part of `command` that `error` is about."""
        name_is_wrong = error.code in (Code.UNKNOWN_PARAMETER, Code.INVALID_ROLE)
        part = command.tokens[0] if name_is_wrong else command.value
        return self._span(part or command)

    def _span(self, part: Token | Command) -> Span:
        if isinstance(part, Command):
            return self._problems.source.span(part.start, part.end)
        return self._problems.source.span(part.start_pos or 0, part.end_pos or 0)
