"""The models of a suite's matrix, and how each is made ready."""

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from olmkit.cli.building.findmodel import find_model
from olmkit.cli.building.localmodel import REMOTE_PREFIXES, called, local_file
from olmkit.cli.errors import NotFound
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.testing.suitefile import QUANT
from olmkit.cli.typedpaths import typed_status
from olmkit.engine.client import Client
from olmkit.engine.errors import EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One model of the matrix."""

    label: str
    """What results call it."""
    source: str
    """A name, or the path of a GGUF file or Modelfile."""
    is_path: bool = False
    quantization: str = ""
    """What a local file is quantized to first; empty: it stays as it is."""


def variants(
    models: Sequence[str], quantizations: Sequence[str], folder: Path
) -> tuple[Variant, ...]:
    """Every model with every quantization.

    `{quant}` in a name stands for each quantization in turn; local files, whose paths are
    relative to the folder, are quantized to each; another name is one model.
    """
    found: list[Variant] = []
    for model in models:
        is_path = _is_path(model)
        for quantization in quantizations or ("",):
            label = source = model.replace(QUANT, quantization)
            if is_path:
                source = str(folder / os.path.expanduser(source))
            makes = is_path and quantization and QUANT not in model
            variant = Variant(
                label=f"{label} {quantization}" if makes else label,
                source=source,
                is_path=is_path,
                quantization=quantization if makes else "",
            )
            if variant not in found:
                found.append(variant)
    return tuple(found)


def _is_path(model: str) -> bool:
    if model.startswith(REMOTE_PREFIXES):
        return False
    return model.startswith(("/", "./", "../", "~")) or model.lower().endswith(".gguf")


@contextmanager
def ready(client: Client, variant: Variant, terminal: Terminal, *, pulls: bool) -> Iterator[str]:
    """The name under which the daemon knows the model; what was built for it goes afterwards.

    Raises:
        ApiError, NotFound, ModelfileErrors and others: it cannot be had.
    """
    if not variant.is_path:
        find_model(client, variant.source, terminal, pulls=pulls)
        yield variant.source
        return
    if typed_status(Path(variant.source)) is None:
        raise NotFound(f"no such file: {variant.label}")
    is_weights = variant.source.lower().endswith(".gguf")
    if is_weights and not variant.quantization:
        digest = local_file(client, os.path.abspath(variant.source), terminal)
        with called(variant.label, digest):
            yield digest or variant.source
        return
    tag = re.sub(r"[^a-z0-9_.-]", "", variant.quantization.lower()) or "latest"
    name = f"olm-test-{secrets.token_hex(4)}:{tag}"
    _build(client, name, variant, terminal, is_weights=is_weights)
    try:
        yield name
    finally:
        with suppress(EngineError):
            client.delete(name)


def _build(
    client: Client, name: str, variant: Variant, terminal: Terminal, *, is_weights: bool
) -> None:
    from olmkit.cli.building.buildmodel import build_model
    from olmkit.cli.building.jsonfiles import read_file
    from olmkit.cli.building.modelfiles import read_parts
    from olmkit.modelfile.parser import parse

    path = Path(variant.source)
    text = f"FROM {path.absolute()}\n".encode() if is_weights else read_file(str(path), terminal)
    modelfile, parts = read_parts(lambda: parse(text, file_name=variant.label), path.parent)
    options = {"quantize": variant.quantization} if variant.quantization else {}
    build_model(client, name, modelfile, parts, options, terminal)
