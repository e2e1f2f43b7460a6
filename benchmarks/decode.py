"""Tokens a second and time to the first one through the whole HTTP stack, olm and llama-server.

Same llama.cpp libraries (set LLAMA_CPP_LIB_PATH to those of llama-server to be sure), model,
prompt and sampling, without drafts, which depend on what is said; streamed, on the client's clock.
Rounds alternate, medians are compared.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from anchors import Server
from contenders import MODEL, contenders
from eventstreams import Call, Stream, llama_call, olm_call, together, whole_rate
from report import Row, median

ROUNDS = 5
PAUSE_S = 0.1
"""Before each turn: threads of the other program spin for some milliseconds after their work."""
TARGETS = {1: 0.98, 4: 1.0, 8: 1.1, 16: 1.1}
"""Streams, and the least ratio of the rates."""
TOKENS = {1: 128, 4: 96, 8: 64, 16: 48}
LATER_MS = 3.0
"""How much later than llama-server's the first token of one stream may come."""
SENTENCE = "The history of the sea and of the people who sail it begins long before writing. "

Streams = list[Stream]


def prompts(count: int, salt: int) -> list[str]:
    """Prompts of about 70 tokens that share nothing, nor with those of other counts or salts."""
    return [f"[{count}.{salt}.{number}] {SENTENCE * 4}" for number in range(count)]


def alternating(
    olm: Server,
    llama: Server,
    calls: Callable[[Callable[..., Call], int], Sequence[Call]],
    rounds: int = ROUNDS,
) -> tuple[list[Streams], list[Streams]]:
    """Rounds of the same calls to both, in turns, after a short one that is not counted.

    `calls(make, salt)` makes a round's calls by `make(prompt, tokens, **options)`.
    """

    def ours(prompt: str, tokens: int, **options: object) -> Call:
        return olm_call(MODEL, prompt, tokens, draft_num_predict=0, **options)

    sides: tuple[list[Streams], list[Streams]] = ([], [])
    for server, make in ((olm, ours), (llama, llama_call)):
        together(server, [make(SENTENCE, 16)])
    for round_ in range(rounds):
        for side, server, make in zip(sides, (olm, llama), (ours, llama_call), strict=True):
            time.sleep(PAUSE_S)
            side.append(together(server, calls(make, round_)))
    return sides


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What one program reached, medians of its rounds."""

    rate: float
    """Tokens a second, each stream's from its first token to its last, all added up."""
    whole: float
    """Tokens a second from the first request to the last token: who begins early gains nothing."""
    first_ms: float


def sides_of(
    olm: Server, llama: Server, streams: int, tokens: int, rounds: int = ROUNDS
) -> tuple[Side, Side]:
    """What olm and llama-server reach with so many streams."""

    def calls(make: Callable[..., Call], salt: int) -> list[Call]:
        return [make(prompt, tokens) for prompt in prompts(streams, salt)]

    ours, theirs = alternating(olm, llama, calls, rounds)
    return _side(ours), _side(theirs)


def _side(rounds: list[Streams]) -> Side:
    return Side(
        rate=median([sum(one.rate for one in round_) for round_ in rounds]),
        whole=median([whole_rate(round_) for round_ in rounds]),
        first_ms=median([one.first_ms for round_ in rounds for one in round_]),
    )


def rows(weights: Path | None = None) -> Iterator[Row]:
    """Rates and waits at each number of streams, as they come."""
    for slots, counts in ((8, (1, 4, 8)), (16, (16,))):
        with contenders(slots=slots, weights=weights) as (olm, llama):
            for count in counts:
                ours, theirs = sides_of(olm, llama, count, TOKENS[count])
                row = Row(
                    name=f"decode, {count} stream{'s' * (count > 1)}",
                    ours=ours.rate,
                    anchor=theirs.rate,
                    unit="tok/s",
                    anchor_name="llama-server",
                    target=TARGETS[count],
                    at_most=False,
                )
                whole = dataclasses.replace(
                    row, name=f"{row.name}, whole", ours=ours.whole, anchor=theirs.whole
                )
                first = dataclasses.replace(
                    row,
                    name=f"{row.name}, first token",
                    ours=ours.first_ms,
                    anchor=theirs.first_ms,
                    unit="ms",
                    target=1 + LATER_MS / theirs.first_ms,
                    at_most=True,
                )
                yield from (row, whole, first) if count > 1 else (row, first)


if __name__ == "__main__":
    for row in rows():
        print(row.text(), flush=True)
