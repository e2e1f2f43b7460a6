"""Models in Hugging Face repositories: `hf.co/USER/REPO[:QUANTIZATION]`.

Decides which files of a repository are the model: the GGUF file, or all shards of it, that the tag
names, a projector beside them, and the small files that Ollama gives a meaning. The listing tells
the sha256 of every large file before its download.

Sources: https://huggingface.co/docs/hub/api (tree, resolve); the choice of files follows llama.cpp
and the Hub's own endpoint for Ollama, https://huggingface.co/docs/hub/ollama.
"""

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from olmkit.registry.download.blobdownload import RemoteBlob
from olmkit.registry.download.download import fetch
from olmkit.registry.errors import InvalidDigest, ModelNotFound, RemoteMisbehaved, SourceError
from olmkit.registry.events import EventSink, Status
from olmkit.registry.formats import ggufhead
from olmkit.registry.http import web
from olmkit.registry.http.patience import patiently
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.http.webfile import WebHost
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import ModelSource, SourceFile
from olmkit.registry.oci.reference import DEFAULT_TAG, Reference
from olmkit.registry.shardnames import parse_shard_name
from olmkit.registry.sources import AUTO, MEMORY_SHARE, Describe, PullOptions
from olmkit.registry.store.store import Store, StoredModel

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
ADDRESS: Final = "https://huggingface.co"
USUAL: Final = ("Q4_K_M", "Q4_0", "Q8_0")
"""Quantizations to look for, in this order, when none is named."""
PROJECTOR_ORDER: Final = ("f16", "bf16", "q8_0", "f32")
SMALL_LIMIT_BYTES: Final = 1 << 20
PAGES_LIMIT: Final = 100
_NO_WEIGHTS: Final = re.compile(r"mmproj|^(mtp|eagle3|dflash|dspark)-", re.IGNORECASE)
_SMALL: Final = {
    "template": mediatypes.OLLAMA_TEMPLATE,
    "system": mediatypes.OLLAMA_SYSTEM,
    "params": mediatypes.OLLAMA_PARAMS,
    "LICENSE": mediatypes.OLLAMA_LICENSE,
    "LICENSE.txt": mediatypes.OLLAMA_LICENSE,
    "LICENSE.md": mediatypes.OLLAMA_LICENSE,
}
_HINT: Final = "set HF_TOKEN to a token that may read it; gated models want their terms accepted"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository, as the listing tells of it."""

    path: str
    size_bytes: int
    digest: Digest | None
    """Digest of a large file; small ones have only git's own hash."""

    @property
    def name(self) -> str:
        """The file's name without its folders."""
        return PurePosixPath(self.path).name


def pull(
    reference: Reference,
    store: Store,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    describe: Describe,
    options: PullOptions,
) -> StoredModel:
    """Bring a repository's model into the store under `reference`, and return it.

    Raises:
        ModelNotFound: no such repository, or no such quantization in it.
        SourceError: it holds no GGUF file, or not all shards.
        Cancelled: `cancelled` was set.
        RemoteError: refused, unreachable, or other bytes than promised.
        StoreError, DiskFull: the store cannot take it.
    """
    access = options.access or RemoteAccess()
    address = access.hub_address or ADDRESS
    on_event(Status(text="pulling manifest"))
    with WebHost(
        address,
        access,
        token=access.hub_token,
        insecure=options.insecure and access.hub_address is not None,
        hint=_HINT,
    ) as host:
        revision, files = listing(host, reference, options.revision, cancelled)
        base = f"/{reference.repository}/resolve/{revision}/"
        files = [file for file in files if not _is_importance_matrix(host, base, file)]
        tag = options.quantization or reference.tag
        weights, why = choose_weights(files, tag, reference, memory_bytes=options.memory_bytes)
        if why:
            on_event(Status(text=why))
        projector = choose_projector(files, weights[0])
        chosen = [*weights, *([projector] if projector else [])]
        fetch(
            [_remote_blob(host, base, file) for file in chosen],
            store.blobs,
            on_event=on_event,
            cancelled=cancelled,
            limits=access.limits,
        )
        small = _small_layers(host, base, files, store)
    layers = [_layer(file, mediatypes.OLLAMA_MODEL) for file in weights]
    layers += [_layer(file, mediatypes.OLLAMA_PROJECTOR) for file in chosen[len(weights) :]]
    quantization = f":{options.quantization}" if options.quantization else ""
    source = ModelSource(
        reference=f"hf.co/{reference.repository}{quantization}@{revision}",
        files=tuple(SourceFile(name=f.path, digest=f.digest) for f in chosen if f.digest),
    )
    config = replace(describe(store.blobs.path(layers[0].digest)), olm_source=source).to_json()
    descriptor = Descriptor(
        media_type=mediatypes.DOCKER_CONFIG,
        digest=store.blobs.put_bytes(config),
        size_bytes=len(config),
    )
    on_event(Status(text="writing manifest"))
    store.put(reference, Manifest.build(descriptor, [*layers, *small]))
    return store.load(reference)


def listing(
    host: WebHost, reference: Reference, wanted: str | None, cancelled: threading.Event
) -> tuple[str, list[HubFile]]:
    """The commit that is wanted, or that `main` is now, and its files."""
    name = f"hf.co/{reference.repository}"
    if wanted is not None and not _COMMIT.fullmatch(wanted):
        raise SourceError(f"{wanted[:100]!r} is no commit of {name}")
    address = f"/api/models/{reference.repository}/revision/{wanted or 'main'}"
    found, _ = patiently(lambda: host.get_json(address, name), cancelled)
    revision = found.get("sha") if isinstance(found, dict) else None
    if not isinstance(revision, str) or not _COMMIT.fullmatch(revision):
        raise RemoteMisbehaved(f"{host.host} names no commit of {name}")
    path: str | None = f"/api/models/{reference.repository}/tree/{revision}?recursive=true"
    files: list[HubFile] = []
    for _ in range(PAGES_LIMIT):
        if path is None:
            break
        page, path = patiently(partial(host.get_json, path, name), cancelled)
        if not isinstance(page, list):
            raise RemoteMisbehaved(f"{host.host} sent no list of the files of {name}")
        files += [file for entry in page if (file := _file(entry)) is not None]
    return revision, files


def _file(entry: Any) -> HubFile | None:
    """A file of the listing; None for folders and what cannot be understood."""
    if not isinstance(entry, Mapping) or entry.get("type") != "file":
        return None
    path, size, lfs = entry.get("path"), entry.get("size"), entry.get("lfs")
    if not isinstance(path, str) or not isinstance(size, int) or size < 0:
        return None
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        return None
    digest = None
    if isinstance(lfs, Mapping):
        try:
            digest = Digest(f"sha256:{lfs.get('oid')}")
        except InvalidDigest:
            return None
    return HubFile(path=path, size_bytes=size, digest=digest)


def _is_importance_matrix(host: WebHost, base: str, file: HubFile) -> bool:
    """Whether a file is what its name may mean: models quantized with a matrix are called so too.

    Source: https://github.com/ggml-org/llama.cpp/blob/master/tools/imatrix/imatrix.cpp, which
    writes `general.type`.
    """
    name = file.name.lower()
    if "imatrix" not in name or not name.endswith(".gguf") or not file.digest:
        return False
    if re.search(r"(^|\.)imatrix\.gguf$", name):  # as those are called who make them
        return True
    end = min(file.size_bytes, ggufhead.HEAD_BYTES)
    with host.open(base + quote(file.path), 0, end) as response, web.remote_errors(host.host):
        head = b""
        for block in response.iter_raw():
            head += block
            if len(head) >= end:
                break
    return ggufhead.general_texts(head).get("general.type") == "imatrix"


def choose_weights(
    files: Sequence[HubFile], tag: str, reference: Reference, *, memory_bytes: int | None = None
) -> tuple[list[HubFile], str]:
    """The GGUF file that `tag` means, or all its shards in order; and why, where olm chose.

    The tag is a quantization, in any case, or a file's name. `latest` is the first of `USUAL` that
    is there, else the smallest file; `auto` the largest that this memory has room for.

    Raises:
        ModelNotFound: none of that name.
        SourceError: no GGUF file at all, or shards are missing.
    """
    models = [
        file
        for file in files
        if file.name.lower().endswith(".gguf") and file.digest and not _NO_WEIGHTS.search(file.name)
    ]
    if not models:
        raise SourceError(f"hf.co/{reference.repository} holds no GGUF file")
    if tag.lower() == AUTO:
        return _best_fit(models, memory_bytes)
    wanted = USUAL if tag == DEFAULT_TAG else (tag,)
    for name in wanted:
        if found := _named(models, name):
            return _shards(models, found), ""
    if tag == DEFAULT_TAG:
        return _shards(models, min(models, key=lambda f: (f.size_bytes, f.path))), ""
    names = ", ".join(sorted(file.name for file in models)[:20])
    raise ModelNotFound(
        f"hf.co/{reference.repository} has no quantization {tag}",
        name=reference.short,
        hint=f"it has: {names[:600]}",
    )


def _best_fit(models: Sequence[HubFile], memory_bytes: int | None) -> tuple[list[HubFile], str]:
    """The largest weights that the memory has room for, else the smallest."""
    choices: dict[str, list[HubFile]] = {}
    for model in models:
        shard = parse_shard_name(model.path)
        choices.setdefault(shard.stem if shard else model.path, []).append(model)

    def size(stem: str) -> tuple[int, str]:
        return sum(file.size_bytes for file in choices[stem]), stem

    by_size = sorted(choices, key=size)
    room = int((memory_bytes or 0) * MEMORY_SHARE)
    fitting = [stem for stem in by_size if size(stem)[0] <= room]
    best = fitting[-1] if fitting else by_size[0]
    reason = "the largest that fits" if fitting else "the smallest, though it may not fit"
    why = (
        f"taking {PurePosixPath(best).name} ({size(best)[0] / 1e9:.1f} GB) of {len(choices)}: "
        f"{reason} into {(memory_bytes or 0) / 1e9:.1f} GB of memory"
    )
    return _shards(models, choices[best][0]), why


def _named(models: Sequence[HubFile], tag: str) -> HubFile | None:
    """The best match: the file's name, then the end of it, then anywhere in its path."""
    escaped = re.escape(tag)
    patterns = (
        rf"(.*/)?{escaped}(\.gguf)?",
        rf".*[.\-_]{escaped}(-\d{{5}}-of-\d{{5}})?\.gguf",
        rf"(.*[.\-_/])?{escaped}[.\-/].*",
    )
    for pattern in patterns:
        matches = [f for f in models if re.fullmatch(pattern, f.path, re.IGNORECASE)]
        if matches:
            return min(matches, key=lambda f: (len(PurePosixPath(f.path).parts), f.path))
    return None


def _shards(models: Sequence[HubFile], one: HubFile) -> list[HubFile]:
    wanted = parse_shard_name(one.path)
    if wanted is None:
        return [one]
    stem, count = wanted.stem, wanted.count
    found = {}
    for file in models:
        shard = parse_shard_name(file.path)
        if shard and (shard.stem, shard.count) == (stem, count):
            found[shard.number] = file
    if sorted(found) != list(range(1, count + 1)):
        raise SourceError(f"{len(found)} of {count} shards of {stem} are in the repository")
    return [found[number] for number in sorted(found)]


def choose_projector(files: Sequence[HubFile], weights: HubFile) -> HubFile | None:
    """The projector for these weights: in the nearest folder, then the usual precision first."""
    folders = [str(folder) for folder in PurePosixPath(weights.path).parents]
    found = [
        file
        for file in files
        if "mmproj" in file.name.lower()
        and file.name.lower().endswith(".gguf")
        and file.digest
        and str(PurePosixPath(file.path).parent) in folders
    ]

    def rank(file: HubFile) -> tuple[int, int, str]:
        name = file.name.lower()
        precision = [i for i, p in enumerate(PROJECTOR_ORDER) if re.search(rf"(?<!b){p}\b", name)]
        distance = folders.index(str(PurePosixPath(file.path).parent))
        return distance, precision[0] if precision else len(PROJECTOR_ORDER), file.path

    return min(found, key=rank, default=None)


def _remote_blob(host: WebHost, base: str, file: HubFile) -> RemoteBlob:
    assert file.digest is not None
    return RemoteBlob(
        label=f"pulling {file.name}",
        name=file.digest.file_name,
        size_bytes=file.size_bytes,
        digest=file.digest,
        open=partial(host.open, base + quote(file.path)),
        host=host.host,
    )


def _layer(file: HubFile, media_type: str) -> Descriptor:
    assert file.digest is not None
    return Descriptor(
        media_type=media_type,
        digest=file.digest,
        size_bytes=file.size_bytes,
        annotations={mediatypes.ANNOTATION_TITLE: file.name},
    )


def _small_layers(
    host: WebHost, base: str, files: Sequence[HubFile], store: Store
) -> list[Descriptor]:
    """Layers of the small files at the top of the repository that mean something."""
    layers = []
    for file in files:
        media_type = _SMALL.get(file.path)
        if media_type is None or file.size_bytes > SMALL_LIMIT_BYTES:
            continue
        data = host.read(base + quote(file.path), SMALL_LIMIT_BYTES, file.path)
        layers.append(
            Descriptor(
                media_type=media_type,
                digest=store.blobs.put_bytes(data),
                size_bytes=len(data),
                annotations={mediatypes.ANNOTATION_TITLE: file.name},
            )
        )
    return layers
