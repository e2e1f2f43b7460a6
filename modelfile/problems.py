"""What is wrong with one Modelfile: collected while it is read, raised all at once."""

from collections.abc import Sequence
from operator import attrgetter

from olmkit.modelfile.diagnostics import Code, Diagnostic, Severity
from olmkit.modelfile.errors import ModelfileError
from olmkit.modelfile.instructions import Modelfile
from olmkit.modelfile.source import Source, Span


class ModelfileErrors(ModelfileError, ExceptionGroup[ModelfileError]):
    """All errors of one file, in the order of the text; never empty.

    `warnings` are what else was noticed before it was given up.
    """

    modelfile: Modelfile | None = None
    """The instructions that could be read, for those who find still more errors in them."""

    def __new__(
        cls, errors: Sequence[ModelfileError], warnings: Sequence[Diagnostic] = ()
    ) -> "ModelfileErrors":
        """Make the group; its members must be known before `__init__`."""
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        return super().__new__(cls, f"{count} in the Modelfile", list(errors))

    def __init__(
        self, errors: Sequence[ModelfileError], warnings: Sequence[Diagnostic] = ()
    ) -> None:
        super().__init__(self.message, code=errors[0].code)
        self.errors = tuple(errors)
        self.warnings = tuple(warnings)

    def derive(self, excs: Sequence[ModelfileError]) -> "ModelfileErrors":  # type: ignore[override]
        """A group of the same kind over `excs`, as `except*` asks for."""
        return ModelfileErrors(excs, self.warnings)

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Errors and warnings in the order of the text, for tools."""
        found = [error.diagnostic for error in self.errors if error.diagnostic]
        return tuple(sorted((*found, *self.warnings), key=attrgetter("span.line", "span.column")))

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.diagnostics()) or self.message


class Problems:
    """Collects what is wrong with one source, up to a limit; raises it all at once."""

    LIMIT = 100
    """Errors, and as many warnings, that are kept of one file."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.errors: list[ModelfileError] = []
        self.warnings: list[Diagnostic] = []

    @property
    def is_full(self) -> bool:
        """Whether reading on would tell nothing more."""
        return len(self.errors) >= self.LIMIT

    def error(self, error: ModelfileError, span: Span) -> None:
        """Keep `error`, found at `span`."""
        if self.is_full:
            return
        error.diagnostic = Diagnostic(
            file=self.source.file_name,
            span=span,
            severity=Severity.ERROR,
            code=error.code,
            message=str(error),
            expected=error.expected,
            suggestion=error.suggestion,
            hint=error.hint,
            source_line=self.source.line(span.line),
        )
        self.errors.append(error)

    def warning(
        self,
        code: Code,
        message: str,
        span: Span,
        *,
        suggestion: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Keep a warning about `span`."""
        if len(self.warnings) >= self.LIMIT:
            return
        self.warnings.append(
            Diagnostic(
                file=self.source.file_name,
                span=span,
                severity=Severity.WARNING,
                code=code,
                message=message,
                suggestion=suggestion,
                hint=hint,
                source_line=self.source.line(span.line),
            )
        )

    def raise_errors(self) -> None:
        """Raise what was collected, when there is an error in it.

        Raises:
            ModelfileErrors: with the warnings beside the errors.
        """
        if self.errors:
            self.errors.sort(key=attrgetter("span.line", "span.column"))
            raise ModelfileErrors(self.errors, self.warnings)
