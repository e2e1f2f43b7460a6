"""What can be wrong with a Modelfile, as one tree.

    ModelfileError                .code .hint .expected .suggestion .keyword .diagnostic .span
    ├ ModelfileSyntaxError        the text is no command
    ├ UnknownInstruction          a line starts with another word
    ├ InvalidInstruction          a role, version, path or ARG that makes no sense
    ├ InvalidParameter            .name .value
    ├ MissingFrom                 nothing to build on
    ├ NotRepresentable            a value that Ollama's language cannot say
    └ ModelfileErrors             an exception group: all errors of one file; in `problems`

`str(error)` of a leaf is one sentence, lower case, no full stop; of `ModelfileErrors` it is the
whole report, with source lines and carets. `hint` is what to do next. Templates have a tree of
their own, in `gotemplate`.
"""

from collections.abc import Iterable

from olmkit.modelfile.diagnostics import Code, Diagnostic
from olmkit.modelfile.source import Span


class ModelfileError(Exception):
    """Root of the language's errors."""

    def __init__(
        self,
        message: str,
        *,
        code: Code,
        keyword: str | None = None,
        hint: str | None = None,
        expected: Iterable[str] = (),
        suggestion: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.keyword = keyword
        """The instruction in question, upper case, or the word that is none."""
        self.hint = hint
        self.expected = tuple(expected)
        """What could stand there instead."""
        self.suggestion = suggestion
        """Text to put in place of the span, when something near exists."""
        self.diagnostic: Diagnostic | None = None

    @property
    def span(self) -> Span | None:
        """Where in the file, when the error came out of one."""
        return self.diagnostic.span if self.diagnostic else None


class ModelfileSyntaxError(ModelfileError):
    """The text is no command of the language."""


class UnknownInstruction(ModelfileError):
    """A line starts with a word that is no keyword."""


class InvalidInstruction(ModelfileError):
    """A command whose operand makes no sense."""


class InvalidParameter(ModelfileError):
    """A parameter that does not exist, or a value of another type than it takes."""

    def __init__(
        self,
        message: str,
        *,
        name: str,
        value: object = None,
        code: Code = Code.INVALID_VALUE,
        hint: str | None = None,
        expected: Iterable[str] = (),
        suggestion: str | None = None,
    ) -> None:
        super().__init__(
            message,
            code=code,
            keyword="PARAMETER",
            hint=hint,
            expected=expected,
            suggestion=suggestion,
        )
        self.name = name
        self.value = value


class MissingFrom(ModelfileError):
    """No FROM anywhere: nothing to build on."""


class NotRepresentable(ModelfileError):
    """A value that no quoting of Ollama's language can say."""
