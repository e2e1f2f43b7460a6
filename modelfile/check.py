"""Rules across the instructions of one file; what needs files or a registry is the engine's.

Everything found goes to `Problems`, which raises all errors of a file at once.
"""

import re

from olmkit.modelfile.diagnostics import Code
from olmkit.modelfile.errors import InvalidInstruction, MissingFrom
from olmkit.modelfile.instructions import (
    Adapter,
    Draft,
    From,
    Instruction,
    Message,
    Modelfile,
    Parameter,
    Parser,
    Renderer,
    Requires,
    System,
    Template,
    TextInstruction,
    is_jinja,
)
from olmkit.modelfile.parameters import TABLE, ParameterType, format_value, is_in_range
from olmkit.modelfile.problems import Problems
from olmkit.modelfile.source import Source, Span

_TOP = Span(line=1, column=1, end_line=1, end_column=1)
_TEMPLATE_WORD = re.compile(r"\{\{.*?(?:\}\}|$)|[\w.$]+|\"[^\"\n]*\"|\S|", re.MULTILINE)
_CURLY_QUOTES = frozenset("“”„‟‘’‚‛«»")
_LAST_COUNTS = (Template, System, Adapter, Renderer, Parser, Requires)


def check(modelfile: Modelfile, problems: Problems, *, is_compatible: bool) -> None:
    """Report what is wrong or doubtful about the instructions together.

    With `is_compatible` also what Ollama would refuse, or read otherwise.
    """
    _check_from(modelfile, problems)
    _check_paths(modelfile, problems)
    _warn_of_parameters(modelfile, problems)
    _warn_of_overridden(modelfile, problems)
    _warn_of_renderer(modelfile, problems)
    _warn_of_curly_quotes(modelfile, problems)
    if is_compatible:
        _check_sources(modelfile, problems)
        _warn_of_dropped(modelfile, problems)


def check_template(modelfile: Modelfile) -> None:
    """Parse the TEMPLATE that counts; apart from `check`, for it takes the template engine.

    Raises:
        ModelfileErrors: all that is wrong with it, each with its place in the file.
    """
    templates = [each for each in modelfile.instructions if isinstance(each, Template)]
    if not templates or is_jinja(templates[-1].value):
        return  # Jinja is parsed where it runs, in a process of its own
    # Here, for most files need neither.
    from olmkit.modelfile.gotemplate.chattemplate import find_errors

    problems = Problems(modelfile.source or Source("", "Modelfile"))
    for error in find_errors(templates[-1].value):
        line, position = getattr(error, "line", 1), getattr(error, "position", 0)
        wrong = InvalidInstruction(
            str(error).removeprefix(f"template: {error.template_name}:{line}: "),
            code=Code.INVALID_TEMPLATE,
            keyword=Template.keyword,
            hint=error.hint,
        )
        problems.error(wrong, _place_in_value(problems.source, templates[-1], position))
    problems.raise_errors()


def _place_in_value(source: Source, template: Template, position: int) -> Span:
    """The word, or the action, at `position` of the template's text.

    The whole value when arguments were put into it: its characters stand elsewhere then.
    """
    span = template.value_span
    if span is None:
        return _TOP
    start, end = (
        source.offset(span.line, span.column),
        source.offset(span.end_line, span.end_column),
    )
    shift = source.text.find(template.value, start, end)
    if shift < 0:
        return span
    word = _TEMPLATE_WORD.match(template.value, position)
    assert word is not None  # it matches nothing as well
    return source.span(shift + word.start(), shift + word.end())


def _check_from(modelfile: Modelfile, problems: Problems) -> None:
    tried = any("FROM" in (error.keyword, error.suggestion) for error in problems.errors)
    if modelfile.froms or tried or problems.is_full:
        return
    error = MissingFrom(
        "no FROM instruction",
        code=Code.NO_FROM,
        keyword="FROM",
        hint="say what to build on: FROM NAME, or FROM ./file.gguf",
    )
    problems.error(error, _TOP)


def same_path(text: str) -> str:
    """What is wrong with a DRAFT of that text which is the model itself."""
    return f"DRAFT must not reference the same local path as FROM: {text}"


def _check_paths(modelfile: Modelfile, problems: Problems) -> None:
    """Ollama reads an empty path as the directory of the Modelfile; nobody means that."""
    for each in modelfile.instructions:
        if not isinstance(each, From | Adapter | Draft):
            continue
        if each.value == "":
            error = InvalidInstruction(
                f"{each.keyword} is empty", code=Code.EMPTY_OPERAND, keyword=each.keyword
            )
            problems.error(error, each.span or _TOP)
        elif isinstance(each, Draft) and each.value in modelfile.froms:
            error = InvalidInstruction(
                same_path(each.value), code=Code.SAME_PATH, keyword=each.keyword
            )
            problems.error(error, each.value_span or _TOP)


def _warn_of_parameters(modelfile: Modelfile, problems: Problems) -> None:
    for each in modelfile.instructions:
        if not isinstance(each, Parameter):
            continue
        span = each.value_span or each.span or _TOP
        if each.name == "stop" and each.value == "":
            problems.warning(Code.NO_EFFECT, "an empty stop text stops nothing", span)
        elif not is_in_range(each.name, each.value):
            problems.warning(
                Code.OUT_OF_RANGE,
                f"{each.name} is {TABLE[each.name].range}, not {format_value(each.value)}",
                span,
            )


def _warn_of_overridden(modelfile: Modelfile, problems: Problems) -> None:
    later: dict[str, Instruction] = {}
    for each in reversed(modelfile.instructions):
        match each:
            case Parameter(name=name) if TABLE[name].type is not ParameterType.STRINGS:
                subject = f"PARAMETER {name}"
            case TextInstruction() if isinstance(each, _LAST_COUNTS):
                subject = each.keyword
            case _:
                continue
        if winner := later.get(subject):
            line = winner.span.line if winner.span else 1
            problems.warning(
                Code.OVERRIDDEN, f"{subject} is set again in line {line}", each.span or _TOP
            )
        later.setdefault(subject, each)


def _warn_of_renderer(modelfile: Modelfile, problems: Problems) -> None:
    if not (modelfile.renderer and modelfile.template):
        return
    template = next(each for each in modelfile.instructions if isinstance(each, Template))
    problems.warning(
        Code.NO_EFFECT,
        f"the renderer {modelfile.renderer} makes chat prompts, not this template",
        template.span or _TOP,
    )


def _warn_of_curly_quotes(modelfile: Modelfile, problems: Problems) -> None:
    """Word processors and web pages make curly quotes of plain ones; here they are text."""
    for each in modelfile.instructions:
        value = each.value if isinstance(each, TextInstruction | Message | Parameter) else ""
        text = str(value).strip()
        if text[:1] in _CURLY_QUOTES:
            problems.warning(
                Code.CURLY_QUOTE,
                f'the value begins with {text[0]}, which is a part of it; only " quotes',
                each.value_span or _TOP,
            )


def _check_sources(modelfile: Modelfile, problems: Problems) -> None:
    for each in modelfile.instructions:
        if isinstance(each, From) and (
            each.value.startswith(("pypi://", "sha256:")) or "@sha256:" in each.value
        ):
            error = InvalidInstruction(
                "ollama has no models from packages or by digest",
                code=Code.NOT_IN_OLLAMA,
                keyword=each.keyword,
            )
            problems.error(error, each.value_span or _TOP)


def _warn_of_dropped(modelfile: Modelfile, problems: Problems) -> None:
    for each in modelfile.instructions:
        value = each.value if isinstance(each, TextInstruction | Message | Parameter) else ""
        dropped = {c for c in str(value) if not c.isprintable() and c not in "\t\r\n"}
        if dropped:
            names = ", ".join(sorted(f"U+{ord(c):04X}" for c in dropped)[:5])
            problems.warning(
                Code.DROPPED_BY_OLLAMA,
                f"ollama drops characters of this value: {names}",
                each.value_span or _TOP,
            )
