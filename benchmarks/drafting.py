"""An edit task with drafts from the prompt and without: code in, code with one change out.

Only olm is measured, against itself; the bytes must be the same. A model that writes code is best
for it, such as Qwen2.5-Coder (BENCH_WEIGHTS).
"""

import json

from anchors import Server
from contenders import MODEL, contenders
from eventstreams import Stream, olm_call, together
from report import Row, median

ROUNDS = 3
TARGET = 1.5
CODE = "".join(
    f"def {name}_of(values):\n    total = 0\n    for value in values:\n"
    f"        total = {call}(total, value)\n    return total\n\n\n"
    for name, call in (("sum", "add"), ("largest", "max"), ("smallest", "min"), ("product", "mul"))
)
PROMPT = (
    f"Rename largest_of to greatest_of.\n\n```python\n{CODE}```\n\nThe new code:\n\n```python\n"
)


def _answer(server: Server, **options: object) -> tuple[Stream, str]:
    (stream,) = together(server, [olm_call(MODEL, PROMPT, 220, temperature=0, **options)])
    lines = [json.loads(line) for line in bytes(stream.raw).split(b"\n") if line.startswith(b"{")]
    return stream, "".join(line["response"] for line in lines)


def rows() -> list[Row]:
    """Tokens a second with drafts over those without."""
    drafted, plain = [], []
    with contenders(slots=8) as (olm, _):
        _answer(olm)
        for _round in range(ROUNDS):
            with_drafts, without = _answer(olm), _answer(olm, draft_num_predict=0)
            if with_drafts[1] != without[1]:
                raise SystemExit("drafts changed an answer")
            drafted.append(with_drafts[0].rate)
            plain.append(without[0].rate)
    return [
        Row(
            name="an edit, with drafts",
            ours=median(drafted),
            anchor=median(plain),
            unit="tok/s",
            anchor_name="olm without",
            target=TARGET,
            at_most=False,
        )
    ]


if __name__ == "__main__":
    for row in rows():
        print(row.text(), flush=True)
