"""The local files that a FROM, ADAPTER or DRAFT stands for.

Paths are relative to the Modelfile. A FROM that names something on disk is files, any other is
a model's name; one that is spelled as a path and is not there is an error here, not a name that
no registry has.
Source: https://github.com/ollama/ollama/blob/v0.17.4/parser/parser.go
"""

import os
from pathlib import Path

from olmkit.cli.errors import CliError

WEIGHT_PATTERNS = (
    ("model*.safetensors", "*/model*.safetensors"),
    ("consolidated*.safetensors",),
    ("*.safetensors",),
    ("*.gguf",),
    ("*.bin",),
)
"""Groups of weight files; the first group with a file in a directory is taken. Of `*.bin` only GGUF
files count: llama.cpp's first ones were called so."""
COMPANION_PATTERNS = (
    "*.json",
    "*/*.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
    "vocab.txt",
)
"""Files that conversion reads beside safetensors. Templates in files of their own are a habit of
transformers, and vocab.txt is the tokenizer of old BERT models."""
TOKENIZER_PATTERNS = ("tokenizer.model", "*/tokenizer.model")
PICKLED = (".bin", ".pth", ".pt", ".ckpt")
Files = dict[str, Path]
"""Paths of files by the names that they get, which are their paths in the given directory."""


def is_path(text: str) -> bool:
    """Whether a FROM can only mean a file."""
    return (
        text.startswith(("/", "./", "../", "~"))
        or text in (".", "..")
        or ("://" not in text and text.lower().endswith((".gguf", ".safetensors")))
    )


def local_files(text: str, directory: Path, *, may_be_name: bool) -> Files | None:
    """The files that the text stands for, by the names that they get; None: a model's name.

    Raises:
        CliError: they are missing, unsafe or hold no model.
    """
    path = find_existing(text, directory)
    if path is None:
        if may_be_name and not is_path(text):
            return None
        raise CliError(f"no such file: {text}", hint="paths are relative to the Modelfile")
    if path.is_file():
        _require_content(path, text)
        if path.suffix in PICKLED and not _is_gguf(path):
            raise _pickled(path.name, "is no GGUF file, and a pickle")
        return _with_siblings(path)
    if not path.is_dir():
        raise CliError(f"{text} is neither a file nor a directory")
    try:
        found = _directory_files(path)
        if not found and may_be_name and not is_path(text):
            return None  # a directory that happens to be called like the model
        if not found:
            raise _no_weights(path)
    except OSError as error:
        raise CliError(f"cannot read {text}: {(error.strerror or '').lower()}") from error
    return found


def _require_content(path: Path, text: str) -> None:
    """Refuse what is no file on a disk: the kernel's own have no size, and some never end.

    Raises:
        CliError: the file is empty, or says so.
    """
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise CliError(f"cannot read {text}: {(error.strerror or '').lower()}") from error
    if not size_bytes:
        raise CliError(f"{text} is empty")


def _with_siblings(path: Path) -> Files:
    """The file; where it is one shard of a GGUF model, all of them, from the same directory."""
    from olmkit.registry.shardnames import parse_shard_name

    shard = parse_shard_name(path.name)
    files = {name: path.with_name(name) for name in (shard.siblings if shard else (path.name,))}
    missing = [name for name, each in files.items() if not each.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CliError(
            f"the model is not complete: {missing[0]}{more} missing",
            hint=f"they belong beside {path}",
        )
    return files


def find_existing(text: str, directory: Path) -> Path | None:
    """The path that the text means below the Modelfile's directory; None when nothing is there."""
    try:
        path = directory / os.path.expanduser(text)
        return path if path.exists() else None
    except (OSError, ValueError):
        return None  # too long, or a NUL in it


def _no_weights(directory: Path) -> CliError:
    if any(file.suffix in PICKLED for file in directory.iterdir()):
        return _pickled(str(directory), "holds pickled weights only, which")
    return CliError(f"no safetensors or GGUF files in {directory}")


def _pickled(what: str, reason: str) -> CliError:
    return CliError(
        f"{what} {reason} could run any code", hint="convert the weights to safetensors first"
    )


def _is_gguf(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"GGUF"
    except OSError:
        return False


def _directory_files(directory: Path) -> Files:
    """Weights, configuration and tokenizer by their path in the directory; empty: no weights.

    Raises:
        CliError: a file leads out of the directory, or a shard is missing.
    """
    root = directory.resolve()
    weights = next((found for group in WEIGHT_PATTERNS if (found := _matching(root, group))), [])
    if not weights:
        return {}
    others = []
    if weights[0].suffix == ".gguf":
        for path in weights:
            _with_siblings(path)  # none of them may be missing
    if weights[0].suffix == ".safetensors":
        others = _matching(root, COMPANION_PATTERNS) + _matching(root, TOKENIZER_PATTERNS)[:1]
    files = {}
    for path in weights + others:
        name = path.relative_to(root).as_posix()
        target = path.resolve()
        if not target.is_relative_to(root):
            is_cached = ".cache" in target.parts or "blobs" in target.parts
            hint = "download with `--local-dir` to get files instead of links into a cache"
            raise CliError(
                f"insecure path: {path} leads out of {root}", hint=hint if is_cached else None
            )
        files[name] = path
    return files


def _matching(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    found = (path for pattern in patterns for path in sorted(root.glob(pattern)))
    return [
        path
        for path in found
        if path.is_file()
        and not path.name.startswith(".")
        and (path.suffix != ".bin" or _is_gguf(path))
    ]
