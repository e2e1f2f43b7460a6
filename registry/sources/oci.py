"""Models in OCI registries, Ollama's among them: a name's manifest, kept byte for byte.

An image index is followed to one of its manifests: the quantization that is asked for or fits this
machine, else the one for its platform.

Sources: https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
and https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md
"""

import json
import platform
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from olmkit.registry import formats
from olmkit.registry.errors import InvalidManifest, ModelNotFound
from olmkit.registry.events import EventSink, Status
from olmkit.registry.http import web
from olmkit.registry.http.patience import patiently
from olmkit.registry.http.remote import RemoteManifest, RemoteRepository
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.manifest import Descriptor, Index, Manifest
from olmkit.registry.oci.modelconfig import CONFIG_LIMIT_BYTES
from olmkit.registry.oci.reference import Reference
from olmkit.registry.push import transfer
from olmkit.registry.push.quantizations import QUANTIZATION, WEIGHT_BYTES
from olmkit.registry.signatures import cosigntags, keptsignatures
from olmkit.registry.signatures.evidence import Evidence
from olmkit.registry.signatures.policy import Action
from olmkit.registry.sources import AUTO, MEMORY_SHARE, Describe, PullOptions
from olmkit.registry.store.store import Store, StoredModel

DEPTH_LIMIT: Final = 4
_INDEXES: Final = (mediatypes.OCI_INDEX, mediatypes.DOCKER_MANIFEST_LIST)
_SYSTEM: Final = platform.system()
_MACHINE: Final = platform.machine()
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The manifest that was chosen from an index, and why."""

    descriptor: Descriptor
    why: str = ""


def pull(
    reference: Reference,
    store: Store,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    describe: Describe,
    options: PullOptions,
) -> StoredModel:
    """Bring a registry's model into the store under `reference`, and return it.

    Raises:
        ModelNotFound: the registry has no such name, or the index no such quantization.
        SourceError: what it has holds no model.
        NotTrusted: it is not signed as `options.rules` ask.
        InvalidManifest: what it has is no manifest.
        Cancelled: `cancelled` was set.
        RemoteError: refused, unreachable, or other bytes than promised.
        StoreError, DiskFull: the store cannot take it.
    """
    access = options.access or RemoteAccess()
    on_event(Status(text="pulling manifest"))
    with RemoteRepository(reference, access, insecure=options.insecure) as repository:
        target = transfer.target_of(reference)
        found = patiently(lambda: repository.get_manifest(target), cancelled)
        route = route_to_model(repository, found, options, on_event)
        manifest = Manifest.parse(route[-1].raw)
        evidence = _admitted(repository, route, reference, options, on_event)
        wanted = options.quantization
        if wanted and wanted.lower() != AUTO and not _is_index(found):
            _require_quantization(repository, manifest, wanted)
        transfer.pull_blobs(
            repository,
            [*manifest.layers, manifest.config],
            store,
            on_event=on_event,
            cancelled=cancelled,
            limits=access.limits,
        )
    on_event(Status(text="verifying sha256 digest"))
    parts = formats.read(store, manifest, on_event=on_event, cancelled=cancelled)
    formats.require_model(parts, manifest, reference.short)
    on_event(Status(text="writing manifest"))
    if reference.digest not in (None, manifest.digest):
        # The name fixed an index: the model's own digest takes its place.
        reference = Reference(
            reference.host, reference.repository, manifest.digest.file_name, manifest.digest
        )
    store.put(reference, manifest)
    if evidence is not None:
        keptsignatures.keep(store, evidence)
    return store.load(reference)


def _admitted(
    repository: RemoteRepository,
    route: Sequence[RemoteManifest],
    reference: Reference,
    options: PullOptions,
    on_event: EventSink,
) -> Evidence | None:
    """The signatures of a model that has those it needs; None: it needs none.

    Raises:
        NotTrusted: it lacks one. None of its blobs has been asked for then.
    """
    rules = [rule for rule in options.rules if rule.action is Action.SIGNED]
    if not rules:
        return None
    on_event(Status(text="verifying signatures"))
    *indexes, found = route
    evidence = cosigntags.fetch(repository, found, indexes)
    for rule in rules:
        key = rule.require(reference, evidence)
        assert key is not None
        on_event(Status(text=f"signed by {key.fingerprint}"))
    return evidence


def manifest_of(
    repository: RemoteRepository,
    found: RemoteManifest,
    options: PullOptions,
    on_event: EventSink,
) -> Manifest:
    """The manifest of one model: what was found, or what is chosen from it where it is an index."""
    return Manifest.parse(route_to_model(repository, found, options, on_event)[-1].raw)


def route_to_model(
    repository: RemoteRepository,
    found: RemoteManifest,
    options: PullOptions,
    on_event: EventSink,
) -> list[RemoteManifest]:
    """The indexes from what was found down to one model's manifest, and that manifest, the last."""
    route = [found]
    for _ in range(DEPTH_LIMIT):
        if not _is_index(found):
            return route
        choice = choose(Index.parse(found.raw).manifests, options, repository.reference.short)
        if choice.why:
            on_event(Status(text=choice.why))
        found = repository.get_manifest(str(choice.descriptor.digest))
        route.append(found)
    raise InvalidManifest(f"{repository.reference.short} is an index of indexes without end")


def _require_quantization(repository: RemoteRepository, manifest: Manifest, wanted: str) -> None:
    """Refuse a name that stands for one model of another quantization, where its config tells."""
    with repository.open_blob(manifest.config.digest) as response:
        raw = web.read_limited(response, CONFIG_LIMIT_BYTES)
    try:
        config = json.loads(raw)
        inner = config.get("config") or {}
        told = str(config.get("file_type") or inner.get("quantization") or "")
    except (ValueError, AttributeError, RecursionError):
        return
    if told and wanted.lower() not in re.split(r"[/\s]+", told.lower()):
        name = repository.reference.short
        raise ModelNotFound(
            f"{name} has no quantization {wanted}", name=name, hint=f"it has: {told[:100]}"
        )


def _is_index(found: RemoteManifest) -> bool:
    if found.media_type in _INDEXES:
        return True
    return b'"manifests"' in found.raw and b'"layers"' not in found.raw


def choose(
    listed: Sequence[Descriptor],
    options: PullOptions,
    name: str,
    *,
    system: str = _SYSTEM,
    machine: str = _MACHINE,
) -> Choice:
    """The manifest of an index to take, on a machine of this operating system and architecture.

    Raises:
        ModelNotFound: there is none, or none of the quantization that is asked for.
    """
    models = [entry for entry in listed if not _is_attestation(entry)]
    if not models:
        raise ModelNotFound(f"the index of {name} lists no model", name=name)
    quantized = [entry for entry in models if entry.annotations.get(QUANTIZATION)]
    if options.quantization and options.quantization.lower() != AUTO:
        return _asked_for(quantized, options.quantization, name)
    if quantized:
        return _best_fit(quantized, options.memory_bytes)
    return Choice(descriptor=_for_platform(models, system, machine))


def _is_attestation(entry: Descriptor) -> bool:
    """Provenance that build tools list beside the images (BuildKit, "Attestation storage")."""
    system = (entry.platform or {}).get("os")
    return system == "unknown" or "vnd.docker.reference.type" in entry.annotations


def _asked_for(quantized: Sequence[Descriptor], wanted: str, name: str) -> Choice:
    for entry in quantized:
        if entry.annotations[QUANTIZATION].lower() == wanted.lower():
            return Choice(descriptor=entry)
    known = ", ".join(entry.annotations[QUANTIZATION] for entry in quantized) or "none"
    raise ModelNotFound(
        f"{name} has no quantization {wanted}", name=name, hint=f"it has: {known[:400]}"
    )


def _best_fit(quantized: Sequence[Descriptor], memory_bytes: int | None) -> Choice:
    """The largest one whose weights fit the memory, else the smallest one."""
    by_size = sorted(quantized, key=_weight_bytes)
    names = ", ".join(entry.annotations[QUANTIZATION] for entry in by_size)[:200]
    if memory_bytes is None:
        best = by_size[0]
        return Choice(descriptor=best, why=f"taking {best.annotations[QUANTIZATION]} of {names}")
    room = int(memory_bytes * MEMORY_SHARE)
    fitting = [entry for entry in by_size if _weight_bytes(entry) <= room]
    best = fitting[-1] if fitting else by_size[0]
    reason = "the largest that fits" if fitting else "the smallest, though it may not fit"
    return Choice(
        descriptor=best,
        why=(
            f"taking {best.annotations[QUANTIZATION]} ({_weight_bytes(best) / 1e9:.1f} GB) of "
            f"{names}: {reason} into {memory_bytes / 1e9:.1f} GB of memory"
        ),
    )


def _weight_bytes(entry: Descriptor) -> int:
    told = entry.annotations.get(WEIGHT_BYTES, "")
    return int(told) if told.isascii() and told.isdecimal() and len(told) < 19 else 0


def _for_platform(models: Sequence[Descriptor], system: str, machine: str) -> Descriptor:
    """The first for such a machine, else the first for any, else the first."""
    machine = machine.lower()
    here = {"os": system.lower(), "architecture": _MACHINES.get(machine, machine)}

    def rank(entry: Descriptor) -> int:
        given = entry.platform or {}
        if not given:
            return 1
        return 0 if all(given.get(key) == value for key, value in here.items()) else 2

    return min(models, key=rank)
