"""How far a request is before its answer begins: its turn, the load of its model, the reading of
its prompt.

Only for clients that ask to be told, by the request's header `X-Olm-Progress`.
"""

import asyncio
import enum
from collections.abc import AsyncGenerator, Callable
from typing import Final, TypeVar

import msgspec

T = TypeVar("T")

PAUSE_S: Final = 0.1
"""Between two reports."""


class Phase(enum.StrEnum):
    """What a request waits for."""

    QUEUE = "queue"
    LOAD = "load"
    PROMPT = "prompt"


class RequestProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a request is before its answer begins; olm's own."""

    phase: Phase
    """`queue`: others come first; `load`: the model is being loaded; `prompt`: it reads the prompt.
    """
    fraction: float
    """From 0 to 1; 0 in a queue."""
    position: int | msgspec.UnsetType = msgspec.UNSET
    """In a queue: 1 for who comes next."""
    processed_tokens: int | msgspec.UnsetType = msgspec.UNSET
    """Of a prompt: the tokens that were read, or needed no work."""
    total_tokens: int | msgspec.UnsetType = msgspec.UNSET
    """Of a prompt: all of them."""


class LatestProgress:
    """The latest of one request's reports; what nobody has taken is replaced by the next.

    For the daemon's event loop alone.
    """

    def __init__(self) -> None:
        self._untaken: RequestProgress | None = None
        self._has_come = asyncio.Event()

    def queued(self, position: int) -> None:
        """The request is the one at this place of those that wait for the model, from 1 on."""
        self._put(RequestProgress(phase=Phase.QUEUE, fraction=0.0, position=position))

    def loading(self, fraction: float) -> None:
        """The model is loaded so far, 0 to 1."""
        self._put(RequestProgress(phase=Phase.LOAD, fraction=round(fraction, 4)))

    def reading(self, processed_tokens: int, total_tokens: int) -> None:
        """So much of the prompt has been read."""
        self._put(
            RequestProgress(
                phase=Phase.PROMPT,
                fraction=round(processed_tokens / max(total_tokens, 1), 4),
                processed_tokens=processed_tokens,
                total_tokens=total_tokens,
            )
        )

    async def take(self) -> RequestProgress:
        """The latest report, as soon as there is one that was not taken."""
        while (report := self._untaken) is None:
            await self._has_come.wait()
        self._untaken = None
        self._has_come.clear()
        return report

    def _put(self, report: RequestProgress) -> None:
        self._untaken = report
        self._has_come.set()


async def first_told(pieces: AsyncGenerator[T, None], encode: Callable[[T], bytes]) -> bytes:
    """The bytes of the first piece that has any; none where no piece has."""
    async for piece in pieces:
        if data := encode(piece):
            return data
    return b""


async def with_progress(
    pieces: AsyncGenerator[T, None],
    encode: Callable[[T], bytes],
    progress: LatestProgress,
    waiting: Callable[[RequestProgress], bytes],
) -> AsyncGenerator[bytes, None]:
    """The pieces as they are sent, what is told of the wait for the first before it."""

    beginning = asyncio.ensure_future(first_told(pieces, encode))
    try:
        while not beginning.done():
            report = asyncio.ensure_future(progress.take())
            try:
                await asyncio.wait((beginning, report), return_when=asyncio.FIRST_COMPLETED)
                if beginning.done():
                    break
                yield waiting(report.result())
            finally:
                report.cancel()
            await asyncio.wait((beginning,), timeout=PAUSE_S)
        if begun := beginning.result():
            yield begun
        async for piece in pieces:
            yield encode(piece)
    finally:
        beginning.cancel()
        await asyncio.gather(beginning, return_exceptions=True)
        await pieces.aclose()
