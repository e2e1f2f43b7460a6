"""POST /api/save and /api/load: models as archives; olm's own.

An archive goes out with its length, so a client knows when it got all; a blob that turns out
corrupt breaks the connection off. It comes in as the request's body, whatever its length.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from olmkit.engine.access.caller import require_access_to_all
from olmkit.engine.api.decoding import body_pieces, decode_body
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import (
    disconnect,
    in_own_thread,
    in_thread,
    reply_with_progress,
)
from olmkit.engine.api.trust.policies import policy_rules
from olmkit.engine.errors import InvalidRequest, QueueFull
from olmkit.engine.models.merged import prepare
from olmkit.registry.archives.archivereader import load_archive
from olmkit.registry.archives.archivewriter import Saved, archive_size, to_save, write_archive
from olmkit.registry.errors import RegistryError
from olmkit.registry.events import EventSink
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import StoredModel

log = logging.getLogger(__name__)
MAX_LOADS = 4
"""Archives that come in at a time: each has a thread of its own."""
DRAIN_LIMIT_BYTES = 256 << 20
"""So much of a refused archive is still read, so that its sender gets to read why."""


class SaveRequest(msgspec.Struct, kw_only=True, frozen=True):
    """POST /api/save."""

    models: list[str] = []


async def save(request: Request) -> Response:
    """An archive of models, as it is read from the store."""
    api, body = api_of(request), await decode_body(request, SaveRequest)
    if not body.models:
        raise InvalidRequest("models is required", field="models")
    stack = ExitStack()
    try:
        stack.enter_context(api.services.store.lease())
        saved = await in_thread(_saved, api, body.models)
    except BaseException:
        stack.close()
        raise
    pieces = write_archive(api.services.store, saved)
    return StreamingResponse(
        _sent(pieces, stack),
        media_type="application/x-tar",
        headers={"Content-Length": str(archive_size(saved))},
    )


def _saved(api: Api, names: list[str]) -> tuple[Saved, ...]:
    models: dict[Reference, StoredModel] = {}
    for name in names:
        for model in api.catalog.find(name):
            models[model.reference] = model
    return to_save(api.services.store, list(models.values()))


async def _sent(pieces: Iterator[bytes], stack: ExitStack) -> AsyncIterator[bytes]:
    with stack:
        try:
            while piece := await in_thread(next, pieces, b""):
                yield piece
        except RegistryError as error:
            log.error("an archive was broken off", extra={"reason": str(error)})
            raise


class _BodyReader:
    """A request's body, to be read in a thread.

    `cancelled` is set when its client goes away, also after the last byte.
    """

    def __init__(self, request: Request, pieces: AsyncIterator[bytes]) -> None:
        self._request = request
        self._pieces = pieces
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._watching: asyncio.Task[None] | None = None
        self.cancelled = threading.Event()

    def read(self, size: int) -> bytes:
        if not self._rest:
            following = asyncio.run_coroutine_threadsafe(self._next(), self._loop)
            self._rest = following.result()
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    async def _next(self) -> bytes:
        try:
            piece = await anext(self._pieces, b"")
        except BaseException:
            self.cancelled.set()
            raise
        if not piece and self._watching is None:
            self._watching = self._loop.create_task(self._watch())
        return piece

    async def _watch(self) -> None:
        await disconnect(self._request.receive)
        self.cancelled.set()

    async def close(self) -> None:
        """Watch no longer."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)


async def load(request: Request) -> Response:
    """Take the models of an archive into the store, if the policy lets them in.

    `?only=` takes one of them, `?name=` gives it another name. What is left to do when all of the
    archive is there goes on in lines of progress; `?stream=false` gives the last one alone.
    """
    require_access_to_all()
    api, query = api_of(request), request.query_params
    text = query.get("name")
    name = Reference.parse(text) if text else None
    only = query.get("only") or None
    pieces = body_pieces(request)
    if api.loads >= MAX_LOADS:
        raise QueueFull("too many archives are coming in already", retry_after_s=5)
    api.loads += 1
    reader = _BodyReader(request, pieces)
    try:
        models = await in_own_thread(_load, api, reader, name, only)
    except RegistryError:
        await _drain(pieces)
        raise
    finally:
        await reader.close()
        api.loads -= 1

    def work(on_event: EventSink, cancelled: threading.Event) -> None:
        for model in models:
            prepare(api.services.store, model, on_event=on_event, cancelled=cancelled)

    for model in models:
        api.services.events.record("model", "import", model.reference.short)
    return await reply_with_progress(
        request,
        api.transfers.follow(work),
        stream=query.get("stream") != "false",
        result=lambda: {
            "status": "success",
            "models": [
                {"name": model.reference.short, "digest": str(model.manifest_digest)}
                for model in models
            ],
        },
    )


def _load(
    api: Api, source: _BodyReader, name: Reference | None, only: str | None
) -> list[StoredModel]:
    return load_archive(
        api.services.store,
        source,
        name=name,
        only=only,
        rules=policy_rules(api),
        cancelled=source.cancelled,
    )


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    left_bytes = DRAIN_LIMIT_BYTES
    async for piece in pieces:
        left_bytes -= len(piece)
        if left_bytes < 0:
            return
