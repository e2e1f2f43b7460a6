"""What the HTTP APIs cost: the daemon's part of a first token and of every further one, short
requests, streams that wait, and answers held to JSON.

The client speaks plain sockets, so that its own work does not count much on a small machine.
"""

import http.client
import json
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from anchors import OLM, Server, demo_home, elapsed_s, olm_daemon, weights
from report import Row, median

if TYPE_CHECKING:
    from support.runner import RunnerClient

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

FIRST_TOKENS = 80
STREAM_TOKENS = 1000
TOKEN_ROUNDS = 3
SHORT_REQUESTS = 3000
CONNECTIONS = 4
WAITING = 500
ROUNDS = 5
STREAMS = ("/api/chat", "/v1/chat/completions", "/v1/responses", "/v1/messages")
ENDS = (0, 2)
"""Tokens by which the demo model ends an answer: forbidden, its streams have any length."""
SCHEMA = {
    "type": "object",
    "properties": {"words": {"type": "array", "items": {"type": "string"}}},
    "required": ["words"],
}


def _address(server: Server) -> tuple[str, int]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return host, int(port)


@contextmanager
def _asked(server: Server, path: str, body: object) -> Iterator[http.client.HTTPResponse]:
    with closing(http.client.HTTPConnection(*_address(server), timeout=300)) as connection:
        connection.request("POST", path, json.dumps(body))
        with connection.getresponse() as response:
            assert response.status == 200, response.read()
            yield response


def _cpu_s(server: Server) -> float:
    times = psutil.Process(server.process.pid).cpu_times()
    return float(times.user + times.system)


def first_token_ms(server: Server, home: Path) -> float:
    """What the daemon adds to the wait for a first token.

    From the request to the first bytes of its answer, over a connection that stays open as those of
    clients' libraries do, less what a runner takes that gets the same prompt without a daemon.
    """
    from support.runner import RunnerClient

    options = {"num_predict": 2, "temperature": 0}
    asked: dict[str, Any] = {"model": "demo", "prompt": "Say one word.", "options": options}
    rendered = json.loads(server.post("/api/generate", asked | {"_debug_render_only": True}))
    prompt = rendered["_debug_info"]["rendered_template"]
    body = json.dumps(asked).encode()
    head = f"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    # One after the other: two runners would take the cores from each other.
    with socket.create_connection(_address(server)) as peer:
        whole = [_over_http_ms(peer, head.encode() + body) for _ in range(FIRST_TOKENS)]
    with RunnerClient() as runner:
        runner.load(weights(home), context_tokens=4096, threads=0)
        alone = [_alone_ms(runner, prompt) for _ in range(FIRST_TOKENS)]
    return median(whole[5:]) - median(alone[5:])


def _over_http_ms(peer: socket.socket, request: bytes) -> float:
    """The wait for the first token, less the prompt's computation."""
    begun_ns = time.perf_counter_ns()
    peer.sendall(request)
    reply = b""
    while b'"response"' not in reply:
        reply += peer.recv(1 << 16)
    elapsed_ns = time.perf_counter_ns() - begun_ns
    while not reply.endswith(b"\r\n0\r\n\r\n"):
        reply += peer.recv(1 << 16)
    last = json.loads(reply.splitlines()[-4])
    return float(elapsed_ns - last["prompt_eval_duration"]) / 1e6


def _alone_ms(runner: "RunnerClient", prompt: str) -> float:
    """The same of a runner without a daemon."""
    begun_ns = time.perf_counter_ns()
    request = runner.start(prompt, max_tokens=2)
    runner.next_reply()
    elapsed_ns = time.perf_counter_ns() - begun_ns
    *_, end = runner.replies(request)[request]
    return float(elapsed_ns - end.prompt_ns) / 1e6


def token_us(server: Server, path: str) -> float:
    """Processor time of the daemon for one token of a streamed answer, its request left out."""

    def streamed(tokens: int) -> tuple[float, int]:
        """Processor seconds of a stream, and how many events it had."""
        text = "Write a long story."
        bias = {str(token): -100 for token in ENDS}
        options = {"num_predict": tokens, "temperature": 1.2, "logit_bias": bias}
        limits = dict.fromkeys(("max_tokens", "max_output_tokens"), tokens)
        body = {"messages": [{"role": "user", "content": text}], "input": text, "stream": True}
        before_s = _cpu_s(server)
        with _asked(server, path, body | limits | {"model": "demo", "options": options}) as reply:
            events = reply.read().count(b"\n\n" if path.startswith("/v1") else b"\n")
        return _cpu_s(server) - before_s, events

    streamed(8)
    costs = []
    for _ in range(TOKEN_ROUNDS):
        short_s, few = streamed(8)
        long_s, many = streamed(STREAM_TOKENS)
        costs.append((long_s - short_s) * 1e6 / (many - few))
    return median(costs)


def short_requests(server: Server) -> float:
    """Requests a second for the list of models, over a few connections that stay open."""
    request = b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with urllib.request.urlopen(f"{server.url}/api/tags") as answer:
        end = answer.read()[-40:]
    with ExitStack() as stack:
        peers = [
            stack.enter_context(socket.create_connection(_address(server)))
            for _ in range(CONNECTIONS)
        ]
        begun_s = time.perf_counter()
        for _ in range(SHORT_REQUESTS // CONNECTIONS):
            for peer in peers:
                peer.sendall(request)
            for peer in peers:
                received = b""
                while not received.endswith(end):
                    received += peer.recv(1 << 16)
        return SHORT_REQUESTS / (time.perf_counter() - begun_s)


def waiting_mib(home: Path) -> float:
    """Memory of the daemon for streams that wait for their turn."""
    variables = {"OLM_MAX_CONNECTIONS": str(WAITING + 50), "OLM_MAX_QUEUE": str(WAITING + 50)}
    variables |= {"OLM_MAX_QUEUE_PER_MODEL": str(WAITING + 50), "OLM_NUM_PARALLEL": "1"}
    options = {"num_predict": -1, "temperature": 0, "seed": 1}
    body = {"model": "demo", "prompt": "Write a very long story.", "options": options}
    with olm_daemon(home, **variables) as server, ExitStack() as stack:
        server.post("/api/generate", body | {"stream": False, "options": {"num_predict": 1}})
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        for _ in range(WAITING):
            connection = http.client.HTTPConnection(*_address(server), timeout=300)
            stack.callback(connection.close)
            connection.request("POST", "/api/generate", json.dumps(body))
        time.sleep(3)
        return float(process.memory_info().rss - before) / (1 << 20)


def constrained_rates(home: Path) -> tuple[float, float]:
    """Tokens a second of a model with 262k tokens, held to JSON and free."""
    from support.models import gemma3

    with olm_daemon(home) as server:
        modelfile = home / "gemma.modelfile"
        modelfile.write_text(f"FROM {gemma3()}\n", encoding="utf-8")
        elapsed_s([OLM, "create", "gemma", "-f", str(modelfile)], server.environ)
        options = {"num_predict": 96, "temperature": 0, "num_thread": 2}
        body = {"model": "gemma", "prompt": "A list: ", "stream": False, "options": options}
        rates: dict[bool, list[float]] = {True: [], False: []}
        for round_ in range(ROUNDS + 1):
            for is_held in (True, False):
                more = {"format": SCHEMA} if is_held else {}
                reply = json.loads(server.post("/api/generate", body | more))
                if round_:
                    rates[is_held].append(reply["eval_count"] * 1e9 / reply["eval_duration"])
        return median(rates[True]), median(rates[False])


def rows() -> list[Row]:
    """Absolute bounds, so the anchor is the bound itself; JSON against free text."""
    home = demo_home()
    result = []

    def bounded(name: str, ours: float, bound: float, unit: str, *, at_most: bool = True) -> None:
        row = Row(
            name=name,
            ours=ours,
            anchor=bound,
            unit=unit,
            anchor_name="bound",
            target=1.0,
            at_most=at_most,
        )
        result.append(row)

    with olm_daemon(home) as server:
        server.post("/api/generate", {"model": "demo"})
        bounded("daemon: first token", first_token_ms(server, home), 1.5, "ms")
        for path in STREAMS:
            bounded(f"daemon: a token of {path}", token_us(server, path), 60, "µs")
        bounded("GET /api/tags", short_requests(server), 1000, "/s", at_most=False)
    bounded(f"{WAITING} streams that wait", waiting_mib(home), 40e6 / (1 << 20), "MiB")
    held, free = constrained_rates(home)
    result.append(
        Row(
            name="answer held to JSON, 262k tokens",
            ours=held,
            anchor=free,
            unit="t/s",
            anchor_name="free answer",
            target=0.95,
            at_most=False,
        )
    )
    return result


if __name__ == "__main__":
    for row in rows():
        print(row.text())
