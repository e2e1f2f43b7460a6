"""Rates of runners, and the daemon's log while its files are moved."""

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from olmkit.cli.records.recordlist import View
from olmkit.cli.watching.logfiles import LogReader, is_about, is_from, last, parse_line
from olmkit.cli.watching.runnerrates import RUNNERS, chosen, with_rates
from olmkit.engine.client.loadedmodels import Wanted

BEFORE = {"name": "m:latest", "pid": 7, "cpu_seconds": 10.0, "completion_tokens": 100}
NOW = {**BEFORE, "cpu_seconds": 11.0, "completion_tokens": 150, "prompt_tokens": 4}


def test_rates_are_what_totals_grew_by_a_second() -> None:
    (model,) = with_rates((1.0, [BEFORE]), (3.0, [NOW]))
    assert model["cpu_percent"] == 50
    assert model["tokens_per_second"] == 25
    assert model["prompt_tokens_per_second"] is None  # there was no total before


def test_another_process_of_the_same_model_begins_anew() -> None:
    (model,) = with_rates((1.0, [BEFORE]), (3.0, [{**NOW, "pid": 8}]))
    assert model["tokens_per_second"] is None
    cells = RUNNERS.fields(model, View(datetime.now(UTC)))
    assert (cells["CPU"], cells["Tokens"], cells["PromptTokens"]) == ("-", "-", "-")


def test_models_are_chosen_by_what_answers_them_and_else_by_name() -> None:
    models = [{"name": "m:latest"}, {"name": "other:7b"}]
    assert chosen(models, [Wanted("M", ())]) == models[:1]
    assert chosen(models, [Wanted("other:7b", ("sha256:1",))]) == models[1:]
    assert chosen(models, []) == models
    told: list[dict[str, Any]] = [{"name": "m:latest", "serves": ["sha256:1", "sha256:2"]}]
    assert chosen(told, [Wanted("another", ("sha256:1", "sha256:2"))]) == told
    assert chosen(told, [Wanted("m", ("sha256:1",))]) == [], "its name means other weights now"


def test_a_line_of_the_log_has_facts() -> None:
    line = 'time=2026-11-28T18:00:00.000+00:00 level=INFO msg="a \\"b\\" c" model=m:latest n=1'
    facts = parse_line(line)
    assert (facts["msg"], facts["model"], facts["n"]) == ('a "b" c', "m:latest", "1")
    assert is_about(facts, "m")
    assert not is_about(facts, "n")
    assert is_from(facts, datetime(2026, 11, 28, 18, tzinfo=UTC))
    assert not is_from(facts, datetime(2026, 11, 28, 19, tzinfo=UTC))
    assert parse_line("Traceback (most recent call last):") == {}


def test_kept_lines_come_in_the_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    for name, text in (("daemon.log.2", "1\n2\n"), ("daemon.log.1", "3\n"), ("daemon.log", "4\n")):
        (tmp_path / name).write_text(text)
    reader = LogReader(path)
    assert list(last(reader.kept(), 3)) == ["2", "3", "4"]
    reader.close()


def test_a_reader_goes_on_when_the_file_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "daemon.log"
    path.write_text("1\n")
    reader = LogReader(path)
    assert list(reader.kept()) == ["1"]
    with open(path, "a") as old:
        old.write("2\n3")
        old.flush()
        added = reader.follow()
        assert next(added) == "2"
        path.replace(tmp_path / "daemon.log.1")
        path.write_text("5\n6\n")
        old.write("\n4\n")  # by who still had the old file open
    assert list(islice(added, 4)) == ["3", "4", "5", "6"]
    reader.close()
