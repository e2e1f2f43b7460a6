"""How long light commands take, as multiples of an empty Python, and names for the shell."""

import sys

from anchors import OLM, demo_home, elapsed_s, olm_daemon
from report import Row, median

ROUNDS = 25
COMPLETION_MS = 100.0
"""Who presses the tabulator notices what takes longer."""


def rows() -> list[Row]:
    """Light commands against `python -c pass`, interleaved; model names against 100 ms."""
    bare, version, listing, manual, names = [], [], [], [], []
    with olm_daemon(demo_home()) as daemon:
        for _ in range(ROUNDS):
            bare.append(elapsed_s([sys.executable, "-c", "pass"]) * 1e3)
            version.append(elapsed_s([OLM, "--version"]) * 1e3)
            listing.append(elapsed_s([OLM, "ls"], daemon.environ) * 1e3)
            manual.append(elapsed_s([OLM, "--help"]) * 1e3)
            names.append(elapsed_s([OLM, "__complete", "models", ""], daemon.environ) * 1e3)
    python_ms = median(bare)
    common = {"anchor": python_ms, "unit": "ms", "anchor_name": "python -c pass", "at_most": True}
    completion = {**common, "anchor": COMPLETION_MS, "anchor_name": "100 ms"}
    return [
        Row(name="olm --version", ours=median(version), target=2.5, **common),
        Row(name="olm ls, daemon running", ours=median(listing), target=8, **common),
        Row(name="olm --help", ours=median(manual), target=7, **common),
        Row(name="model names for the shell", ours=median(names), target=1, **completion),
    ]
