"""How long light commands take, as multiples of an empty Python."""

import sys

from anchors import OLM, demo_home, elapsed_s, olm_daemon
from report import Row, median

ROUNDS = 25


def rows() -> list[Row]:
    """`olm --version` and `olm ls` against `python -c pass`, interleaved."""
    bare, version, ls = [], [], []
    with olm_daemon(demo_home()) as daemon:
        for _ in range(ROUNDS):
            bare.append(elapsed_s([sys.executable, "-c", "pass"]) * 1e3)
            version.append(elapsed_s([OLM, "--version"]) * 1e3)
            ls.append(elapsed_s([OLM, "ls"], daemon.environ) * 1e3)
    python_ms = median(bare)
    common = {"anchor": python_ms, "unit": "ms", "anchor_name": "python -c pass", "at_most": True}
    return [
        Row(name="olm --version", ours=median(version), target=2.5, **common),
        Row(name="olm ls, daemon running", ours=median(ls), target=9, **common),
    ]
