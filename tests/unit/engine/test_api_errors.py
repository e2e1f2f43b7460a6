import asyncio
from collections.abc import Iterator

import msgspec
import pytest

from olmkit.engine import errors as engine
from olmkit.engine.api.statuses import ERROR_TABLE, classify
from olmkit.registry import errors as registry


def tree(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ in (engine.__name__, registry.__name__):
            yield from tree(child)


@pytest.mark.parametrize("kind", [*tree(engine.EngineError), *tree(registry.RegistryError)])
def test_every_error_has_a_status_and_a_code(kind: type[Exception]) -> None:
    status, code = ERROR_TABLE[kind]
    assert 400 <= status < 600
    assert code and code == code.lower()


def test_context_overflow_says_both_numbers() -> None:
    failure = classify(engine.ContextExceeded("too long", given_tokens=900, limit_tokens=512))
    assert failure.status == 400
    assert "the prompt is longer than the context length currently available" in failure.text
    assert "(900 tokens, 512 fit)" in failure.text


def test_a_full_queue_says_when_to_come_again() -> None:
    failure = classify(engine.QueueFull("full", retry_after_s=3))
    assert (failure.status, failure.headers) == (503, {"Retry-After": "3"})
    assert failure.text == "server busy, please try again.  maximum pending requests exceeded"


def test_a_dead_runner_reads_differently_before_and_in_a_stream() -> None:
    error = engine.RunnerDied("it was killed by SIGKILL", model="m", exit_status=-9)
    before, within = classify(error), classify(error, is_streaming=True)
    assert before.text.startswith("model runner has unexpectedly stopped")
    assert within.text == (
        "an error was encountered while running the model: it was killed by SIGKILL"
    )
    assert before.code == within.code == "runner_died"


def test_an_unknown_exception_keeps_its_text_inside() -> None:
    failure = classify(ValueError("the secret prompt"))
    assert (failure.status, failure.text) == (500, "internal error")


def test_a_subclass_without_an_entry_is_classified_as_its_parent() -> None:
    class Peculiar(engine.InvalidRequest):
        pass

    assert classify(Peculiar("no")).status == 400


def test_the_body_carries_code_status_and_hint_beside_the_error() -> None:
    failure = classify(engine.InvalidRequest("no", hint="say please"))
    assert msgspec.json.decode(failure.body) == {
        "error": "no",
        "code": "invalid_request",
        "http_status": 400,
        "hint": "say please",
    }


def test_a_cancelled_task_is_no_error_of_ours() -> None:
    assert not issubclass(asyncio.CancelledError, Exception)
