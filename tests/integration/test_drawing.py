"""Threads and shortlists draw the tokens that one thread would have drawn from all."""

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
    alone = list(drawn["alone"].values())
    whole_vocabulary = (4, 5, 7)  # without top-k, mirostat, a bias that lifts
    assert drawn["listed"] == [
        None if number in whole_vocabulary else token for number, token in enumerate(alone)
    ]
    assert drawn["few"] == {number: drawn["alone"][number] for number in ("0", "1")}
