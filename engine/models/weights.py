"""What the files given to `create` are: weights, projectors, adapters, or a checkpoint.

Source: modelfile-and-templates reference, section 1.8.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.models import shards
from olmkit.engine.models.conversion import (
    ConvertAdapter,
    ConvertModel,
    OnProgress,
    Order,
    carry_out,
)
from olmkit.engine.models.describe import config_of
from olmkit.engine.models.gguf import GgufHeader, is_gguf, read_header
from olmkit.engine.models.quantize import quantize
from olmkit.registry import mediatypes
from olmkit.registry.digest import Digest
from olmkit.registry.errors import TransferCancelled, store_errors
from olmkit.registry.events import BlobProgress, EventSink, Status
from olmkit.registry.manifest import Descriptor
from olmkit.registry.modelconfig import ModelConfig
from olmkit.registry.store import Store

MAX_FILES: Final = 4096
_ORDER: Final = (
    mediatypes.OLLAMA_MODEL,
    mediatypes.OLLAMA_PROJECTOR,
    mediatypes.OLLAMA_ADAPTER,
)
"""Of a model's layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where models are made, and who is told of it."""

    store: Store
    on_event: EventSink
    cancelled: threading.Event

    def tell(self, text: str) -> None:
        """Report a step, unless nobody wants the result any more.

        Raises:
            TransferCancelled: nobody does.
        """
        if self.cancelled.is_set():
            raise TransferCancelled("cancelled: nobody waits for the model")
        self.on_event(Status(text=text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A GGUF file among the blobs, and the layer that it is by its own words."""

    layer: Descriptor
    header: GgufHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The layers that a model begins with, and the config that they deserve."""

    layers: tuple[Descriptor, ...]
    config: ModelConfig


def weights_of(files: Mapping[str, Digest], site: Site) -> Weights:
    """The layers of a model that is made of blobs of the store; safetensors are converted.

    Raises:
        ModelNotCreatable: they make no model.
        ModelUnloadable: one is no readable GGUF.
        StoreError: one is not in the store.
    """
    pieces = pieces_of(files, site)
    model = [piece for piece in pieces if piece.layer.media_type == mediatypes.OLLAMA_MODEL]
    if len(model) != 1:
        raise _wrong_number(len(model))
    pieces.sort(key=lambda piece: (_ORDER.index(piece.layer.media_type), piece.header.name))
    for piece in pieces:
        site.tell(f"using existing layer {piece.layer.digest}")
    config = config_of(model[0].header)
    projectors = (p for p in pieces if p.layer.media_type == mediatypes.OLLAMA_PROJECTOR)
    families = dict.fromkeys((*config.model_families, *(p.header.architecture for p in projectors)))
    return Weights(
        layers=tuple(piece.layer for piece in pieces),
        config=replace(config, model_families=tuple(families)),
    )


def pieces_of(files: Mapping[str, Digest], site: Site, *, what: str = "model") -> list[Piece]:
    """The GGUF files that blobs of the store make, in the order given; `what` they are is told.

    Safetensors are converted, and the parts of a file put together.

    Raises as `weights_of`.
    """
    require_relative(files)
    if is_checkpoint(files):
        label = f"converting {what}"
        site.tell(label)
        paths = _paths(files, site)
        digest = _converted(
            lambda target: ConvertModel(target=str(target), files=paths), label, site
        )
        files = {f"{what}.gguf": digest}
    pieces = []
    for name, digest in _merged(files, site).items():
        header = _gguf(name, digest, site)
        shards.require_whole(header)
        pieces.append(Piece(layer=_layer(_media_type(header), digest, header), header=header))
    return pieces


def adapter_layers(
    files: Mapping[str, Digest], base: Sequence[Descriptor], site: Site
) -> tuple[Descriptor, ...]:
    """The layer of a LoRA adapter for the model of `base`; none when there are no files.

    Raises:
        ModelNotCreatable: more than one GGUF file, or no adapter.
        ModelUnloadable: a file is no readable GGUF.
    """
    require_relative(files)
    if not files:
        return ()
    if is_checkpoint(files):
        site.tell("converting adapter")
        paths, model = _paths(files, site), site.store.blobs.path(_model_layer(base).digest)
        digest = _converted(
            lambda target: ConvertAdapter(target=str(target), files=paths, base=str(model)),
            "converting adapter",
            site,
        )
        files = {"adapter.gguf": digest}
    if len(files) > 1:
        raise ModelNotCreatable("only one adapter is currently supported")
    ((name, digest),) = files.items()
    header = _gguf(name, digest, site)
    if header.kind != "adapter":
        raise ModelNotCreatable(f"{name} is no adapter")
    site.tell(f"using existing layer {digest}")
    return (_layer(mediatypes.OLLAMA_ADAPTER, digest, header),)


def quantized(weights: Weights, type_text: str, site: Site) -> Weights:
    """The same with the model's numbers in another type, such as `q4_k_m`.

    Raises:
        ModelNotCreatable: no such type, or the model is quantized already.
    """
    old = _model_layer(weights.layers)
    new = quantized_layer(old, type_text, site)
    return Weights(
        layers=tuple(new.layer if layer is old else layer for layer in weights.layers),
        config=replace(weights.config, file_type=new.header.quantization),
    )


def quantized_layer(layer: Descriptor, type_text: str, site: Site, *, what: str = "model") -> Piece:
    """The layer's GGUF file with its numbers in another type.

    Raises as `quantized`.
    """
    source = site.store.blobs.check(layer.digest, layer.size_bytes)
    header = read_header(source, name=f"{what} {layer.digest.short}")
    label = f"quantizing {header.quantization} {what} to {type_text.upper()[:20]}"
    site.tell(label)
    digest = _made(
        lambda target, on_progress: quantize(
            source, target, type_text, on_progress=on_progress, cancelled=site.cancelled
        ),
        label,
        site,
    )
    header = read_header(site.store.blobs.path(digest), name=f"{what} {digest.short}")
    return Piece(layer=_layer(layer.media_type, digest, header), header=header)


def is_checkpoint(files: Mapping[str, Digest]) -> bool:
    """Whether the files are to be converted: any of them is in safetensors."""
    return any(name.endswith(".safetensors") for name in files)


def require_relative(files: Mapping[str, Digest]) -> None:
    """Refuse names that are absolute or lead out of their directory. Raises: ModelNotCreatable."""
    if len(files) > MAX_FILES:
        raise ModelNotCreatable(f"{len(files)} files are more than {MAX_FILES}")
    for name in files:
        path = PurePosixPath(name)
        if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise ModelNotCreatable("file path must be relative", hint=f"not {name[:200]!r}")


def _paths(files: Mapping[str, Digest], site: Site) -> dict[str, str]:
    return {name: str(site.store.blobs.check(digest)) for name, digest in files.items()}


def _layer(media_type: str, digest: Digest, header: GgufHeader) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest, size_bytes=header.size_bytes)


def _model_layer(layers: Sequence[Descriptor]) -> Descriptor:
    for layer in layers:
        if layer.media_type == mediatypes.OLLAMA_MODEL:
            return layer
    raise ModelNotCreatable("the model holds no GGUF weights")


def _gguf(name: str, digest: Digest, site: Site) -> GgufHeader:
    site.tell("parsing GGUF")
    path = site.store.blobs.check(digest)
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


def _wrong_number(count: int) -> ModelNotCreatable:
    return ModelNotCreatable(
        "none of the files holds a model's weights"
        if not count
        else f"{count} of the files hold a model's weights, one is wanted"
    )


def _merged(files: Mapping[str, Digest], site: Site) -> dict[str, Digest]:
    """The files with those in several parts put together, in place of the first part."""
    whole, order = dict(files), {name: place for place, name in enumerate(files)}
    for name, parts in shards.sets_of(files).items():
        for part in parts:
            _gguf(part, files[part], site)
        paths = {part: site.store.blobs.check(files[part]) for part in parts}
        merge = shards.merge(paths)
        with site.store.blobs.writer(size_bytes=merge.size_bytes) as writer:
            for block in merge.blocks():
                if site.cancelled.is_set():
                    raise TransferCancelled("cancelled: nobody waits for the model")
                writer.write(block)
                site.on_event(
                    BlobProgress(
                        label="merging GGUF",
                        completed_bytes=writer.written_bytes,
                        total_bytes=merge.size_bytes,
                    )
                )
            digest = writer.commit()
        for part in parts:
            del whole[part]
        if name in whole:
            raise ModelNotCreatable(f"the model is given both in parts and whole, as {name}")
        whole[name] = digest
        order[name] = order[parts[0]]
    return {name: whole[name] for name in sorted(whole, key=order.__getitem__)}


def _converted(order: Callable[[Path], Order], label: str, site: Site) -> Digest:
    """The digest of the file that an order for a target gave."""
    return _made(
        lambda target, on_progress: carry_out(
            order(target), on_progress=on_progress, cancelled=site.cancelled
        ),
        label,
        site,
    )


def _made(write: Callable[[Path, OnProgress], None], label: str, site: Site) -> Digest:
    """The digest of the file that `write` makes at the path it gets, its progress told."""

    def report(completed_bytes: int, total_bytes: int) -> None:
        site.on_event(
            BlobProgress(label=label, completed_bytes=completed_bytes, total_bytes=total_bytes)
        )

    with site.store.blobs.workspace() as folder:
        target = folder / "made.gguf"
        with store_errors(target, "write"):
            write(target, report)
        digest, _ = site.store.blobs.ingest_file(target)
    return digest
