"""HEAD and POST of /api/blobs/…: the files that a create from elsewhere uploads.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/api.md#push-a-blob
That an upload can go on where it broke off is olm's own: HEAD tells in `Olm-Upload-Offset` how
much is there, `Content-Range` of a POST where it begins.
"""

import asyncio
import re
from contextlib import ExitStack, suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.decoding import body_pieces
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import in_thread, json_reply
from olmkit.engine.errors import DigestMismatch, InvalidRequest
from olmkit.registry.errors import CorruptBlob
from olmkit.registry.oci.digest import Digest
from olmkit.registry.store.blobs import BlobStore
from olmkit.registry.store.resumable import held_bytes, resumable_writer

OFFSET_HEADER: Final = "Olm-Upload-Offset"
END_S: Final = 2.0
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


async def blob(request: Request) -> Response:
    """HEAD: whether the store has the bytes of a digest, or how many of them. POST: take them.

    A POST with `Content-Range` goes on where an earlier one broke off, and can be gone on with.
    """
    digest = Digest(request.path_params["digest"])
    api = api_of(request)
    blobs = api.services.store.blobs
    is_there = await asyncio.to_thread(blobs.has, digest)
    if request.method == "HEAD":
        if is_there:
            return Response(status_code=200)
        await _let_end(api, digest)
        return Response(status_code=404, headers=await _offset(blobs, digest))
    if is_there:  # its body is not read
        return Response(status_code=200)
    if given := request.headers.get("content-range"):
        # The one before may be the same client's, whose connection broke and who is back already.
        async with api.uploads.setdefault(digest, asyncio.Lock()):
            return await _go_on(request, blobs, digest, given)
    return await _upload(request, blobs, digest)


async def _let_end(api: Api, digest: Digest) -> None:
    """Give an upload of the blob whose connection broke the time to say how far it got."""
    lock = api.uploads.get(digest)
    if lock is not None:
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S), lock:
                pass


async def _offset(blobs: BlobStore, digest: Digest) -> dict[str, str]:
    return {OFFSET_HEADER: str(await asyncio.to_thread(held_bytes, blobs, digest))}


async def _go_on(request: Request, blobs: BlobStore, digest: Digest, given: str) -> Response:
    """Store the body behind what is there; what came is kept when the client goes away."""
    match = _CONTENT_RANGE.fullmatch(given)
    start, last, size = (int(number) for number in match.groups()) if match else (0, 0, 0)
    if not start <= last == size - 1:
        raise InvalidRequest(
            "Content-Range must be that of the rest of the blob", field="Content-Range"
        )
    if await asyncio.to_thread(blobs.has, digest):
        return Response(status_code=200)
    with ExitStack() as stack:
        writer = await in_thread(
            stack.enter_context,
            resumable_writer(blobs, digest, size_bytes=size, offset_bytes=start),
        )
        if writer is None:
            error = {"error": f"an upload of this blob cannot go on at byte {start}"}
            reply = json_reply(error, status=416)
            reply.headers.update(await _offset(blobs, digest))
            return reply
        try:
            async for piece in body_pieces(request):
                await in_thread(writer.write, piece)
            await in_thread(writer.commit)
        except CorruptBlob as error:
            raise _mismatch(error) from error
    return Response(status_code=201)


def _mismatch(error: CorruptBlob) -> DigestMismatch:
    text = f'digest mismatch, expected "{error.expected}", got "{error.actual}"'
    return DigestMismatch(text, field="digest")


async def _upload(request: Request, blobs: BlobStore, digest: Digest) -> Response:
    """Store the body under its digest, which is checked."""
    length = request.headers.get("content-length", "")
    with ExitStack() as stack:
        writer = await in_thread(
            stack.enter_context,
            blobs.writer(expected=digest, size_bytes=int(length) if length.isdecimal() else None),
        )
        try:
            async for piece in body_pieces(request):
                await in_thread(writer.write, piece)
            await in_thread(writer.commit)
        except CorruptBlob as error:
            raise _mismatch(error) from error
    return Response(status_code=201)
