"""On a graphics card: tokens a second and time to the first one, olm against llama-server.

An 8B shape of Q4_K_M with random weights, over HTTP, streamed, at 1, 16 and 64 streams; both use
the same libraries (set LLAMA_CPP_LIB_PATH and LLAMA_SERVER). llama-server is started anew for
each number of streams, with as many slots, so that it stands at its best. Rounds alternate.
"""

import dataclasses
import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from anchors import BUILD, OLM, Server, llama_daemon, olm_daemon
from cardmodel import write_8b
from report import Row, median

ROUNDS = 3
TOKENS = 128
CONTEXT_TOKENS = 512
"""Of each stream, in olm as in llama-server."""
SENTENCE = "the sea and the people who sail it have a long history that begins before writing"
TARGETS = {1: 1.0, 16: 1.7, 64: 2.5}
"""Streams, and the least ratio of the rates."""
FIRST_TOKEN_TARGET = 0.6


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """When one streamed answer was asked for, its first and last pieces came, and its tokens."""

    asked_s: float
    first_s: float
    last_s: float
    tokens: int


def _prompt(salt: int) -> str:
    return f"[{salt}] {SENTENCE}"


def _stream(server: Server, path: str, body: object, tokens: Callable[[bytes], int]) -> Stream:
    request = urllib.request.Request(
        server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    asked_s = time.perf_counter()
    first_s, last = 0.0, b""
    with urllib.request.urlopen(request, timeout=300) as answer:
        for line in answer:
            if line.strip():
                first_s = first_s or time.perf_counter()
                last = line
    return Stream(asked_s=asked_s, first_s=first_s, last_s=time.perf_counter(), tokens=tokens(last))


def olm_stream(server: Server, salt: int) -> Stream:
    """One stream of olm."""
    options = {"num_predict": TOKENS, "seed": salt, "temperature": 0.8, "num_ctx": CONTEXT_TOKENS}
    body = {"model": "random-8b", "prompt": _prompt(salt), "raw": True, "options": options}
    return _stream(server, "/api/generate", body, lambda last: int(json.loads(last)["eval_count"]))


def llama_stream(server: Server, salt: int) -> Stream:
    """One stream of llama-server."""
    body = {"prompt": _prompt(salt), "n_predict": TOKENS, "seed": salt, "stream": True}
    body |= {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_penalty": 1.0}
    return _stream(
        server,
        "/completion",
        body,
        lambda last: int(json.loads(last.removeprefix(b"data: "))["timings"]["predicted_n"]),
    )


def _together(
    stream: Callable[[Server, int], Stream], server: Server, streams: int, salt: int
) -> tuple[float, float]:
    """Tokens a second of several streams at once, and the median milliseconds to a first piece."""
    done: list[Stream] = []
    threads = [
        threading.Thread(target=lambda number=number: done.append(stream(server, salt + number)))
        for number in range(streams)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed_s = max(one.last_s for one in done) - min(one.asked_s for one in done)
    rate = sum(one.tokens for one in done) / elapsed_s
    return rate, median([1000 * (one.first_s - one.asked_s) for one in done])


def _rows(olm: Server, llama: Server, streams: int) -> list[Row]:
    _together(olm_stream, olm, streams, 0)
    _together(llama_stream, llama, streams, 0)
    ours, theirs = [], []
    for round_ in range(1, ROUNDS + 1):
        ours.append(_together(olm_stream, olm, streams, 1000 * round_))
        theirs.append(_together(llama_stream, llama, streams, 1000 * round_))
    name = f"8B on a card, {streams} stream{'s' * (streams > 1)}"
    rates, waits = [[median([one[at] for one in side]) for side in (ours, theirs)] for at in (0, 1)]
    row = Row(
        name=name,
        ours=rates[0],
        anchor=rates[1],
        unit="tok/s",
        anchor_name=f"llama-server -np {streams}",
        target=TARGETS[streams],
        at_most=False,
    )
    wait = dataclasses.replace(
        row,
        name=f"{name}, first token",
        ours=waits[0],
        anchor=waits[1],
        unit="ms",
        target=FIRST_TOKEN_TARGET,
        at_most=True,
    )
    return [row, wait]


def rows() -> Iterator[Row]:
    """Rates and waits at each number of streams."""
    BUILD.mkdir(exist_ok=True)
    model = BUILD / "random-8b.gguf"
    if not model.exists():
        write_8b(model)
    with olm_daemon(BUILD / "card-home", OLM_NUM_PARALLEL=str(max(TARGETS))) as olm:
        _create(olm, model)
        for streams in TARGETS:
            arguments = ["-ngl", "99", "-np", str(streams), "-c", str(CONTEXT_TOKENS * streams)]
            with llama_daemon(model, *arguments) as llama:
                yield from _rows(olm, llama, streams)


def _create(olm: Server, model: Path) -> None:
    command = [OLM, "create", "random-8b", "-f", "-"]
    subprocess.run(command, input=f"FROM {model}\n".encode(), env=olm.environ, check=True)


if __name__ == "__main__":
    for row in rows():
        print(row.text(), flush=True)
