"""A web server of sockets that answers with exactly the bytes a test gives it.

    with raw_server([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"], [0.5, CLOSE]) as server:
        httpx.get(server.address)

Every request, on whatever connection, gets the next answer: bytes are sent, numbers are pauses in
seconds, which the end of the block cuts short, `CLOSE` ends the connection.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

CLOSE: Final = None
Step = bytes | float | None


@dataclass
class RawServer:
    """What it was asked, and how often it was connected to."""

    address: str
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0


@contextmanager
def raw_server(
    *answers: Sequence[Step], host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[RawServer]:
    """The server, answering while the block runs; after the last answer it closes."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        scheme, shown = "https" if tls else "http", f"[{host}]" if ":" in host else host
        server = RawServer(f"{scheme}://{shown}:{listener.getsockname()[1]}/")
        left = list(answers)
        threads: list[threading.Thread] = []
        opened: list[socket.socket] = []
        is_over = threading.Event()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    opened.append(connection)
                    server.connections += 1
                    threads.append(threading.Thread(target=serve, args=(connection,)))
                    threads[-1].start()

        def serve(plain: socket.socket) -> None:
            with contextlib.suppress(OSError):
                connection = tls.wrap_socket(plain, server_side=True) if tls else plain
                opened.append(connection)
                with connection:
                    while (request := _request(connection)) and left:
                        server.requests.append(request)
                        for step in left.pop(0):
                            if step is CLOSE:
                                return
                            if isinstance(step, bytes):
                                connection.sendall(step)
                            elif is_over.wait(step):
                                return

        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield server
        finally:
            is_over.set()
            for one in (listener, *opened):
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(one, socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()
            for one in opened:
                one.close()


def _request(connection: socket.socket) -> bytes:
    """The head of a request; nothing when the client has gone."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (byte := connection.recv(1)):
            return b""
        head += byte
    return head
