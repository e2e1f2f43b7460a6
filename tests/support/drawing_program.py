"""The next tokens of eight sequences: from all tokens, from shortlists, and by threads.

A program, for it loads llama.cpp: `drawing_program.py MODEL` prints them as JSON.
"""

import json
import math
import sys
from types import SimpleNamespace
from typing import Any

from olmkit.engine.runner.bindings import (
    Batch,
    Context,
    ContextOptions,
    Model,
    Shortlist,
    initialize,
)
from olmkit.engine.runner.decoding.drawing import DrawingPool, draw
from olmkit.engine.runner.decoding.sampling import SamplerMaker
from olmkit.engine.runner.protocol import Completion, Sampling

LOWERED = dict.fromkeys(range(40), -math.inf)
REQUESTS: list[tuple[dict[str, Any], dict[int, float]]] = [
    ({}, {}),
    ({"repeat_penalty": 1.1}, {}),
    ({"temperature": 0.0}, {}),
    ({"top_k": 5, "min_p": 0.1}, LOWERED),
    ({"top_k": 0}, {}),
    ({"mirostat": 2}, {}),
    ({"top_k": 100, "temperature": 3.0}, {}),
    ({"temperature": 0.0}, {7: 90.0}),
]
"""Options and biases of each sequence."""
SEQUENCES = len(REQUESTS)


def sequences(model: Model, prompt: list[int], outputs: list[int]) -> list[Any]:
    """What a drawing pool needs of requests, with a seed each."""
    maker = SamplerMaker(model)
    return [
        SimpleNamespace(
            id=number,
            chunk=1,
            draft=[],
            guide=None,
            output_index=output,
            request=SimpleNamespace(max_tokens=1),
            sampler=maker.sampler(
                Completion(
                    id=number,
                    prompt="",
                    sampling=Sampling(seed=number, **REQUESTS[number][0]),
                    logit_bias=REQUESTS[number][1],
                ),
                prompt,
                64,
            ),
        )
        for number, output in enumerate(outputs)
    ]


def main() -> None:
    """Decode eight prompts in one step, then draw twice."""
    initialize()
    model = Model(sys.argv[1])
    options = ContextOptions(context_tokens=512, batch_tokens=256, sequences=SEQUENCES, threads=1)
    context = Context(model, options)
    batch = Batch(256)
    prompt = model.tokenize("Once upon a time", add_special=True, parse_special=False)
    outputs = [
        batch.add([*prompt, number + 300], position=0, sequence=number, outputs=1)
        for number in range(SEQUENCES)
    ]
    assert context.decode(batch) == 0
    alone = {one.id: draw(context, one) for one in sequences(model, prompt, outputs)}
    shortlist = Shortlist(model.vocabulary_tokens)
    listed = [
        shortlist.choose(one.sampler, context, one.output_index)
        for one in sequences(model, prompt, outputs)
    ]
    pool = DrawingPool(4, model.vocabulary_tokens)
    together = pool.draw(context, sequences(model, prompt, outputs))
    few = pool.draw(context, sequences(model, prompt, outputs[:2]))
    found = {"alone": alone, "listed": listed, "together": together, "few": few}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
