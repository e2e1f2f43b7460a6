"""The local store: names to manifests, in Ollama's on-disk layout.

    manifests/HOST/NAMESPACE/MODEL/TAG   the manifest's bytes as served
    blobs/sha256-<hex>                   verified content only
    incoming/                            files that clients hand over, 0700
    staging/ leases/ locks/ links/       work in flight, what it needs, locks, hard-link records

Decides what a name means, and the order of writes: blobs before the manifest that names them, the
manifest's removal before theirs. An existing Ollama store can be used in place; what olm cannot
read there it never touches. Reading takes no lock; writing holds `locks/store`, for milliseconds.
"""

import os
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from olmkit.registry.errors import InvalidManifest, ModelNotFound, StoreError, store_errors
from olmkit.registry.events import EventSink
from olmkit.registry.oci.digest import Digest, OnBytes
from olmkit.registry.oci.manifest import Manifest
from olmkit.registry.oci.modelconfig import CONFIG_LIMIT_BYTES, ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store import collect, journal, nametree
from olmkit.registry.store.blobs import BlobStore
from olmkit.registry.store.locks import claimed_folder, locked, remove_abandoned
from olmkit.registry.store.nametree import NameTree, Unreadable

_INCOMING_NAME = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredModel:
    """A name in the store with the manifest that it stands for."""

    reference: Reference
    manifest: Manifest
    manifest_digest: Digest
    modified_at: datetime
    size_bytes: int

    @property
    def id(self) -> str:
        """The 12 digits that listings show."""
        return self.manifest_digest.short

    def config(self, store: "Store") -> ModelConfig:
        """The model's config blob.

        Raises:
            InvalidManifest: it is no config.
            StoreError: it is absent, too long or corrupt.
        """
        return ModelConfig.parse(
            store.blobs.read_small(self.manifest.config.digest, CONFIG_LIMIT_BYTES)
        )


_Models = list[StoredModel]
_Downloads = list[journal.Unfinished]
_Version = tuple[int, int, int]
"""Inode, time of modification and size of a manifest's file."""
_SEEN_LIMIT = 10_000


class Store:
    """One store; any number of threads and processes may use it at once."""

    def __init__(
        self, root: Path, *, keeps_replaced: bool = False, kept_free_bytes: int = 0
    ) -> None:
        """`keeps_replaced`: blobs of a manifest that another one replaced stay for `collect`.

        `kept_free_bytes`: nothing is written that would leave less free on the disk.
        """
        self.root = root
        self._keeps_replaced = keeps_replaced
        self.blobs = BlobStore(root, kept_free_bytes=kept_free_bytes)
        self.names = NameTree(root / "manifests", root / "staging")
        self.leases = root / "leases"
        self.lock = root / "locks" / "store"
        self._seen: dict[str, tuple[_Version, StoredModel]] = {}

    @property
    def incoming(self) -> Path:
        """The folder in which clients of the same user put files for `adopt`; made when absent.

        Raises:
            StoreError: it cannot be made.
        """
        folder = self.root / "incoming"
        with store_errors(folder, "create"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def find(self, reference: Reference) -> Reference | None:
        """The stored spelling of a name, case folded; an exact match comes first.

        A reference with a digest is also found under another tag of its repository.

        Raises:
            StoreError: the store cannot be read.
        """
        parts = self._find(reference)
        return None if parts is None else nametree.reference_of(parts)

    def _find(self, reference: Reference) -> nametree.Parts | None:
        wanted = nametree.parts_of(reference)
        parts = self.names.spelling(wanted)
        if reference.digest is None:
            return parts
        siblings = [(*wanted[:-1], tag) for tag in self.names.names(wanted[:-1])]
        for candidate in ([] if parts is None else [parts]) + siblings:
            file = self.names.read(candidate)
            if file is not None and Digest.of(file.raw) == reference.digest:
                return candidate
        return None

    def manifest_path(self, reference: Reference) -> Path:
        """Where the manifest of a name lies that is spelled just so; it need not be there.

        Raises:
            InvalidReference: no file can have that name.
            StoreError: a link is in the way.
        """
        return self.names.path(nametree.parts_of(reference))

    def load(self, reference: Reference) -> StoredModel:
        """The model of this name.

        Raises:
            ModelNotFound: the store has none.
            InvalidManifest: what it has is no manifest.
            StoreError: the store cannot be read.
        """
        parts = self._find(reference)
        file = None if parts is None else self.names.read(parts)
        stored = None if parts is None else nametree.reference_of(parts)
        if file is None or stored is None:
            raise _not_found(reference)
        return _stored_model(stored, file)

    def list(self) -> _Models:
        """All models that can be read, the last modified first.

        Raises:
            StoreError: the store cannot be read.
        """
        return self.scan()[0]

    def scan(self) -> tuple[_Models, tuple[Unreadable, ...]]:
        """`list`, and the files below `manifests/` that are no models.

        Raises:
            StoreError: the store cannot be read.
        """
        models: _Models = []
        unreadable: list[Unreadable] = []
        for path, depth in nametree.files_below(self.names.folder):
            try:
                model = self._model_at(path, depth)
            except (StoreError, InvalidManifest, OSError, ValueError) as error:
                unreadable.append(Unreadable(path=Path(path), reason=str(error)))
            else:
                models += [] if model is None else [model]
        models.sort(key=lambda model: model.reference.full)
        models.sort(key=lambda model: model.modified_at, reverse=True)  # stable
        return models, tuple(unreadable)

    def _model_at(self, path: str, depth: int) -> StoredModel | None:
        """The model whose manifest is at `path`, read once for every version of the file."""
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(found.st_mode):
            raise StoreError(f"the folder {path} cannot be read", path=path)
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = self._seen.get(path)
        if known is not None and known[0] == version:
            return known[1]
        if depth != nametree.LEVELS:
            raise StoreError(f"{path} is not at HOST/NAMESPACE/MODEL/TAG", path=path)
        reference = nametree.reference_of(tuple(path.split(os.sep)[-nametree.LEVELS :]))
        if reference is None:
            raise StoreError(f"{path} is no model's name", path=path)
        file = nametree.read_manifest_file(path)
        if file is None:
            return None
        model = _stored_model(reference, file)
        if len(self._seen) >= _SEEN_LIMIT:
            self._seen.clear()
        self._seen[path] = (version, model)
        return model

    def with_id(self, prefix: str) -> _Models:
        """The models whose manifest digest begins with these hexadecimal digits."""
        wanted = prefix.lower().removeprefix("sha256:")
        return [model for model in self.list() if model.manifest_digest.hex.startswith(wanted)]

    def put(self, reference: Reference, manifest: Manifest) -> Digest:
        """Make a name mean a manifest, durably and at once; returns the manifest's digest.

        One that means it already counts as modified now.

        Blobs that only the replaced manifest used are removed.

        Raises:
            StoreError: a blob is absent or of another size, or the store cannot be written.
            InvalidManifest: the reference fixes another digest.
            DiskFull: no room for the manifest.
        """
        if reference.digest not in (None, manifest.digest):
            raise InvalidManifest(
                f"the manifest of {reference.short} has another digest, {manifest.digest}"
            )
        for blob in manifest.blobs:
            self.blobs.check(blob.digest, blob.size_bytes)
        with locked(self.lock):
            for blob in manifest.blobs:
                if not self.blobs.is_whole(blob.digest, blob.size_bytes):
                    path = str(self.blobs.path(blob.digest))
                    raise StoreError(f"blob {blob.digest} is gone from {path}", path=path)
            parts = self.names.spelling_to_write(nametree.parts_of(reference))
            replaced = self.names.read(parts)
            if replaced is not None and replaced.raw == manifest.raw:
                self.names.touch(parts)
                return manifest.digest
            self.names.write(parts, manifest.raw)
            if replaced is not None and not self._keeps_replaced:
                collect.discard_unused(self.blobs, self.names, self.leases, replaced.raw)
        return manifest.digest

    def copy(self, source: Reference, target: Reference) -> Digest:
        """Make `target` mean what `source` means, by the same bytes; returns their digest.

        Raises:
            ModelNotFound: no `source`.
            InvalidManifest, StoreError: as `load` and `put`.
        """
        return self.put(target, self.load(source).manifest)

    def remove(self, reference: Reference) -> None:
        """Remove a name, and the blobs that nothing else uses.

        The blobs stay when a manifest of the store cannot be read.

        Raises:
            ModelNotFound: no such name.
            StoreError: the store cannot be written.
        """
        with locked(self.lock):
            parts = self._find(reference)
            if parts is None:
                raise _not_found(reference)
            try:
                removed = self.names.read(parts)
            except StoreError:  # as no manifest is: too long, or no file
                removed = None
            self.names.remove(parts)
            if removed is not None:
                collect.discard_unused(self.blobs, self.names, self.leases, removed.raw)

    def discard_unused(self, manifest: Manifest) -> None:
        """Remove those blobs of a manifest without a name that nothing else uses.

        Raises:
            StoreError: the store cannot be written.
        """
        with locked(self.lock):
            collect.discard_unused(self.blobs, self.names, self.leases, manifest.raw)

    def collect(
        self,
        *,
        grace_s: float = collect.GRACE_S,
        is_dry_run: bool = False,
        on_event: EventSink = lambda _: None,
        cancelled: threading.Event | None = None,
    ) -> collect.Collection:
        """Remove the blobs that no manifest needs; returns what went, or with dry run would go.

        Raises:
            Cancelled: `cancelled` was set.
            StoreError: the store cannot be read, or written.
        """
        if not is_dry_run:
            collect.remove_stale(self.root / "incoming")
        with locked(self.lock):
            return collect.collect(
                self.blobs,
                self.names,
                self.leases,
                grace_s=grace_s,
                is_dry_run=is_dry_run,
                on_event=on_event,
                cancelled=cancelled,
            )

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of dead processes, and downloads that nobody touched for a
        week.

        Blobs and names stay: only `collect` removes those, when somebody asks for it.

        Raises:
            StoreError: the store cannot be read.
        """
        collect.remove_leftovers(self.blobs, self.names, self.leases)
        collect.remove_stale(self.root / "incoming")
        self.remove_old_downloads()

    def remove_old_downloads(self, kept_s: float = journal.KEPT_S) -> _Downloads:
        """Remove the downloads that nobody went on with for `kept_s` seconds; return them.

        Raises:
            StoreError: the store cannot be read.
        """
        return [
            entry for folder in self.blobs.partials for entry in journal.remove_old(folder, kept_s)
        ]

    def adopt(self, name: str, on_bytes: OnBytes | None = None) -> tuple[Digest, int]:
        """Take `incoming/name` among the blobs; returns digest and size in bytes.

        The file leaves `incoming`, whatever comes of it.

        Raises:
            StoreError: the name is not 16 to 64 hexadecimal digits, or no regular file is there.
            DiskFull: no room for a copy.
        """
        path = self.incoming / name
        if _INCOMING_NAME.fullmatch(name) is None:
            raise StoreError(f"{name[:100]!r} is no name of a handed-over file", path=name)
        try:
            return self.blobs.ingest_file(path, on_bytes=on_bytes, follow_links=False)
        finally:
            with store_errors(path, "remove"):
                path.unlink(missing_ok=True)

    @contextmanager
    def lease(self) -> Iterator[None]:
        """While the block runs, blobs written or found from its start on are not collected.

        It ends with its process too. In a store that cannot be written it does nothing: such a
        store is not collected either.
        """
        with ExitStack() as stack:
            try:
                remove_abandoned(self.leases)
                stack.enter_context(claimed_folder(self.leases))
            except StoreError:
                pass
            yield


def _stored_model(reference: Reference, file: nametree.ManifestFile) -> StoredModel:
    try:
        manifest = Manifest.parse(file.raw)
    except InvalidManifest as error:
        raise InvalidManifest(f"{reference.short}: {error}") from error
    return StoredModel(
        reference=reference,
        manifest=manifest,
        manifest_digest=manifest.digest,
        modified_at=_time(file.modified_s),
        size_bytes=manifest.size_bytes,
    )


def _time(since_epoch_s: float) -> datetime:
    """The time of a file; one that no calendar has, as the nearest of 1 to 9999 AD."""
    try:
        return datetime.fromtimestamp(since_epoch_s, UTC)
    except (ValueError, OverflowError, OSError):
        # A day off either end, so that every time zone can show it.
        end = datetime.max - timedelta(days=2) if since_epoch_s > 0 else datetime.min + timedelta(2)
        return end.replace(microsecond=0, tzinfo=UTC)


def _not_found(reference: Reference) -> ModelNotFound:
    return ModelNotFound(f"model {reference.short!r} not found", name=reference.short)
