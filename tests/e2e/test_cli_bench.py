"""`olm bench` on real models, with requests of a few tokens."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, running_daemon
from support.models import minilm_gguf, tiny_chat
from support.olm import olm, out

SMALL = {"prompt_tokens": 16, "answer_tokens": 4, "prefix_tokens": 32}
LONG = ("--time", "10m")
"""A bound that a loaded machine does not reach."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("bench") / "home") as running:
        for name, weights in (("m", tiny_chat()), ("e", minilm_gguf())):
            out(olm(running.environ, "create", name, "-f", "-", stdin=f"FROM {weights}\n"))
        yield running


def saved(path: Path, **changes: object) -> Path:
    """A run of small requests, as if it had been measured before."""
    figure = {"name": "decode", "streams": 4, "unit": "tokens/s", "samples": [1e-6]}
    value = {"olm_bench": 1, "sizes": SMALL, "figures": [figure], "model": "m", **changes}
    path.write_text(json.dumps(value))
    return path


def test_a_run_is_printed_saved_and_compared(daemon: Daemon, tmp_path: Path) -> None:
    before, after = saved(tmp_path / "before.json"), tmp_path / "after.json"
    words = ("bench", "m", "--rounds", "2", *LONG, "--compare", str(before), "--save", str(after))
    done = olm(daemon.environ, *words)
    lines = out(done).splitlines()
    assert lines[0].split() == ["MEASURE", "STREAMS", "MEDIAN", "SPREAD", "BEFORE", "SPEEDUP"]
    assert [line for line in lines if "faster" in line] == [lines[2]]
    assert "note: digest was null" in done.stderr.decode()
    run = json.loads(after.read_text())
    assert (run["model"], run["sizes"], run["rounds"]) == ("m", SMALL, 2)
    assert run["digest"].startswith("sha256:")
    measured = {(one["name"], one["streams"]): one["samples"] for one in run["figures"]}
    streams = [(name, n) for name in ("decode", "first_token", "prompt") for n in (1, 4, 8)]
    assert {*streams, ("shared_prefix_first_token", 8)} <= measured.keys()
    assert all(len(samples) == 2 and min(samples) > 0 for samples in measured.values())


def test_a_run_as_json_says_how_it_compares(daemon: Daemon, tmp_path: Path) -> None:
    before = saved(tmp_path / "before.json")
    words = ("bench", "m", "--rounds", "1", *LONG, "--compare", str(before), "--json")
    (compared,) = json.loads(out(olm(daemon.environ, *words)))["compared"]
    assert (compared["name"], compared["streams"]) == ("decode", 4)
    assert compared["speedup"] > 1
    assert compared["is_within_noise"] is False


def test_an_embedding_model_is_measured_by_its_texts(daemon: Daemon) -> None:
    run = json.loads(out(olm(daemon.environ, "bench", "e", "--rounds", "1", *LONG, "--json")))
    assert run["sizes"] is None
    assert [one["name"] for one in run["figures"]] == ["embed_one", "embed", "embed_tokens"]


def test_time_that_is_too_short_for_anything_is_an_error_of_its_own(daemon: Daemon) -> None:
    done = olm(daemon.environ, "bench", "m", "--time", "0.001")
    assert (done.returncode, done.stdout) == (10, b"")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "is no run of `olm bench --save`"),
        ('{"olm_bench": 2}', "another version"),
        ('{"olm_bench": 1}', "lacks a part of its run"),
        ('{"olm_bench": 1, "sizes": {"prompt_tokens": 1e12}, "figures": []}', "lacks a part"),
    ],
)
def test_a_file_that_holds_no_run_is_refused(
    daemon: Daemon, tmp_path: Path, content: str, said: str
) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    done = olm(daemon.environ, "bench", "m", "--compare", str(path))
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()


def test_runs_of_models_that_do_different_things_are_not_compared(
    daemon: Daemon, tmp_path: Path
) -> None:
    done = olm(daemon.environ, "bench", "e", "--compare", str(saved(tmp_path / "run.json")))
    assert done.returncode == 2
    assert "another kind of model" in done.stderr.decode()
