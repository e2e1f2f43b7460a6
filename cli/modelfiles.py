"""A Modelfile and the local files it names, made into a request to the daemon.

Paths are relative to the Modelfile. A FROM that names something on disk is files, any other is
a model's name (modelfile reference, section 1.7); one that is spelled as a path and is not
there is an error here, not a name that no registry has.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from olmkit.cli.errors import CliError
from olmkit.modelfile.diagnostics import Code
from olmkit.modelfile.errors import InvalidInstruction, Problems
from olmkit.modelfile.instructions import Adapter, Draft, From, Modelfile, TextInstruction
from olmkit.modelfile.source import Source

WEIGHT_PATTERNS = (
    ("model*.safetensors", "*/model*.safetensors"),
    ("consolidated*.safetensors",),
    ("*.safetensors",),
    ("*.gguf",),
)
"""The first group of which there is a file in a directory gives its weights."""
COMPANION_PATTERNS = ("*.json", "*/*.json", "chat_template.jinja")
TOKENIZER_PATTERNS = ("tokenizer.model", "*/tokenizer.model")
PICKLED = (".bin", ".pth", ".pt", ".ckpt")
Files = dict[str, Path]


@dataclass(slots=True, kw_only=True)
class Parts:
    """What a Modelfile builds on: local files by the name they get, and a model's name."""

    name: str | None = None
    files: Files = field(default_factory=dict)
    adapters: Files = field(default_factory=dict)
    drafts: Files = field(default_factory=dict)


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
            _add_part(parts, instruction, directory)
        except CliError as error:
            complaint = InvalidInstruction(
                str(error), code=Code.INVALID_VALUE, keyword=instruction.keyword, hint=error.hint
            )
            if instruction.value_span is None:
                raise complaint from error
            problems.error(complaint, instruction.value_span)
    problems.raise_errors()
    return parts


def _add_part(parts: Parts, instruction: TextInstruction, directory: Path) -> None:
    found = _local_files(instruction.value, directory, may_be_name=isinstance(instruction, From))
    if found is None:
        parts.name = instruction.value
    elif isinstance(instruction, From):
        for name in found.keys() & parts.files.keys():
            raise CliError(f"two files of the model are called {name}")
        parts.files |= found
    elif isinstance(instruction, Adapter):
        parts.adapters = found
    else:
        parts.drafts |= found


def is_path(text: str) -> bool:
    """Whether a FROM can only mean a file."""
    return (
        text.startswith(("/", "./", "../", "~"))
        or text in (".", "..")
        or ("://" not in text and text.lower().endswith((".gguf", ".safetensors")))
    )


def _local_files(text: str, directory: Path, *, may_be_name: bool) -> Files | None:
    path = _existing(text, directory)
    if path is None:
        if may_be_name and not is_path(text):
            return None
        raise CliError(f"no such file: {text}", hint="paths are relative to the Modelfile")
    if path.is_file():
        return {path.name: path}
    found = _directory_files(path)
    if not found and may_be_name and not is_path(text):
        return None  # a directory that happens to be called like the model
    if not found:
        raise _no_weights(path)
    return found


def _existing(text: str, directory: Path) -> Path | None:
    try:
        path = directory / Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):
        return None  # too long, a NUL in it, or a home that is nobody's


def _no_weights(directory: Path) -> CliError:
    if any(file.suffix in PICKLED for file in directory.iterdir()):
        return CliError(
            f"{directory} holds pickled weights only, which could run any code",
            hint="convert them to safetensors first",
        )
    return CliError(f"no safetensors or GGUF files in {directory}")


def _directory_files(directory: Path) -> Files:
    """Weights, configuration and tokenizer by their path in the directory; empty: no weights.

    Raises:
        CliError: a file leads out of the directory.
    """
    root = directory.resolve()
    weights = next((found for group in WEIGHT_PATTERNS if (found := _matching(root, group))), [])
    if not weights:
        return {}
    others = _matching(root, COMPANION_PATTERNS) + _matching(root, TOKENIZER_PATTERNS)[:1]
    files = {}
    for path in weights + others:
        name = path.relative_to(root).as_posix()
        if not path.resolve().is_relative_to(root):
            raise CliError(
                f"{path} leads out of {root}",
                hint="download with `--local-dir` to get files instead of links into a cache",
            )
        files[name] = path
    return files


def _matching(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    found = (path for pattern in patterns for path in sorted(root.glob(pattern)))
    return [path for path in found if path.is_file() and not path.name.startswith(".")]


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
