"""What connections bring, written where it belongs.

Bytes are gathered in a block of memory, written when it is full or has waited long enough, and then
left in memory for the hash as long as there is room.
"""

import threading
import time
from collections.abc import Callable

import httpx

from olmkit.registry import journal, web, wire
from olmkit.registry.arrival import Arrival, Hasher
from olmkit.registry.directio import ALIGNMENT_BYTES, Blocks
from olmkit.registry.errors import Unreachable, store_errors
from olmkit.registry.pace import Pace, lag_s
from olmkit.registry.segments import Segment


class Intake:
    """The writing side of one download's connections; `lock` guards segments and arrivals."""

    def __init__(
        self,
        blocks: Blocks,
        hasher: Hasher,
        pace: Pace,
        lock: threading.RLock,
        is_stopped: Callable[[], bool],
    ) -> None:
        self._blocks = blocks
        self._hasher = hasher
        self._pace = pace
        self._lock = lock
        self._is_stopped = is_stopped
        self._begun_at_s = time.monotonic()

    def write(self, work: Arrival, segment: Segment, response: httpx.Response, offset: int) -> None:
        """Write the body, whose first byte belongs at `offset`, where the segment allows it.

        Raises:
            RemoteError: the connection broke, or the answer ended before the segment.
            DiskFull, StoreError: the bytes cannot be written.
        """
        with self._lock:
            partial = work.partial
        if partial is None:
            return  # let go of meanwhile
        with partial.hold():
            self._write(work, partial, segment, response, offset)

    def _write(
        self,
        work: Arrival,
        partial: journal.Partial,
        segment: Segment,
        response: httpx.Response,
        offset: int,
    ) -> None:
        block = self._blocks.take()
        try:
            body = wire.body_of(response)
            if not self._skip(body.readinto, segment, block, segment.claimed - offset):
                raise _ended_early(response)
            filled, written_s = 0, time.monotonic()
            while True:
                # Read without the lock: when its end moves meanwhile, `claim` tells.
                if work.is_ahead:
                    self._hasher.wait_behind(work)
                if self._is_stopped():
                    return
                room = min(len(block), segment.end - segment.claimed) - filled
                count = body.readinto(block[filled : filled + room]) if room > 0 else 0
                filled += count
                left_s = self._left_s(written_s)
                if 0 < count < room and left_s > 0 and body.is_ready(left_s):
                    continue
                block, filled = self._flush(work, partial, segment, block, filled)
                written_s = time.monotonic()
                if segment.position >= segment.end:
                    return
                if not count and room > 0:
                    raise _ended_early(response)
        finally:
            self._blocks.give_back(block)

    def _left_s(self, written_s: float) -> float:
        now_s = time.monotonic()
        return lag_s(now_s - self._begun_at_s) - (now_s - written_s)

    def _skip(
        self,
        read: Callable[[memoryview], int],
        segment: Segment,
        block: memoryview,
        count: int,
    ) -> bool:
        """Read away what is there already; False when the answer ends before."""
        while count > 0 and not self._is_stopped():
            skipped = read(block[:count])
            if not skipped:
                return False
            count -= skipped
            segment.skipped_bytes += skipped
        return True

    def _flush(
        self,
        work: Arrival,
        partial: journal.Partial,
        segment: Segment,
        block: memoryview,
        filled: int,
    ) -> tuple[memoryview, int]:
        """Write what is aligned of a block; the block to go on with, and what is in it already."""
        with self._lock:
            at = segment.claimed
            is_last = at + filled >= work.wanted.size_bytes
            count = segment.claim(filled if is_last else filled - filled % ALIGNMENT_BYTES)
        if not count:
            return block, filled
        with store_errors(partial.path.parent, "write to"):
            partial.file.write(block[:count], at, is_cached=self._pace.is_slow)
        rest = bytes(block[count:filled])
        with self._lock:
            segment.position += count
            if self._hasher.keep(work, at, block, count):
                block = self._blocks.take()
        block[: len(rest)] = rest
        return block, len(rest)


def _ended_early(response: httpx.Response) -> Unreachable:
    return Unreachable(f"{web.host_of(response.url)} ended the answer early")
