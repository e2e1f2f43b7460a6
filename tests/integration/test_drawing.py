"""Threads draw the tokens that one thread would have drawn."""

import json
import subprocess
import sys
from pathlib import Path

from support.models import smollm2

PROGRAM = Path(__file__).resolve().parents[1] / "support" / "drawing_program.py"


def test_threads_draw_what_one_would() -> None:
    command = [sys.executable, str(PROGRAM), str(smollm2())]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    drawn = json.loads(done.stdout)
    assert len(drawn["alone"]) == 8
    assert len(set(drawn["alone"].values())) > 1
    assert drawn["together"] == drawn["alone"]
    assert drawn["few"] == {}
