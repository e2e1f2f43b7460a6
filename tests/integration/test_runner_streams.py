"""Requests whose sequences have streams of their own, as many of them and those on cards have."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.randommodel import write_llama
from support.runner import Completion, loaded_runner

PROGRAM = Path(__file__).resolve().parents[1] / "support" / "streams_program.py"


@pytest.mark.parametrize(("kind", "filled_gap"), [("card", 8), ("processor", 2)])
def test_requests_that_share_and_move_streams_say_what_they_say_alone(
    tmp_path: Path, kind: str, filled_gap: int
) -> None:
    model = write_llama(tmp_path / "tiny.gguf")
    command = [sys.executable, str(PROGRAM), str(model), kind]
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
    assert max(after_pauses) <= filled_gap, "what is idle is no reason to go behind it"


@pytest.mark.parametrize("requests", [8, 16])
def test_requests_with_contexts_of_their_own_get_what_they_get_alone(
    tmp_path: Path, requests: int
) -> None:
    model = write_llama(tmp_path / "tiny.gguf")
    exact = {"kv_cache_type": "f32", "flash_attention": False, "batch_tokens": 64}
    own = {"sequences": requests, "contexts": requests, "context_tokens": 128}
    prompts = [[*range(40, 100), 100 + number, 30] for number in range(requests)]
    with loaded_runner(model, **own, **exact) as client:
        ids = [client.start(prompt, max_tokens=20, ignore_eos=True) for prompt in prompts]
        replies = client.replies(*ids)
        together = [Completion(replies[one]) for one in ids]
    assert sum(one.end.cached_tokens >= 60 for one in together) == requests - 1
    with loaded_runner(model, sequences=1, context_tokens=128, **exact) as client:
        alone = [client.complete(prompt, max_tokens=20, ignore_eos=True) for prompt in prompts]
    assert [one.tokens for one in together] == [one.tokens for one in alone]
