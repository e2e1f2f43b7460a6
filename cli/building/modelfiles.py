"""A Modelfile and the local files it names, made into a request to the daemon."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from olmkit.cli.building.localfiles import Files, find_existing, is_path, local_files
from olmkit.cli.errors import CliError
from olmkit.modelfile.check import check_template, same_path
from olmkit.modelfile.diagnostics import Code, Diagnostic
from olmkit.modelfile.errors import InvalidInstruction, ModelfileError
from olmkit.modelfile.instructions import Adapter, Draft, From, Modelfile, TextInstruction
from olmkit.modelfile.problems import ModelfileErrors, Problems
from olmkit.modelfile.source import Source
from olmkit.registry.errors import InvalidReference
from olmkit.registry.oci.reference import Reference


@dataclass(slots=True, kw_only=True)
class Parts:
    """The parts that a Modelfile names: local files by the name they get, and a model's name."""

    name: str | None = None
    files: Files = field(default_factory=dict)
    adapters: Files = field(default_factory=dict)
    drafts: Files = field(default_factory=dict)
    warnings: tuple[Diagnostic, ...] = ()
    """Warnings about the instructions that name the parts."""


def read_parts(read: Callable[[], Modelfile], directory: Path) -> tuple[Modelfile, Parts]:
    """The Modelfile that `read` gives, and its `checked_parts`.

    Raises:
        ModelfileErrors: all that is wrong with the text, the template and the files.
    """
    failures: list[ModelfileErrors] = []
    modelfile: Modelfile | None = None
    try:
        modelfile = read()
    except ModelfileErrors as errors:
        failures.append(errors)
        modelfile = _certain(errors)
    if modelfile is not None:
        try:
            parts = checked_parts(modelfile, directory)
        except ModelfileErrors as errors:
            failures.append(errors)
        else:
            if not failures:
                return modelfile, parts
    raise _together(failures, modelfile)


def _certain(errors: ModelfileErrors) -> Modelfile | None:
    """The part that could be read: up to a quote that never closes, for anything behind it may be
    text."""
    modelfile = errors.modelfile
    opened = [e.span for e in errors.errors if e.code is Code.UNCLOSED_QUOTE and e.span]
    if modelfile is None or not opened:
        return modelfile
    certain = (e for e in modelfile.instructions if e.span is None or e.span < min(opened))
    return replace(modelfile, instructions=tuple(certain))


def _together(failures: list[ModelfileErrors], modelfile: Modelfile | None) -> ModelfileErrors:
    """One group of all the errors, each of them once."""
    found: dict[object, ModelfileError] = {}
    for error in (error for failure in failures for error in failure.errors):
        place = error.diagnostic and (error.diagnostic.span, error.diagnostic.message)
        found.setdefault(place or id(error), error)
    warnings = [each for failure in failures for each in failure.warnings]
    return ModelfileErrors(
        list(found.values()), (*(modelfile.warnings if modelfile else ()), *warnings)
    )


def checked_parts(modelfile: Modelfile, directory: Path) -> Parts:
    """`find_parts`, once the template is known to be one as well.

    Raises:
        ModelfileErrors: all that is wrong with either.
    """
    failures = []
    try:
        check_template(modelfile)
    except ModelfileErrors as errors:
        failures.append(errors)
    try:
        parts = find_parts(modelfile, directory)
    except ModelfileErrors as errors:
        failures.append(errors)
    else:
        if not failures:
            return parts
    raise _together(failures, None)


def find_parts(modelfile: Modelfile, directory: Path) -> Parts:
    """The files and names that the instructions mean; `directory` is the Modelfile's.

    Raises:
        ModelfileErrors: files that are missing, unsafe or hold no model, each with its place.
    """
    parts = Parts()
    problems = Problems(modelfile.source or Source("", "Modelfile"))
    for instruction in modelfile.instructions:
        if not isinstance(instruction, From | Adapter | Draft):
            continue
        try:
            _add_part(parts, instruction, directory, problems)
        except CliError as error:
            complaint = InvalidInstruction(
                str(error), code=Code.INVALID_VALUE, keyword=instruction.keyword, hint=error.hint
            )
            if instruction.value_span is None:
                raise complaint from error
            problems.error(complaint, instruction.value_span)
    _check_drafts(modelfile, directory, problems)
    _warn_of_ignored(modelfile, parts, problems)
    problems.raise_errors()
    parts.warnings = tuple(problems.warnings)
    return parts


def _add_part(
    parts: Parts, instruction: TextInstruction, directory: Path, problems: Problems
) -> None:
    text = instruction.value
    found = local_files(text, directory, may_be_name=isinstance(instruction, From))
    if found is None:
        _require_name(text)
        parts.name = text
    elif isinstance(instruction, From):
        _add_files(parts.files, found, "model")
        if not is_path(text) and instruction.value_span is not None:
            problems.warning(
                Code.SHADOWED_NAME,
                f"{text} is a file beside the Modelfile, which is taken before a model's name",
                instruction.value_span,
                suggestion=f"./{text}",
            )
    elif isinstance(instruction, Adapter):
        parts.adapters = found
    else:
        _add_files(parts.drafts, found, "draft")


def _require_name(text: str) -> None:
    if text.startswith(("oci:", "oci-archive:")):
        raise CliError(
            f"{text!r} is a layout, which holds models under names of their own",
            hint=f"`olm pull {text}` brings them; then FROM takes one by its name",
        )
    try:
        Reference.parse(text)
    except InvalidReference as error:
        is_commented = re.search(r"\s#", text) is not None
        hint = "a comment needs a line of its own" if is_commented else error.hint
        raise CliError(str(error), hint=hint) from error


def _add_files(files: Files, more: Files, what: str) -> None:
    for name in more.keys() & files.keys():
        if more[name] != files[name]:
            raise CliError(f"two files of the {what} are called {name}")
    files |= more


def _check_drafts(modelfile: Modelfile, directory: Path, problems: Problems) -> None:
    """Refuse a draft that is the model itself under another spelling: it would guess nothing
    sooner."""
    paths = [
        (each, find_existing(each.value, directory))
        for each in modelfile.instructions
        if isinstance(each, From | Draft)
    ]
    models = {path.resolve() for each, path in paths if isinstance(each, From) and path}
    for each, path in paths:
        if isinstance(each, Draft) and path and path.resolve() in models and each.value_span:
            error = InvalidInstruction(
                same_path(each.value), code=Code.SAME_PATH, keyword=each.keyword
            )
            problems.error(error, each.value_span)


def _warn_of_ignored(modelfile: Modelfile, parts: Parts, problems: Problems) -> None:
    """Warn of files beside a name: where FROM says both, the daemon takes the name alone."""
    if not parts.name or not parts.files:
        return
    for each in modelfile.instructions:
        if isinstance(each, From) and each.value != parts.name and each.value_span is not None:
            text = f"FROM {parts.name} is a model, beside which no other FROM counts"
            problems.warning(Code.NO_EFFECT, text, each.value_span)


def create_request(
    name: str, modelfile: Modelfile, parts: Parts, hand_over: Callable[[Path], str]
) -> dict[str, object]:
    """The body of `POST /api/create`; `hand_over` gives a file to the daemon for its digest."""

    def digests(files: Files) -> dict[str, str]:
        return {relative: hand_over(path) for relative, path in files.items()}

    body: dict[str, object] = {
        "model": name,
        "from": parts.name,
        "files": digests(parts.files),
        "adapters": digests(parts.adapters),
        "draft_files": digests(parts.drafts),
        "template": modelfile.template,
        "system": modelfile.system,
        "license": list(modelfile.licenses),
        "parameters": modelfile.parameters,
        "messages": [{"role": m.role.value, "content": m.value} for m in modelfile.messages],
        "renderer": modelfile.renderer,
        "parser": modelfile.parser,
        "requires": modelfile.requires,
    }
    return {
        key: value for key, value in body.items() if value is not None and value not in ([], {})
    }
