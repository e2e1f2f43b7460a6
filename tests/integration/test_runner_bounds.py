"""What one request may cost a runner and the other requests in it, with real weights."""

import json
import os
from collections.abc import Iterator

import psutil
import pytest

from olmkit.engine.runner import protocol as p
from support.attacktable import Record
from support.daemon import wait_until
from support.models import smollm2
from support.runner import RunnerClient, RunnerFailure, loaded_runner

MIB = 1 << 20
AUTOMATON = {
    "type": "object",
    "properties": {"a": {"allOf": [{"pattern": f".*a.{{{n}}}"} for n in range(1, 31)]}},
    "required": ["a"],
}
PLAIN = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def held_to(schema: object) -> p.Constraint:
    return p.Constraint(kind=p.ConstraintKind.SCHEMA, text=json.dumps(schema))


@pytest.fixture(scope="module")
def runner() -> Iterator[RunnerClient]:
    with loaded_runner(smollm2(), context_tokens=2048) as client:
        client.complete("Hello", max_tokens=4, constraint=held_to(PLAIN))  # the tokenizer is made
        yield client


def test_a_schema_that_is_an_automaton_of_gigabytes_costs_its_sender_only(
    runner: RunnerClient, record_property: Record
) -> None:
    before_bytes = psutil.Process(runner.process.pid).memory_info().rss
    with pytest.raises(RunnerFailure, match=r"too much (memory|time)"):
        runner.complete("Hello", max_tokens=4, constraint=held_to(AUTOMATON))
    grown_bytes = psutil.Process(runner.process.pid).memory_info().rss - before_bytes
    record_property("bound", "runner's memory < 100 MB more, 4 s of processor time")
    record_property("measured", f"{grown_bytes / MIB:.0f} MB")
    assert grown_bytes < 100 * MIB
    assert runner.complete("Hello", max_tokens=2).text


def test_what_was_refused_once_is_refused_at_once(runner: RunnerClient) -> None:
    process = psutil.Process(runner.process.pid)
    wanted = held_to(AUTOMATON)
    with pytest.raises(RunnerFailure, match="too much"):
        runner.complete("Hello", max_tokens=4, constraint=wanted)
    used_s = process.cpu_times().children_user
    with pytest.raises(RunnerFailure, match="too much"):
        runner.complete("Hello", max_tokens=4, constraint=wanted)
    assert process.cpu_times().children_user == used_s  # no other fork


def test_a_grammar_that_nobody_waits_for_is_given_up(runner: RunnerClient) -> None:
    process = psutil.Process(runner.process.pid)
    request = p.Completion(
        id=runner.new_id(), prompt="Hello", constraint=held_to(AUTOMATON | {"title": "cancelled"})
    )
    runner.send(request)
    wait_until(process.children, what="the fork")
    runner.send(p.Cancel(id=request.id))
    (*_, last) = runner.replies(request.id)[request.id]
    assert isinstance(last, p.Completed)
    assert last.reason is p.EndReason.CANCELLED
    wait_until(lambda: not process.children(), what="the end of the fork")


def test_answers_go_on_while_a_long_prompt_is_tokenized(runner: RunnerClient) -> None:
    long = runner.send(p.Tokenize(id=runner.new_id(), text="the quick brown fox. " * 100_000))
    short = runner.start("Hello", max_tokens=3)
    replies = []
    while (reply := runner.next_reply()).id == short:
        replies.append(reply)
    assert isinstance(replies[-1], p.Completed)  # it ended before the long text did
    assert isinstance(reply, p.Tokens)
    assert reply.id == long
    assert len(reply.tokens) > 500_000


def test_a_long_prompt_that_does_not_fit_is_told_with_its_numbers(runner: RunnerClient) -> None:
    with pytest.raises(RunnerFailure) as caught:
        runner.complete("word " * 100_000)
    assert caught.value.failed.kind is p.FailureKind.CONTEXT_EXCEEDED
    assert caught.value.failed.given_tokens == 100_001


def test_a_long_prompt_is_cancelled_before_it_is_tokenized(runner: RunnerClient) -> None:
    first = runner.send(p.Tokenize(id=runner.new_id(), text="a b c " * 200_000))
    second = runner.send(p.Completion(id=runner.new_id(), prompt="word " * 100_000))
    runner.send(p.Cancel(id=second))
    found = runner.replies(first, second)
    (failed,) = found[second]
    assert isinstance(failed, p.Failed)
    assert failed.kind is p.FailureKind.CANCELLED
    assert isinstance(found[first][0], p.Tokens)


def test_ten_thousand_threads_are_not_started(record_property: Record) -> None:
    with loaded_runner(smollm2(), context_tokens=256, threads=512) as client:
        client.complete("Hello", max_tokens=2)
        threads, most = psutil.Process(client.process.pid).num_threads(), os.cpu_count() or 1
        record_property("bound", f"threads < {4 * most + 16}")
        record_property("measured", f"{threads}")
        assert threads < 4 * most + 16
        assert "over twice the processors" in client.log
