"""Run the benchmarks named on the command line, or all: `python benchmarks/run.py decode`.

Prints one line a comparison and exits with 1 when a target is missed.
"""

import importlib
import sys

ALL = [
    "startup",
    "memory",
    "first_token",
    "decode",
    "api",
    "token_calls",
    "serving",
    "drafting",
    "restart",
    "transfer",
]
"""`graphics_card` needs one and `embedding` a model: they are run by their names."""


def main(names: list[str]) -> int:
    """Run and report; the number of missed targets, at most 1."""
    missed = False
    for name in names or ALL:
        for row in importlib.import_module(name).rows():
            print(row.text(), flush=True)
            missed |= not row.is_reached
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
