"""Requests whose sequences have streams of their own, as on graphics cards."""

import json
import subprocess
import sys
from pathlib import Path

from olmkit.engine.runner.promptcache.streamslots import MOST_FILLED
from support.randommodel import write_llama

PROGRAM = Path(__file__).resolve().parents[1] / "support" / "streams_program.py"


def test_requests_that_share_and_move_streams_say_what_they_say_alone(tmp_path: Path) -> None:
    model = write_llama(tmp_path / "tiny.gguf")
    command = [sys.executable, str(PROGRAM), str(model)]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    found = json.loads(done.stdout)
    together, alone = found["together"], found["alone"]
    assert together["failures"] == []
    assert together["tokens"].keys() == alone.keys()
    for number, tokens in together["tokens"].items():
        # Some were cancelled after their first tokens.
        assert tokens == alone[number][: len(tokens)]
        assert len(tokens) == len(alone[number]) or int(number) % 7 == 3
    assert together["cached"] > 2_000  # beginnings were found in other streams
    after_pauses = [together["slots"][number] for number in ("30", "60")]
    assert max(after_pauses) <= MOST_FILLED, "what lies idle is no reason to take a slot behind it"
