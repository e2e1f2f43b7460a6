"""POST /api/inspect, /api/prune and /api/verify, GET /api/usage: olm's own, about the store."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.access.caller import current, require_access_to_all
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.native.types import Progress
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply, line_of, lines, reply_with_progress
from olmkit.engine.errors import EngineError, InvalidRequest
from olmkit.registry import formats
from olmkit.registry.errors import Cancelled, CorruptBlob, RegistryError, StoreError
from olmkit.registry.events import BlobProgress, EventSink, Status
from olmkit.registry.formats.layers import read_config
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor
from olmkit.registry.push import pushes
from olmkit.registry.store import journal
from olmkit.registry.store.collect import Collection, all_blobs
from olmkit.registry.store.journal import Unfinished
from olmkit.registry.store.store import Store, StoredModel
from olmkit.registry.store.usage import unfinished, usage


class InspectRequest(msgspec.Struct, kw_only=True, frozen=True):
    """POST /api/inspect."""

    model: str = ""


class PruneRequest(msgspec.Struct, kw_only=True, frozen=True):
    """POST /api/prune."""

    dry_run: bool = False
    all: bool = False
    """Also unfinished downloads that are not old."""
    stream: bool | None = None


class VerifyRequest(msgspec.Struct, kw_only=True, frozen=True):
    """POST /api/verify."""

    models: list[str] = []
    """None: all blobs of the store."""


class VerifyLine(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """That a blob is `corrupt`, `missing` or `unreadable`; or the number of all, at the end."""

    status: str
    digest: str = ""
    total: int = 0
    models: list[str] = []
    """Names of the models that need the blob."""
    reason: str = ""


async def inspect(request: Request) -> Response:
    """All that the store has of a model, by name, ID or digest."""
    api, body = api_of(request), await decode_body(request, InspectRequest)
    if not body.model:
        raise InvalidRequest("model is required", field="model")
    return json_reply(await asyncio.to_thread(_inspection, api, body.model))


def _inspection(api: Api, text: str) -> dict[str, Any]:
    store = api.services.store
    models = api.catalog.find(text)
    model = models[0]
    same = store.with_id(model.manifest_digest.hex)
    names = {m.reference.short: m for m in same if current().may_use(m.reference)}
    pushed = {
        name: found
        for name, m in names.items()
        if (found := pushes.find(store, m.reference, m.manifest_digest)) is not None
    }
    parts, problem = formats.read_known(store, model.manifest)
    source = parts.config.olm_source
    return {
        "id": str(model.manifest_digest),
        "names": sorted(names),
        "digests": sorted(
            {
                f"{m.reference.host}/{m.reference.repository}"
                f"@{pushed.get(m.reference.short, m.manifest_digest)}"
                for m in models
            }
        ),
        "pushed": {name: str(digest) for name, digest in sorted(pushed.items())},
        "modified_at": model.modified_at.astimezone().isoformat(),
        "size": model.size_bytes,
        "format": parts.format.value,
        "serves": _loaded_digests(api, model),
        "source": None if source is None else _source_json(source),
        "config": _config_json(store, parts.config_layer or model.manifest.config),
        "layers": [
            {
                "role": part.role.value,
                "name": part.name,
                "media_type": part.layer.media_type,
                "digest": str(part.digest),
                "size": part.size_bytes,
                "layer": None if part.is_layer else str(part.layer.digest),
                "from": part.layer.from_,
            }
            for part in parts.parts
        ],
        "manifest": json.loads(model.manifest.raw),
        "missing": [
            str(blob.digest)
            for blob in model.manifest.blobs
            if not store.blobs.is_whole(blob.digest, blob.size_bytes)
        ],
        "problem": problem,
    }


def _loaded_digests(api: Api, model: StoredModel) -> list[str]:
    """Digests of what is loaded for the model; empty: it cannot be loaded."""
    try:
        return api.catalog.spec_of(model).model_key.split()
    except (EngineError, RegistryError):
        return []


def _config_json(store: Store, config: Descriptor) -> dict[str, Any] | None:
    try:
        return dict(read_config(store, config))
    except StoreError:
        return None  # `problem` says why


def _source_json(source: Any) -> dict[str, Any]:
    files = [{"name": file.name, "digest": str(file.digest)} for file in source.files]
    return {"reference": source.reference, "files": files}


async def used(request: Request) -> Response:
    """What the store's disk space goes to."""
    require_access_to_all()
    api = api_of(request)
    found = await asyncio.to_thread(usage, api.services.store)
    loaded = [instance.model_key.split() for instance in api.services.pool.instances()]
    is_loaded = {
        entry.model.manifest_digest: await asyncio.to_thread(_loaded_digests, api, entry.model)
        in loaded
        for entry in (found.models if loaded else ())
    }
    return json_reply(
        {
            "models": [
                {
                    "name": entry.model.reference.short,
                    "digest": entry.model.manifest_digest.hex,
                    "modified_at": entry.model.modified_at.astimezone(),
                    "size": entry.size_bytes,
                    "unique": entry.unique_bytes,
                    "loaded": is_loaded.get(entry.model.manifest_digest, False),
                }
                for entry in found.models
            ],
            "models_size": found.models_bytes,
            **_collected(found.unused),
            "partials": [_partial(partial) for partial in found.partials],
        }
    )


def _collected(collection: Collection) -> dict[str, Any]:
    return {
        "blobs": [
            {"digest": str(blob.digest), "size": blob.size_bytes} for blob in collection.unused
        ],
        "freed": collection.freed_bytes,
        "spared": collection.spared,
        "blocked_by": [entry.reason for entry in collection.blocked_by],
    }


def _partial(partial: Unfinished) -> dict[str, Any]:
    return {
        "name": partial.name,
        "size": partial.size_bytes,
        "completed": partial.completed_bytes,
        "allocated": partial.allocated_bytes,
        "running": partial.is_running,
        "modified_s": partial.modified_s,
    }


async def prune(request: Request) -> Response:
    """Remove blobs that no model needs, and downloads that nobody goes on with."""
    require_access_to_all()
    api, body = api_of(request), await decode_body(request, PruneRequest)
    done: list[dict[str, Any]] = []

    def work(on_event: EventSink, cancelled: threading.Event) -> None:
        done.append(_prune(api.services.store, body, on_event, cancelled))

    return await reply_with_progress(
        request,
        api.transfers.follow(work),
        stream=body.stream,
        result=lambda: {"status": "success", **done[0]},
    )


def _prune(
    store: Store, body: PruneRequest, on_event: EventSink, cancelled: threading.Event
) -> dict[str, Any]:
    on_event(Status(text="looking for what no model needs"))
    kept_s = 0.0 if body.all else journal.KEPT_S
    since_s = time.time() - kept_s
    partials = [
        partial
        for partial in unfinished(store)
        # What was being written cannot be gone on with, however young.
        if not partial.is_running and (partial.is_staged or partial.modified_s <= since_s)
    ]
    if not body.dry_run:
        removed = {partial.name for partial in store.remove_old_downloads(kept_s)}
        partials = [entry for entry in partials if entry.is_staged or entry.name in removed]
        _forget_signatures(store)
    collection = store.collect(is_dry_run=body.dry_run, on_event=on_event, cancelled=cancelled)
    reply = _collected(collection)
    reply["freed"] += sum(partial.allocated_bytes for partial in partials)
    return {**reply, "partials": [_partial(partial) for partial in partials]}


def _forget_signatures(store: Store) -> None:
    """Remove what is kept of models that are gone."""
    from olmkit.registry.signatures import keptsignatures  # brings cryptography

    keptsignatures.remove_unneeded(store)


async def verify(request: Request) -> Response:
    """Hash blobs again; each that is not what its digest says is one line of the reply."""
    api, body = api_of(request), await decode_body(request, VerifyRequest)
    if not body.models:
        require_access_to_all()
    users = await asyncio.to_thread(_users, api, body.models)
    faults: list[VerifyLine] = []

    def work(on_event: EventSink, cancelled: threading.Event) -> None:
        for digest, models in users.items():
            fault = _check(api.services.store, digest, on_event, cancelled)
            if fault is not None:
                faults.append(msgspec.structs.replace(fault, models=models))

    async def replies() -> AsyncGenerator[Progress | VerifyLine, None]:
        async with aclosing(api.transfers.follow(work)) as events:
            async for event in events:
                yield line_of(event)
        for fault in faults:
            yield fault
        yield VerifyLine(status="success", total=len(users))

    return await lines(request, replies())


def _users(api: Api, names: list[str]) -> dict[Digest, list[str]]:
    """The blobs to check, with the names of the models that need them."""
    store = api.services.store
    models: list[StoredModel] = []
    for name in names:
        models += api.catalog.find(name)
    users: dict[Digest, list[str]] = {}
    for model in models if names else store.list():
        for blob in model.manifest.blobs:
            known = users.setdefault(blob.digest, [])
            if model.reference.short not in known:
                known.append(model.reference.short)
    if not names:
        for digest in all_blobs(store.blobs):
            users.setdefault(digest, [])
    return users


def _check(
    store: Store, digest: Digest, on_event: EventSink, cancelled: threading.Event
) -> VerifyLine | None:
    try:
        size_bytes = store.blobs.path(digest).stat().st_size
    except OSError:
        return VerifyLine(status="missing", digest=str(digest), reason=f"blob {digest} is missing")

    def on_bytes(completed_bytes: int) -> None:
        if cancelled.is_set():
            raise Cancelled("cancelled: nobody waits for the check")
        on_event(
            BlobProgress(
                label=f"verifying {digest.short}",
                digest=digest,
                completed_bytes=completed_bytes,
                total_bytes=size_bytes,
            )
        )

    try:
        store.blobs.verify(digest, on_bytes)
    except CorruptBlob as error:
        return VerifyLine(status="corrupt", digest=str(digest), reason=str(error))
    except StoreError as error:
        return VerifyLine(status="unreadable", digest=str(digest), reason=str(error))
    return None
