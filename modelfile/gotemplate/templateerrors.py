"""What can go wrong with a Go template, as one tree.

    TemplateError               .template_name .hint
    ├ TemplateSyntaxError       .line .position
    ├ TemplateExecutionError    .line .column .context
    └ TemplateLimitExceeded     .limit .allowed

The texts are Go's own where Go has one (`template: :1:2: executing "" at <.X>: …`), because users
search for them and clients show them. Every input gives one of these errors or a result.
"""


class TemplateError(Exception):
    """Root of the template errors."""

    def __init__(self, message: str, *, template_name: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.template_name = template_name
        self.hint = hint


class TemplateSyntaxError(TemplateError):
    """The text is no template; `line` is 1-based, `position` the index of a character."""

    def __init__(
        self,
        message: str,
        *,
        template_name: str,
        line: int,
        position: int,
        hint: str | None = None,
    ) -> None:
        super().__init__(
            f"template: {template_name}:{line}: {message}", template_name=template_name, hint=hint
        )
        self.line = line
        self.position = position


class TemplateExecutionError(TemplateError):
    """The template cannot be carried out on these values.

    `line` is 1-based; `column` counts bytes from 0, as Go's does; `context` is the expression.
    """

    def __init__(
        self,
        message: str,
        *,
        template_name: str,
        executing: str,
        line: int,
        column: int,
        context: str,
    ) -> None:
        place = f"template: {template_name}:{line}:{column}: executing {_quoted(executing)}"
        super().__init__(f"{place} at <{context}>: {message}", template_name=template_name)
        self.line = line
        self.column = column
        self.context = context


class TemplateLimitExceeded(TemplateError):
    """The template goes over a bound of `Limits`; `limit` is the field's name."""

    def __init__(self, limit: str, allowed: int, *, template_name: str = "") -> None:
        super().__init__(
            f"template: {template_name}: more than {allowed} {limit.replace('_', ' ')}",
            template_name=template_name,
            hint="the template does too much; simplify it",
        )
        self.limit = limit
        self.allowed = allowed


class FunctionFailed(Exception):
    """A template function refuses its arguments; never leaves the package.

    The call that it happens in turns it into a `TemplateExecutionError` with its place.
    """


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
