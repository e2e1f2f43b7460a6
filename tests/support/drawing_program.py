"""The next tokens of many sequences, drawn in every way, and by one chain after the other.

A program, for it loads llama.cpp: `drawing_program.py MODEL` prints them as JSON. Each way draws
three tokens of each sequence from one step, so that what samplers remember is the same as well.
"""

import json
import math
import random
import sys
from array import array
from types import SimpleNamespace
from typing import Any

from olmkit.engine.runner.bindings import (
    Batch,
    Context,
    ContextOptions,
    Model,
    Sampler,
    Shortlist,
    initialize,
)
from olmkit.engine.runner.constraints.constraint import GuideMaker
from olmkit.engine.runner.decoding.drawing.drawing import DrawingPool
from olmkit.engine.runner.decoding.drawing.drawingchoice import choose
from olmkit.engine.runner.decoding.drawing.drawingtimes import measure
from olmkit.engine.runner.decoding.logprobs import token_logprobs
from olmkit.engine.runner.decoding.sampling import SamplerMaker
from olmkit.engine.runner.protocol import (
    Completion,
    Constraint,
    ConstraintKind,
    Drawing,
    Sampling,
)

LOWERED = dict.fromkeys(range(40), -math.inf)
REGEX = Constraint(kind=ConstraintKind.REGEX, text="[A-Z][a-z]+ [a-z ]+")
REQUESTS: list[tuple[dict[str, Any], dict[int, float], Constraint | None]] = [
    ({}, {}, None),
    ({"repeat_penalty": 1.1}, {}, None),
    ({"presence_penalty": 0.5, "frequency_penalty": 0.5}, {3: -2.0}, None),
    ({"repeat_penalty": 0.9}, {}, None),
    ({"temperature": 0.0}, {}, None),
    ({"temperature": 0.0, "repeat_penalty": 1.3}, {}, None),
    ({"top_k": 5, "min_p": 0.1}, LOWERED, None),
    ({"top_k": 20, "typical_p": 0.5}, {}, None),
    ({"top_k": 0}, {}, None),
    ({"top_k": 0, "min_p": 0.05}, {}, None),
    ({"top_n_sigma": 1.0}, {}, None),
    ({"mirostat": 1}, {}, None),
    ({"mirostat": 2}, {}, None),
    ({"xtc_probability": 1.0, "xtc_threshold": 0.05}, {}, None),
    ({"dry_multiplier": 0.8}, {}, None),
    ({"dynatemp_range": 0.5}, {}, None),
    ({"adaptive_target": 0.3}, {}, None),
    ({"top_k": 100, "temperature": 3.0}, {}, None),
    ({"top_k": 500, "temperature": 9.0, "top_p": 1.0}, {}, None),
    ({"temperature": 0.0}, {7: 90.0}, None),
    ({}, {}, REGEX),
    ({"top_k": 0, "temperature": 2.0}, LOWERED, REGEX),
    ({"repeat_penalty": 1.1}, {}, REGEX),
]
"""Options, biases and a constraint of each sequence."""
SEQUENCES = len(REQUESTS)
ROUNDS = 3
WAYS = {
    "alone": Drawing(),
    "shortlist": Drawing(shortlist_from=1),
    "threads": Drawing(threads_from=2),
    "both": Drawing(shortlist_from=2, threads_from=2),
    "too few": Drawing(shortlist_from=99, threads_from=99),
}


def sequences(model: Model, guides: GuideMaker, prompt: list[int], outputs: list[int]) -> list[Any]:
    """What a drawing pool needs of requests, with a seed each."""
    maker = SamplerMaker(model)
    made = []
    for number, output in enumerate(outputs):
        options, biases, constraint = REQUESTS[number]
        request = Completion(
            id=number,
            prompt="",
            sampling=Sampling(seed=number, **options),
            logit_bias=biases,
        )
        preparation = guides.prepare(constraint) if constraint else None
        made.append(
            SimpleNamespace(
                id=number,
                chunk=1,
                draft=[],
                guide=preparation.guide() if preparation else None,
                output_index=output,
                request=request,
                sampler=maker.sampler(request, prompt, 64),
            )
        )
    return made


class MadeUpOutputs:
    """Logits of several outputs, none of which is as high as another."""

    def __init__(self, model: Any, outputs: int) -> None:
        self._size: int = model.vocabulary_tokens
        count = outputs * self._size
        self.logits = array("f", random.Random(0).sample(range(count), count))

    def logits_address(self, index: int) -> int:
        return self.logits.buffer_info()[0] + index * self._size * self.logits.itemsize

    def likeliest(self, index: int) -> int:
        row = self.logits[index * self._size : (index + 1) * self._size]
        return max(range(self._size), key=row.__getitem__)


def likeliest_tokens() -> list[list[int | None]]:
    """By sight and by all searches, of outputs of sizes that cannot be cut evenly."""
    found: list[list[int | None]] = []
    for size in (640, 647, 653):
        model: Any = SimpleNamespace(vocabulary_tokens=size)
        outputs = MadeUpOutputs(model, 24)
        wanted = []
        for index in range(24):
            sampler = Sampler(model)
            sampler.add_top_k(40)
            sampler.add_greedy()
            wanted.append((sampler, index))
        shortlist = Shortlist(size)
        found.append([outputs.likeliest(index) for index in range(24)])
        found += [list(shortlist.choose_each(wanted, outputs, parts=n)) for n in (1, 2, 5)]
        found.append([shortlist.choose(one, outputs, index, threads=2) for one, index in wanted])
    return found


def main() -> None:
    """Decode a prompt for each in one step, then draw in every way."""
    initialize()
    model = Model(sys.argv[1])
    options = ContextOptions(context_tokens=512, batch_tokens=256, sequences=SEQUENCES, threads=2)
    context = Context(model, options)
    batch = Batch(256)
    prompt = model.tokenize("Once upon a time", add_special=True, parse_special=False)
    outputs = [
        batch.add([*prompt, number + 300], position=0, sequence=number, outputs=1)
        for number in range(SEQUENCES)
    ]
    assert context.decode(batch) == 0
    guides = GuideMaker(model)
    found: dict[str, Any] = {}
    for name, ways in WAYS.items():
        for count in (SEQUENCES, 2):
            pool = DrawingPool(model.vocabulary_tokens, ways, threads=4)
            drawn = sequences(model, guides, prompt, outputs[:count])
            tokens: list[list[int]] = [[] for _ in drawn]
            for _ in range(ROUNDS):
                pool.draw(context, drawn)
                for one, said in zip(drawn, tokens, strict=True):
                    said.append(pool.token(context, one))
            logprobs = [
                token_logprobs(model, context, one.output_index, said[0], 3).logprob
                for one, said in zip(drawn, tokens, strict=True)
            ]
            found[f"{name} {count}"] = [tokens, logprobs]
    times = {threads: measure(model, threads=threads, rounds=1) for threads in (1, 2)}
    report = {
        "drawn": found,
        "likeliest": likeliest_tokens(),
        "times": {
            threads: [
                one.chain_ns,
                one.shortlist_ns,
                one.several_shortlist_ns,
                one.several_threads_ns,
            ]
            for threads, one in times.items()
        },
        "threads_from": choose(times[1]).threads_from,
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
