"""The files of a Hugging Face checkpoint: which ones count, and what is in them.

Holds the only access of conversion to files. Files are untrusted: names may not lead out of
the directory, sizes are bounded, pickles are never opened.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

from olmkit.engine.create.safetensors import Tensor, read_tensors
from olmkit.engine.errors import ModelNotCreatable

MAX_JSON_BYTES: Final = 128 * 1024 * 1024
"""The largest tokenizer.json known has 33 MB (Gemma 3)."""
_INDEX: Final = "model.safetensors.index.json"
_WHOLE: Final = "model.safetensors"
_WEIGHTS: Final = (
    ("model*.safetensors", "*/model*.safetensors"),
    ("adapter_model*.safetensors", "adapters*.safetensors"),
)
"""Groups of patterns; the first that matches anything is taken."""
_ALWAYS: Final = (
    "*.json",
    "*/*.json",
    "chat_template.jinja",
    "additional_chat_templates/*.jinja",
    "tokenizer.model",
    "vocab.txt",
)


def directory_files(directory: Path) -> dict[str, Path]:
    """The files of a model's or an adapter's directory that conversion reads, by name, sorted.

    Raises:
        ModelNotCreatable: no safetensors weights, or a link that leads out of the directory.
    Source: `filesForModel` of https://github.com/ollama/ollama/blob/v0.17.4/parser/parser.go;
    vocab.txt is an addition of olm.
    """
    weights = next((found for group in _WEIGHTS if (found := _matches(directory, group))), {})
    if not weights:
        raise _no_weights(str(directory), sorted(path.name for path in directory.glob("*.bin")))
    root = directory.resolve()
    files = weights | _matches(directory, _ALWAYS)
    for name, path in files.items():
        real = path.resolve()
        if not real.is_relative_to(root):
            raise ModelNotCreatable(
                f"insecure path: {name} leads out of {directory}",
                hint="download the model with --local-dir, so that its files are no links"
                if ".cache" in real.parts
                else None,
            )
    return dict(sorted(files.items()))


def _matches(directory: Path, patterns: tuple[str, ...]) -> dict[str, Path]:
    return {
        path.relative_to(directory).as_posix(): path
        for pattern in patterns
        for path in directory.glob(pattern)
        if path.is_file()
    }


def _no_weights(where: str, names: list[str]) -> ModelNotCreatable:
    if names:
        return ModelNotCreatable(
            f"{names[0]} is a pickle, which can run code when it is read: "
            "only safetensors and GGUF are accepted",
        )
    return ModelNotCreatable(f"no safetensors files found in {where}")


class Checkpoint:
    """The files of one model, by the names that they have in its directory.

    Raises on construction:
        ModelNotCreatable: a name that is absolute or leads out of the directory.
    """

    def __init__(self, files: Mapping[str, Path], *, limit_bytes: int = MAX_JSON_BYTES) -> None:
        for name in files:
            parts = PurePosixPath(name).parts
            if not parts or "\\" in name or "\0" in name or name.startswith("/") or ".." in parts:
                raise ModelNotCreatable(f"file path must be relative: {name[:200]!r}")
        self._files = dict(sorted(files.items()))
        self._limit_bytes = limit_bytes
        """Most bytes of a file that is read whole."""
        self._parsed: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def names(self) -> list[str]:
        """The names of all files, sorted."""
        return list(self._files)

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            ModelNotCreatable: the file is absent, unreadable or larger than `limit_bytes`.
        """
        if name not in self._files:
            raise ModelNotCreatable(f"{name} is missing")
        try:
            with open(self._files[name], "rb") as file:
                raw = file.read(self._limit_bytes + 1)
        except OSError as error:
            raise ModelNotCreatable(f"{name} cannot be read: {error.strerror}") from error
        if len(raw) > self._limit_bytes:
            raise ModelNotCreatable(f"{name} is larger than {self._limit_bytes} bytes")
        return raw

    def text(self, name: str) -> str:
        """The content of a UTF-8 file.

        Raises:
            ModelNotCreatable: as `read`, or not UTF-8.
        """
        try:
            return self.read(name).decode()
        except UnicodeDecodeError as error:
            raise ModelNotCreatable(f"{name} is not UTF-8 text") from error

    def json(self, name: str) -> Any:
        """The parsed content of a JSON file, kept for the next call; not to be changed.

        Raises:
            ModelNotCreatable: as `read`, or not JSON.
        """
        if name not in self._parsed:
            try:
                self._parsed[name] = json.loads(self.read(name))
            except (ValueError, RecursionError) as error:
                raise ModelNotCreatable(f"{name} is not valid JSON: {error}") from error
        return self._parsed[name]

    def find_object(self, name: str) -> dict[str, Any]:
        """The JSON object in a file; empty when there is no such file.

        Raises:
            ModelNotCreatable: the file is there and holds no JSON object.
        """
        value = self.json(name) if name in self else {}
        if not isinstance(value, dict):
            raise ModelNotCreatable(f"{name} holds no JSON object")
        return value

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All tensors of all parts: parts in order of name, tensors of a part too.

        Raises:
            ModelNotCreatable: no weights, a broken or missing part, a tensor in two parts.
        """
        tensors: dict[str, Tensor] = {}
        for part in self._parts():
            for name, tensor in read_tensors(self._files[part], file_name=part).items():
                if name in tensors:
                    raise ModelNotCreatable(
                        f"tensor {name} is both in {tensors[name].file_name} and in {part}"
                    )
                tensors[name] = tensor
        for name in sorted(self._index().keys() - tensors.keys()):
            raise ModelNotCreatable(f"tensor {name} is in {_INDEX} and in no file")
        return tensors

    def _parts(self) -> list[str]:
        every = [name for name in self._files if name.endswith(".safetensors")]
        # Beside Hugging Face's parts there may be a `consolidated.safetensors` with the same again.
        parts = [name for name in every if PurePosixPath(name).name.startswith("model")] or every
        if _WHOLE in parts:
            return [_WHOLE]
        wanted = sorted(set(self._index().values()))
        for part in wanted:
            if part not in parts:
                raise ModelNotCreatable(f"{part[:200]} is named in {_INDEX} and missing")
        if not (wanted or parts):
            pickles = [name for name in self._files if name.endswith((".bin", ".pt", ".pth"))]
            raise _no_weights("the given files", pickles)
        return wanted or parts

    def _index(self) -> dict[str, str]:
        """Tensor name to part; empty without an index.

        One beside a file of the whole model is from another time: the file counts, as it does for
        transformers (`_get_resolved_checkpoint_files` of modeling_utils.py).
        """
        if _INDEX not in self or _WHOLE in self._files:
            return {}
        weight_map = self.find_object(_INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not all(
            isinstance(part, str) for part in weight_map.values()
        ):
            raise ModelNotCreatable(f"{_INDEX} has no weight_map of names")
        return weight_map
