"""What the files given to `create` are: weights, projectors, adapters, or a checkpoint.

Source: modelfile-and-templates reference, section 1.8.
"""

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.models.conversion import convert
from olmkit.engine.models.describe import config_of
from olmkit.engine.models.gguf import GgufHeader, is_gguf, read_header
from olmkit.registry import mediatypes
from olmkit.registry.digest import Digest
from olmkit.registry.events import BlobProgress, EventSink
from olmkit.registry.manifest import Descriptor
from olmkit.registry.modelconfig import ModelConfig
from olmkit.registry.store import Store

MAX_FILES: Final = 4096
_SHARD: Final = re.compile(r"-\d{5}-of-(\d{5})\.gguf$", re.IGNORECASE)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The layers that a model begins with, and the config that they deserve."""

    layers: tuple[Descriptor, ...]
    config: ModelConfig


def weights_of(
    files: Mapping[str, Digest],
    store: Store,
    *,
    tell: Tell,
    on_event: EventSink,
    cancelled: threading.Event,
) -> Weights:
    """The layers of a model that is made of blobs of the store; safetensors are converted.

    Raises:
        ModelNotCreatable: they make no model.
        ModelUnloadable: one is no readable GGUF.
        StoreError: one is not in the store.
    """
    require_relative(files)
    if any(name.endswith(".safetensors") for name in files):
        tell("converting model")
        digest = _converted(files, store, on_event, cancelled)
        files = {"model.gguf": digest}
    model: list[tuple[Descriptor, GgufHeader]] = []
    projectors: list[tuple[Descriptor, GgufHeader]] = []
    adapters: list[Descriptor] = []
    for name, digest in sorted(files.items()):
        tell("parsing GGUF")
        header = _gguf(name, digest, store)
        layer = Descriptor(
            media_type=_media_type(header), digest=digest, size_bytes=header.size_bytes
        )
        match layer.media_type:
            case mediatypes.OLLAMA_ADAPTER:
                adapters.append(layer)
            case mediatypes.OLLAMA_PROJECTOR:
                projectors.append((layer, header))
            case _:
                model.append((layer, header))
    if len(model) != 1:
        raise _wrong_number(files, len(model))
    layers = (model[0][0], *(layer for layer, _ in projectors), *adapters)
    for layer in layers:
        tell(f"using existing layer {layer.digest}")
    config = config_of(model[0][1])
    families = dict.fromkeys((*config.model_families, *(h.architecture for _, h in projectors)))
    return Weights(layers=layers, config=replace(config, model_families=tuple(families)))


def adapter_layers(files: Mapping[str, Digest], store: Store, tell: Tell) -> tuple[Descriptor, ...]:
    """The layer of a LoRA adapter in GGUF; none when there are no files.

    Raises:
        ModelNotCreatable: more than one file, or no adapter.
    """
    require_relative(files)
    if not files:
        return ()
    if any(name.endswith(".safetensors") for name in files):
        raise ModelNotCreatable("adapters in safetensors cannot be converted by this version")
    if len(files) > 1:
        raise ModelNotCreatable("only one adapter is currently supported")
    ((name, digest),) = files.items()
    tell("parsing GGUF")
    header = _gguf(name, digest, store)
    if header.kind != "adapter":
        raise ModelNotCreatable(f"{name} is no adapter")
    tell(f"using existing layer {digest}")
    return (
        Descriptor(
            media_type=mediatypes.OLLAMA_ADAPTER, digest=digest, size_bytes=header.size_bytes
        ),
    )


def require_relative(files: Mapping[str, Digest]) -> None:
    """Refuse names that are absolute or lead out of their directory. Raises: ModelNotCreatable."""
    if len(files) > MAX_FILES:
        raise ModelNotCreatable(f"{len(files)} files are more than {MAX_FILES}")
    for name in files:
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise ModelNotCreatable("file path must be relative", hint=f"not {name[:200]!r}")


def _gguf(name: str, digest: Digest, store: Store) -> GgufHeader:
    path = store.blobs.check(digest)
    try:
        is_readable = is_gguf(path)
    except OSError as error:
        raise ModelNotCreatable(f"{name}: {error.strerror}") from error
    if not is_readable:
        text = "supplied file was not in GGUF format" if name.endswith(".gguf") else "unknown type"
        raise ModelNotCreatable(text, hint=f"{name} starts as no GGUF file does")
    return read_header(path, name=name)


def _media_type(header: GgufHeader) -> str:
    if header.kind == "adapter":
        return mediatypes.OLLAMA_ADAPTER
    has_vision_only = header.own_integer("vision.block_count") and not header.block_count
    if header.kind in ("projector", "mmproj") or header.architecture == "clip" or has_vision_only:
        return mediatypes.OLLAMA_PROJECTOR
    return mediatypes.OLLAMA_MODEL


def _wrong_number(files: Mapping[str, Digest], count: int) -> ModelNotCreatable:
    if any(_SHARD.search(name) for name in files):
        return ModelNotCreatable(
            "GGUF files in several parts cannot be put together by this version",
            hint="merge them with llama.cpp's `llama-gguf-split --merge`",
        )
    return ModelNotCreatable(
        "none of the files holds a model's weights"
        if not count
        else f"{count} of the files hold a model's weights, one is wanted"
    )


def _converted(
    files: Mapping[str, Digest], store: Store, on_event: EventSink, cancelled: threading.Event
) -> Digest:
    paths = {name: store.blobs.check(digest) for name, digest in files.items()}

    def report(completed_bytes: int, total_bytes: int) -> None:
        on_event(
            BlobProgress(
                label="converting model", completed_bytes=completed_bytes, total_bytes=total_bytes
            )
        )

    with store.blobs.workspace() as folder:
        target = folder / "model.gguf"
        convert(paths, target, on_progress=report, cancelled=cancelled)
        digest, _ = store.blobs.ingest_file(target)
    return digest
