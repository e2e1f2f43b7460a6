"""The GGUF files that models are made of: found, put together, converted, quantized.

What is made on the way lies in a workspace of the store and never becomes a blob: an interrupted
or finished work leaves nothing of it.
Source: `convertModelFromFiles` of https://github.com/ollama/ollama/blob/v0.17.4/server/create.go
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from olmkit.engine.childjob import OnProgress
from olmkit.engine.create.conversion import ConvertAdapter, ConvertModel, carry_out
from olmkit.engine.create.quantize import quantize
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.framing import wire_path
from olmkit.engine.gguf import shards
from olmkit.engine.gguf.controlvectors import is_control_vector
from olmkit.engine.gguf.header import GgufHeader, is_gguf, read_header
from olmkit.engine.safemode.safeguard import Safeguard
from olmkit.registry.errors import Cancelled, store_errors
from olmkit.registry.events import BlobProgress, EventSink, Status
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor
from olmkit.registry.store.store import Store

MAX_FILES: Final = 4096

Converts = Callable[[str, dict[str, str]], ConvertModel | ConvertAdapter]
"""Gets the path to write and the paths of a checkpoint's files by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where models are made, and who is told of it."""

    store: Store
    on_event: EventSink
    cancelled: threading.Event
    guard: Safeguard = field(default_factory=Safeguard)
    """What to do when the engine dies in the quantizer."""

    def require_wanted(self) -> None:
        """Go on, unless nobody wants the result any more.

        Raises:
            Cancelled: nobody does.
        """
        if self.cancelled.is_set():
            raise Cancelled("cancelled: nobody waits for the model")

    def tell(self, text: str) -> None:
        """Report a step.

        Raises:
            Cancelled: nobody wants the result any more.
        """
        self.require_wanted()
        self.on_event(Status(text=text))

    def progress(self, label: str) -> OnProgress:
        """What takes completed and total bytes of a step."""

        def report(completed_bytes: int, total_bytes: int) -> None:
            self.on_event(
                BlobProgress(label=label, completed_bytes=completed_bytes, total_bytes=total_bytes)
            )

        return report


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A GGUF file, by its own words one for a layer of the media type."""

    path: Path
    digest: Digest | None
    """None for a file that was made here and is no blob."""
    header: GgufHeader
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A GGUF file among the blobs, as a layer."""

    layer: Descriptor
    header: GgufHeader


@contextmanager
def sources_of(
    files: Mapping[str, Digest],
    site: Site,
    *,
    what: str = "model",
    work: Converts = lambda target, files: ConvertModel(target=target, files=files),
) -> Iterator[list[Source]]:
    """The GGUF files that blobs of the store make, for the block, in the order given.

    A checkpoint in safetensors is converted, as `work` says, and shards are put together.

    Raises:
        ModelNotCreatable: they make none, or one is a shard of which the others are missing.
        ModelUnloadable: one is no readable GGUF.
        StoreError: one is not in the store.
    """
    require_relative(files)
    blobs = site.store.blobs
    with blobs.workspace() as folder:
        if is_checkpoint(files):
            label, target = f"converting {what}", folder / "converted.gguf"
            site.tell(label)
            paths = {name: wire_path(blobs.check(digest)) for name, digest in files.items()}
            carry_out(
                work(wire_path(target), paths),
                on_progress=site.progress(label),
                cancelled=site.cancelled,
            )
            yield [_source(f"{what}.gguf", target, None, site)]
        else:
            yield [
                _source(name, made or blobs.check(files[name]), None if made else files[name], site)
                for name, made in _merged(files, folder, site).items()
            ]


def piece_of(
    source: Source, site: Site, *, what: str = "model", type_text: str | None = None
) -> Piece:
    """The file among the blobs, with its numbers in the type, such as `q4_k_m`, if one is given.

    Raises:
        ModelNotCreatable: no such type, or the file is quantized already.
        StoreError: the file cannot be written.
    """
    digest, header, blobs = source.digest, source.header, site.store.blobs
    if type_text:
        digest = _quantized(source, type_text, site, what)
        header = read_header(blobs.path(digest), name=header.name)
    elif digest is None:
        digest = _taken_in(source.path, site)
    site.tell(f"using existing layer {digest}")
    layer = Descriptor(media_type=source.media_type, digest=digest, size_bytes=header.size_bytes)
    return Piece(layer=layer, header=header)


def _quantized(source: Source, type_text: str, site: Site, what: str) -> Digest:
    label = f"quantizing {source.header.quantization} {what} to {type_text.upper()[:20]}"
    site.tell(label)
    with site.store.blobs.workspace() as folder:
        target = folder / "quantized.gguf"
        with store_errors(target, "write"):
            quantize(
                source.path,
                target,
                type_text,
                guard=site.guard,
                on_progress=site.progress(label),
                cancelled=site.cancelled,
            )
        return _taken_in(target, site)


def _taken_in(path: Path, site: Site) -> Digest:
    digest, _ = site.store.blobs.ingest_file(path, on_bytes=lambda _: site.require_wanted())
    return digest


def _source(name: str, path: Path, digest: Digest | None, site: Site) -> Source:
    header = read_gguf(name, path, site)
    shards.require_whole(header)
    media_type = _media_type(header)
    if media_type == mediatypes.OLLAMA_MODEL and not header.tensors:
        raise ModelNotCreatable(f"{name} holds no weights")
    return Source(path=path, digest=digest, header=header, media_type=media_type)


def read_gguf(name: str, path: Path, site: Site) -> GgufHeader:
    """The header of a file that is to be GGUF.

    Raises:
        ModelNotCreatable: it begins as no GGUF file does.
        ModelUnloadable: it is no readable GGUF.
    """
    site.tell("parsing GGUF")
    try:
        is_readable = is_gguf(path)
    except OSError as error:
        raise ModelNotCreatable(f"{name}: {error.strerror}") from error
    if not is_readable:
        text = "supplied file was not in GGUF format" if name.endswith(".gguf") else "unknown type"
        raise ModelNotCreatable(text, hint=f"{name} starts as no GGUF file does")
    return read_header(path, name=name)


def _media_type(header: GgufHeader) -> str:
    if header.kind == "adapter" or is_control_vector(header):
        return mediatypes.OLLAMA_ADAPTER
    has_vision_only = header.own_integer("vision.block_count") and not header.block_count
    if header.kind in ("projector", "mmproj") or header.architecture == "clip" or has_vision_only:
        return mediatypes.OLLAMA_PROJECTOR
    return mediatypes.OLLAMA_MODEL


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


def _merged(files: Mapping[str, Digest], folder: Path, site: Site) -> dict[str, Path | None]:
    """The files' names, in order; those in several parts put together, in place of the first.

    With the path of what was put together, None for the others.
    """
    whole: dict[str, Path | None] = dict.fromkeys(files)
    order = {name: place for place, name in enumerate(files)}
    for name, parts in shards.sets_of(files).items():
        paths = {part: site.store.blobs.check(files[part]) for part in parts}
        for part, path in paths.items():
            read_gguf(part, path, site)
            del whole[part]
        if name in whole:
            raise ModelNotCreatable(f"the model is given both in parts and whole, as {name}")
        target = folder / f"merged-{order[parts[0]]}.gguf"
        _merge(paths, target, site)
        whole[name], order[name] = target, order[parts[0]]
    return {name: whole[name] for name in sorted(whole, key=order.__getitem__)}


def _merge(parts: Mapping[str, Path], target: Path, site: Site) -> None:
    merge, done_bytes = shards.merge(parts), 0
    report = site.progress("merging GGUF")
    with store_errors(target, "write"), open(target, "xb") as file:
        for block in merge.blocks():
            site.require_wanted()
            file.write(block)
            done_bytes += len(block)
            report(done_bytes, merge.size_bytes)
