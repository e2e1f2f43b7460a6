"""How long light commands take, as multiples of an empty Python."""

import subprocess
import sys
import time

from anchors import OLM, demo_home, olm_daemon
from report import Row, median

ROUNDS = 25


def _elapsed_ms(command: list[str], environ: dict[str, str] | None = None) -> float:
    started_ns = time.perf_counter_ns()
    subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter_ns() - started_ns) / 1e6


def rows() -> list[Row]:
    """`olm --version` and `olm ls` against `python -c pass`, interleaved."""
    bare, version, ls = [], [], []
    with olm_daemon(demo_home()) as daemon:
        for _ in range(ROUNDS):
            bare.append(_elapsed_ms([sys.executable, "-c", "pass"]))
            version.append(_elapsed_ms([OLM, "--version"]))
            ls.append(_elapsed_ms([OLM, "ls"], daemon.environ))
    python_ms = median(bare)
    common = {"anchor": python_ms, "unit": "ms", "anchor_name": "python -c pass", "at_most": True}
    return [
        Row(name="olm --version", ours=median(version), target=2.5, **common),
        Row(name="olm ls, daemon running", ours=median(ls), target=9, **common),
    ]
