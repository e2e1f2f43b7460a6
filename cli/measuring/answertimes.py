"""When the tokens of answers came, several answers at the same time.

Lines are only counted while they come, and read after the last one: a client that parses each of
them would take the processor from the model that it measures.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from olmkit.engine.client import Client, replies
from olmkit.engine.client.http1 import NoAnswer
from olmkit.engine.errors import DaemonError

_LEAST_WAIT_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTime:
    """One answer that came whole; times are those of `time.perf_counter`."""

    asked_s: float
    first_s: float
    last_s: float
    timings: replies.Timings
    cached_tokens: int
    device: str
    """Where the weights are, as the daemon says; empty from one that does not."""
    context_tokens: int
    """What a request may use, as the daemon says; 0 from one that does not."""

    @property
    def wait_ms(self) -> float:
        """From the request to its first token."""
        return (self.first_s - self.asked_s) * 1e3

    @property
    def read_tokens(self) -> int:
        """Tokens of the prompt that had to be computed."""
        return self.timings.prompt_tokens - self.cached_tokens


@dataclass(slots=True)
class _Outcome:
    times: dict[int, AnswerTime] = field(default_factory=dict)
    error: Exception | None = None


def together(
    client: Client, bodies: Sequence[Mapping[str, Any]], *, until_s: float
) -> list[AnswerTime] | None:
    """The times of all answers, asked for at the same moment; None where time was over before.

    `until_s`: when it is over, by `time.perf_counter`.

    Raises:
        DaemonError: an answer failed.
    """
    outcome = _Outcome()
    start = threading.Barrier(len(bodies))

    def ask(number: int, body: Mapping[str, Any]) -> None:
        try:
            start.wait()
            answer = _ask(client, body, until_s)
            if answer is not None:
                outcome.times[number] = answer
        except Exception as error:
            outcome.error = error

    threads = [
        # As daemons they do not keep an interrupted command from ending.
        threading.Thread(target=ask, args=(number, body), daemon=True)
        for number, body in enumerate(bodies)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if outcome.error is not None:
        raise outcome.error
    complete = len(outcome.times) == len(bodies)
    return [outcome.times[number] for number in range(len(bodies))] if complete else None


def _ask(client: Client, body: Mapping[str, Any], until_s: float) -> AnswerTime | None:
    """The times of one answer; None where the time was over first."""
    asked_s = time.perf_counter()
    first_s = last_s = 0.0
    last = b""
    try:
        wait_s = max(_LEAST_WAIT_S, until_s - asked_s)
        with client.open("/api/generate", body, timeout_s=wait_s) as reply:
            for line in reply.lines():
                last_s = time.perf_counter()
                first_s = first_s or last_s
                last = line
                if last_s > until_s:
                    return None
            headers = reply.headers
    except NoAnswer:
        return None
    end = replies.parse_object(last)
    if error := replies.api_error(end, 500):
        raise error
    if end.get("done") is not True:
        raise DaemonError("the daemon ended the answer before it was complete")
    return AnswerTime(
        asked_s=asked_s,
        first_s=first_s,
        last_s=last_s,
        timings=replies.timings(end),
        cached_tokens=int(end.get("prompt_eval_cached_count") or 0),
        device=headers.get("x-olm-device", ""),
        context_tokens=_number(headers.get("x-olm-context-length", "")),
    )


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def decode_rate(answers: Sequence[AnswerTime]) -> float:
    """Tokens a second of all answers together, from the first token to the last; 0: too few."""
    tokens = sum(max(0, answer.timings.completion_tokens - 1) for answer in answers)
    span_s = max(one.last_s for one in answers) - min(one.first_s for one in answers)
    return tokens / span_s if tokens and span_s > 0 else 0.0


def prompt_rate(answers: Sequence[AnswerTime]) -> float:
    """Tokens of prompts a second, from the requests to the last prompt that was read."""
    span_s = max(one.first_s for one in answers) - min(one.asked_s for one in answers)
    return sum(one.read_tokens for one in answers) / span_s if span_s > 0 else 0.0
