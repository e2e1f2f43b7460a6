"""A client so light that it does not disturb what it measures: one thread, plain sockets.

It notes when each piece of each answer arrives and reads nothing of it before the end: on a
machine with two cores, a client that parses as it goes takes a part of every token's time.
"""

import json
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from anchors import Server

_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One streamed request."""

    path: str
    body: dict[str, Any]
    tokens: Callable[[bytes], int]
    """The tokens of an answer, by its last event."""
    delay_s: float = 0.0
    """How long after the first request it is sent."""


@dataclass(slots=True, kw_only=True)
class Stream:
    """One answer: when it was asked for and its pieces came, by `time.perf_counter`."""

    asked_s: float
    arrivals_s: list[float] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    tokens: int = 0

    @property
    def first_ms(self) -> float:
        """Milliseconds to the first piece."""
        return 1000 * (self.arrivals_s[0] - self.asked_s)

    @property
    def rate(self) -> float:
        """Tokens a second from the first piece to the last."""
        return (self.tokens - 1) / max(1e-9, self.arrivals_s[-1] - self.arrivals_s[0])

    @property
    def gaps_ms(self) -> list[float]:
        """Milliseconds between pieces."""
        pairs = zip(self.arrivals_s, self.arrivals_s[1:], strict=False)
        return [1000 * (after - before) for before, after in pairs]


def together(server: Server, calls: Sequence[Call]) -> list[Stream]:
    """The answers to requests that run side by side, in their order."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    begun_s = time.perf_counter()
    waiting = sorted(range(len(calls)), key=lambda index: calls[index].delay_s)
    streams: dict[int, Stream] = {}
    with selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            now_s = time.perf_counter()
            if now_s - begun_s > _TIMEOUT_S:
                raise SystemExit(f"{server.url} did not answer in {_TIMEOUT_S:g} s")
            while waiting and calls[waiting[0]].delay_s <= now_s - begun_s:
                index = waiting.pop(0)
                connection = socket.create_connection((host, int(port)))
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                streams[index] = Stream(asked_s=time.perf_counter())
                connection.sendall(_request(calls[index]))
                selector.register(connection, selectors.EVENT_READ, streams[index])
            pause_s = calls[waiting[0]].delay_s - (now_s - begun_s) if waiting else 1.0
            for key, _ in selector.select(max(0.0, pause_s)):
                _take(selector, key)
    done = [streams[index] for index in range(len(calls))]
    for stream, call in zip(done, calls, strict=True):
        stream.tokens = call.tokens(_last_event(bytes(stream.raw)))
    return done


def whole_rate(streams: Sequence[Stream]) -> float:
    """Tokens a second of all, from the first request to the last token."""
    begun_s = min(one.asked_s for one in streams)
    ended_s = max(one.arrivals_s[-1] for one in streams)
    return sum(one.tokens for one in streams) / (ended_s - begun_s)


def _request(call: Call) -> bytes:
    body = json.dumps(call.body).encode()
    head = f"POST {call.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _take(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
    connection: socket.socket = key.fileobj  # type: ignore[assignment]
    data = connection.recv(1 << 16)
    stream: Stream = key.data
    if b"{" in data:
        stream.arrivals_s.append(time.perf_counter())
    stream.raw += data
    if not data:
        selector.unregister(connection)
        connection.close()


def _last_event(raw: bytes) -> bytes:
    lines = [line.strip() for line in raw.split(b"\n") if b"{" in line]
    if not raw.startswith(b"HTTP/1.1 200") or not lines:
        raise SystemExit(f"no answer: {raw[:300]!r}")
    return lines[-1].removeprefix(b"data: ")


def olm_call(model: str, prompt: str, tokens: int, **options: Any) -> Call:
    """A completion of olm; the prompt goes to the model as it is."""
    options = {"num_predict": tokens, "seed": 1, "temperature": 0.8, "stop": []} | options
    body = {"model": model, "prompt": prompt, "raw": True, "options": options}
    return Call(path="/api/generate", body=body, tokens=lambda last: json.loads(last)["eval_count"])


def llama_call(prompt: str, tokens: int, **options: Any) -> Call:
    """The same completion of llama-server."""
    body = {"prompt": prompt, "n_predict": tokens, "seed": 1, "stream": True}
    body |= {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.0}
    return Call(
        path="/completion",
        body=body | options,
        tokens=lambda last: json.loads(last)["timings"]["predicted_n"],
    )
