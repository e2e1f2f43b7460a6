"""On a graphics card: tokens a second and time to the first one, olm against llama-server.

An 8B shape of Q4_K_M with random weights, over HTTP, streamed, at 1, 16 and 64 streams; both use
the same libraries (set LLAMA_CPP_LIB_PATH and LLAMA_SERVER). llama-server is started anew for
each number of streams, with as many slots, so that it stands at its best. Rounds alternate.
"""

import dataclasses
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from anchors import BUILD, OLM, Server, llama_daemon, olm_daemon
from cardmodel import write_8b
from eventstreams import Call, llama_call, olm_call, together, whole_rate
from report import Row, median

ROUNDS = 3
TOKENS = 128
CONTEXT_TOKENS = 512
"""Of each stream, in olm as in llama-server."""
SENTENCE = "the sea and the people who sail it have a long history that begins before writing"
TARGETS = {1: 1.0, 16: 1.7, 64: 2.5}
"""Streams, and the least ratio of the rates."""
FIRST_TOKEN_TARGET = 0.6


def _prompt(salt: int) -> str:
    return f"[{salt}] {SENTENCE}"


def olm_stream(salt: int) -> Call:
    """One request of olm."""
    return olm_call("random-8b", _prompt(salt), TOKENS, seed=salt, num_ctx=CONTEXT_TOKENS)


def llama_stream(salt: int) -> Call:
    """The same request of llama-server."""
    return llama_call(_prompt(salt), TOKENS, seed=salt)


def _measure(
    make: Callable[[int], Call], server: Server, streams: int, salt: int
) -> tuple[float, float]:
    """Tokens a second of several streams at once, and the median milliseconds to a first piece."""
    done = together(server, [make(salt + number) for number in range(streams)])
    return whole_rate(done), median([one.first_ms for one in done])


def _rows(olm: Server, llama: Server, streams: int) -> list[Row]:
    ours, theirs = [], []
    for round_ in range(ROUNDS + 1):
        salt = 1000 * (10 * streams + round_)  # no prompt that olm knows of other streams
        ours.append(_measure(olm_stream, olm, streams, salt))
        theirs.append(_measure(llama_stream, llama, streams, salt))
    del ours[0], theirs[0]  # caches and clocks were cold
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
