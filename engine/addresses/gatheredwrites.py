"""What is written to a connection in one turn of the event loop, in one piece.

A reply's head and its body, and pieces of an answer that were ready together because the daemon or
the client was behind: each system call that sends wakes the client, on machines whose cores are
busy computing. The bytes and their order stay the same.
"""

import asyncio
from typing import Any, Final

MOST_BYTES: Final = 64 * 1024
"""What has been gathered is sent at once when it is as much as this."""


class GatheredWrites(asyncio.Transport):
    """A transport over another one, which it writes to at the end of each turn of the loop.

    Who knows that nothing more comes in this turn saves the next one a call by `flush`.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes | bytearray | memoryview] = []
        self._size_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes behind those before, soon."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)
        self._size_bytes += len(data)
        if self._size_bytes >= MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what was written, if anything was, without waiting for the end of the turn."""
        if not self._parts:
            return
        data = b"".join(self._parts)
        self._parts.clear()
        self._size_bytes = 0
        if not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Send what was written, then close."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self._parts.clear()
        self._size_bytes = 0
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Bytes that were written and not sent."""
        return self._size_bytes + self._transport.get_write_buffer_size()

    # --- as the other one's -----------------------------------------------------------------

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`."""
        return self._transport.get_extra_info(name, default)

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport`."""
        return self._transport.is_reading()

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._transport.resume_reading()
