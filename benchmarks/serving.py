"""What servers meet: full slots, long prompts, shared prefixes, a busy neighbour.

olm against llama-server with the same libraries and weights (`contenders`), in turns, medians.
`python benchmarks/serving.py shared_prefix` runs one of them.
"""

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator

from anchors import Server
from contenders import MODEL, contenders
from decode import SENTENCE, alternating, sides_of
from eventstreams import Call, Stream, olm_call, together
from report import Row, median

ROUNDS = 3
LONG_ROUNDS = 5
"""Of what takes llama-server most of a minute."""
SLOTS = 8
SENTENCE_TOKENS = 17


def _text(tokens: int, salt: object) -> str:
    """A text of about so many tokens, different from the first one on."""
    return f"[{salt}] " + SENTENCE * (tokens // SENTENCE_TOKENS)


def _row(name: str, ours: float, anchor: float, unit: str, target: float, **kind: object) -> Row:
    at_most = bool(kind.get("at_most"))
    against = str(kind.get("against", "llama-server"))
    return Row(
        name=name,
        ours=ours,
        anchor=anchor,
        unit=unit,
        anchor_name=against,
        target=target,
        at_most=at_most,
    )


def idle_slots(olm: Server, _: Server) -> list[Row]:
    """One request beside seven idle slots of 1k tokens, against the same in an empty pool."""

    def alone(salt: str) -> Stream:
        # Drafts would depend on how much an answer repeats itself.
        (stream,) = together(olm, [olm_call(MODEL, _text(500, salt), 96, draft_num_predict=0)])
        return stream

    def fill(salt: int) -> None:
        together(
            olm, [olm_call(MODEL, _text(1000, f"idle {salt}.{n}"), 1) for n in range(SLOTS - 1)]
        )

    alone("warm")
    fresh, full = [], []
    for round_ in range(ROUNDS):
        olm.post("/api/generate", {"model": MODEL, "keep_alive": 0})
        alone(f"load {round_}")
        fresh.append(alone(f"fresh {round_}"))
        fill(round_)
        full.append(alone(f"full {round_}"))
    sides = (full, fresh)
    rates = [median([one.rate for one in side]) for side in sides]
    waits = [median([1000 / one.first_ms for one in side]) for side in sides]
    return [
        _row("idle slots full, decode", *rates, "tok/s", 0.97, against="olm, fresh"),
        _row("idle slots full, prompts", *waits, "/s", 0.97, against="olm, fresh"),
    ]


def four_prompts(olm: Server, llama: Server) -> list[Row]:
    """Four prompts of 1k tokens at once: the median wait for a first token."""

    def calls(make: Callable[..., Call], salt: int) -> list[Call]:
        return [make(_text(1000, f"four {salt}.{number}"), 16) for number in range(4)]

    waits = _waits(olm, llama, calls)
    return [_row("4 prompts of 1k, first token", *waits, "ms", 0.8, at_most=True)]


def shared_prefix(olm: Server, llama: Server) -> list[Row]:
    """Eight requests at once with one prefix of 2k tokens: the median wait for a first token."""

    def calls(make: Callable[..., Call], salt: int) -> list[Call]:
        prefix = _text(1900, f"prefix {salt}")  # eight of them fill llama-server's pool
        return [make(f"{prefix} Question {number}:", 16) for number in range(SLOTS)]

    waits = _waits(olm, llama, calls)
    return [_row("8 with a prefix of 2k, first token", *waits, "ms", 0.25, at_most=True)]


def _waits(
    olm: Server, llama: Server, calls: Callable[[Callable[..., Call], int], list[Call]]
) -> list[float]:
    """The median wait of each round's requests, of which the median counts."""
    sides = alternating(olm, llama, calls, LONG_ROUNDS)
    return [median([median([one.first_ms for one in round_]) for round_ in side]) for side in sides]


def beside_prompt(olm: Server, llama: Server) -> list[Row]:
    """A chat goes on while a prompt of 4k tokens is read: the longest gaps between its tokens."""

    def calls(make: Callable[..., Call], salt: int) -> list[Call]:
        chat = make(_text(60, f"chat {salt}"), 160)
        prompt = make(_text(4000, f"long {salt}"), 1)
        return [chat, Call(path=prompt.path, body=prompt.body, tokens=prompt.tokens, delay_s=0.3)]

    def p95(streams: list[Stream]) -> float:
        chat, prompt = streams
        begun_s, ended_s = prompt.asked_s, prompt.arrivals_s[0]
        gaps = sorted(
            gap
            for gap, at_s in zip(chat.gaps_ms, chat.arrivals_s[1:], strict=True)
            if begun_s <= at_s and at_s - gap / 1000 <= ended_s
        )
        return gaps[int(0.95 * (len(gaps) - 1))]

    sides = alternating(olm, llama, calls, LONG_ROUNDS)
    gaps = [median([p95(streams) for streams in side]) for side in sides]
    waits = [median([streams[1].first_ms for streams in side]) for side in sides]
    return [
        _row("gap beside a 4k prompt, p95", *gaps, "ms", 0.7, at_most=True),
        _row("that prompt's first token", *waits, "ms", 1.2, at_most=True),
    ]


def core_taken(olm: Server, llama: Server) -> list[Row]:
    """Four streams while another process keeps one core busy."""
    with _neighbour():
        ours, theirs = sides_of(olm, llama, 4, 64, ROUNDS)
    return [_row("one core taken, 4 streams", ours.rate, theirs.rate, "tok/s", 2.0)]


@contextlib.contextmanager
def _neighbour() -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


ALL = {
    one.__name__: one
    for one in (idle_slots, four_prompts, shared_prefix, beside_prompt, core_taken)
}


def rows(names: list[str] | None = None) -> Iterator[Row]:
    """The rows of the benchmarks named, or of all, as they come."""
    with contenders(slots=SLOTS) as (olm, llama):
        for name in names or ALL:
            yield from ALL[name](olm, llama)


if __name__ == "__main__":
    for row in rows(sys.argv[1:]):
        print(row.text(), flush=True)
