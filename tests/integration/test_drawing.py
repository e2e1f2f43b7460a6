"""Every way of drawing draws the tokens that one chain after the other would have drawn."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.models import gemma3, smollm2

PROGRAM = Path(__file__).resolve().parents[1] / "support" / "drawing_program.py"


@pytest.fixture(scope="module", params=[smollm2, gemma3])
def report(request: pytest.FixtureRequest) -> Any:
    command = [sys.executable, str(PROGRAM), str(request.param())]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    return json.loads(done.stdout)


@pytest.mark.parametrize("way", ["shortlist", "threads", "both", "too few"])
def test_every_way_draws_the_same(report: Any, way: str) -> None:
    drawn = report["drawn"]
    tokens, logprobs = drawn["alone 23"]
    assert len({tuple(said) for said in tokens}) > 1
    assert len(tokens) == len(logprobs) == 23
    assert drawn[f"{way} 23"] == [tokens, logprobs]
    assert drawn[f"{way} 2"] == drawn["alone 2"] == [tokens[:2], logprobs[:2]]


def test_every_search_finds_the_likeliest_token(report: Any) -> None:
    found = report["likeliest"]
    for start in range(0, len(found), 5):
        assert all(tokens == found[start] for tokens in found[start : start + 5])
    assert len({tuple(tokens) for tokens in found}) == 3


def test_what_is_possible_is_timed(report: Any) -> None:
    alone, beside = report["times"]["1"], report["times"]["2"]
    assert alone.pop() is None
    assert report["threads_from"] is None
    assert all(ns > 0 for ns in (*alone, *beside))
