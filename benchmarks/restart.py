"""The first token of a prompt of 1k tokens after the daemon was restarted, against the first time.

The model is loaded again before the prompt comes, so that only what is kept of the prompt counts.
"""

import os
from pathlib import Path

from anchors import BUILD, Server, demo_home, drop, olm_daemon, weights
from contenders import MODEL, create
from eventstreams import olm_call, together
from report import Row, median

ROUNDS = 3
TARGET = 0.2
SENTENCE = "The history of the sea and of the people who sail it begins long before writing. "


def _first_ms(olm: Server, salt: int) -> float:
    together(olm, [olm_call(MODEL, "hi", 1)])
    (stream,) = together(olm, [olm_call(MODEL, f"[{salt}] {SENTENCE * 60}", 1)])
    return stream.first_ms


def rows() -> list[Row]:
    """Milliseconds, with what is on disk over without."""
    given = os.environ.get("BENCH_WEIGHTS")
    path = Path(given).resolve() if given else weights(demo_home())
    home = BUILD / "restart-home"
    drop(home)
    cold, warm = [], []
    for salt in range(ROUNDS):
        with olm_daemon(home) as olm:
            create(olm, path)
            cold.append(_first_ms(olm, salt))
        with olm_daemon(home) as olm:
            warm.append(_first_ms(olm, salt))
    drop(home)
    return [
        Row(
            name="1k prompt after a restart",
            ours=median(warm),
            anchor=median(cold),
            unit="ms",
            anchor_name="olm, cold",
            target=TARGET,
            at_most=True,
        )
    ]


if __name__ == "__main__":
    for row in rows():
        print(row.text(), flush=True)
