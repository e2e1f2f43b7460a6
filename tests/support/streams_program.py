"""Many requests through a generator whose sequences have streams of their own.

A program, for it loads llama.cpp: `streams_program.py MODEL KIND` runs requests that come, share
beginnings, are cancelled and come again, and each of them alone in one pool; it prints the tokens
of both and the slots in which they ran as JSON.
"""

import json
import random
import sys
from typing import Any

from olmkit.engine.runner.bindings import (
    CARD_STREAMS,
    PROCESSOR_STREAMS,
    Context,
    ContextOptions,
    Model,
    Streams,
    initialize,
)
from olmkit.engine.runner.decoding.drawing.drawing import DrawingPool
from olmkit.engine.runner.decoding.generation import Generator
from olmkit.engine.runner.protocol import Completed, Completion, Failed, Piece, Room, Sampling

KINDS = {"card": CARD_STREAMS, "processor": PROCESSOR_STREAMS}
SEQUENCES = 12
STREAM_TOKENS = 256
REQUESTS = 90
BEGINNINGS = 5
CANCELLED = 7
"""Every so many requests one is cancelled after its first token."""
PAUSE = 30
"""After so many requests all that run come to their end, and the next ones find idle slots."""


def generator(model: Model, streams: Streams | None) -> Generator:
    """A generator with a context of its own."""
    options = ContextOptions(
        context_tokens=SEQUENCES * STREAM_TOKENS,
        batch_tokens=64,
        sequences=SEQUENCES,
        threads=1,
        streams=streams,
    )
    tokens = SEQUENCES * STREAM_TOKENS
    return Generator(
        model,
        Context(model, options),
        limit_tokens=STREAM_TOKENS,
        pool_tokens=tokens,
        drawing=DrawingPool(model.vocabulary_tokens, None, threads=1),
        prompt_cache_bytes=1 << 26,
    )


def requests() -> list[Completion]:
    """Prompts of which many begin alike, and some go on where another ended."""
    source = random.Random(5)
    beginnings = [[source.randrange(10, 250) for _ in range(70)] for _ in range(BEGINNINGS)]
    found: list[Completion] = []
    for number in range(REQUESTS):
        rest = [source.randrange(10, 250) for _ in range(source.randrange(1, 40))]
        prompt = source.choice(beginnings)[: source.randrange(30, 71)] + rest
        if found and number % 6 == 5:
            prompt = [*source.choice(found).prompt[:150], *rest]
        found.append(
            Completion(
                id=number,
                prompt=prompt,
                max_tokens=source.randrange(2, 40),
                sampling=Sampling(temperature=0.0),
                ignore_eos=True,
                room=Room(shift=False),
            )
        )
    return found


def run(model: Model, wanted: list[Completion], streams: Streams | None) -> dict[str, Any]:
    """Tokens by request, the slot of each, and how many tokens came out of caches."""
    source = random.Random(9)
    engine = generator(model, streams)
    waiting, tokens, slots, cached = list(wanted), dict[int, list[int]](), dict[int, int](), 0
    failures = []
    while waiting or engine.running_requests or engine.waiting_requests:
        is_paused = waiting and waiting[0].id % PAUSE == 0 and engine.running_requests
        for _ in range(0 if is_paused else min(len(waiting), source.randrange(0, 4))):
            engine.submit(waiting.pop(0))
        for reply in engine.step():
            if isinstance(reply, Piece):
                tokens.setdefault(reply.id, []).extend(reply.tokens)
                if reply.id % CANCELLED == 3:
                    engine.cancel(reply.id)
            elif isinstance(reply, Completed):
                cached += reply.cached_tokens
            elif isinstance(reply, Failed):
                failures.append(str(reply))
        for one in engine._running:
            if one.slot is not None:
                slots[one.id] = one.slot.index
    return {"tokens": tokens, "slots": slots, "cached": cached, "failures": failures}


def main() -> None:
    """All requests at once with streams, then one after the other in a fresh pool each."""
    initialize()
    model = Model(sys.argv[1])
    wanted = requests()
    together = run(model, wanted, KINDS[sys.argv[2]])
    alone: dict[int, list[int]] = {}
    for one in wanted:
        alone |= run(model, [one], None)["tokens"]
    sys.stdout.write(json.dumps({"together": together, "alone": alone}))


if __name__ == "__main__":
    main()
