"""One run of `olm bench`: rounds of all workloads in turn, until there are enough or time is over.

In turn, so that whatever else the machine does meanwhile touches all figures alike.
"""

import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from olmkit.cli.errors import TimedOut
from olmkit.cli.measuring.answertimes import AnswerTime, decode_rate, prompt_rate, together
from olmkit.cli.measuring.figures import Figure
from olmkit.cli.measuring.workloads import (
    SHARING,
    STREAMS,
    TEXTS,
    Ask,
    Sizes,
    texts,
)
from olmkit.engine.client import Client
from olmkit.engine.client.http1 import NoAnswer

WISHED_ROUNDS: Final = 3
"""Sizes are halved until so many rounds should fit into the time."""
LOAD_S: Final = 3600.0
"""A load may take so long; the daemon has bounds of its own."""
_WARM: Final = Sizes(prompt_tokens=128, answer_tokens=16, prefix_tokens=128)


@dataclass(slots=True, kw_only=True)
class BenchRun:
    """What was measured, and with what."""

    sizes: Sizes = field(default_factory=Sizes)
    device: str = ""
    context_tokens: int = 0
    load_ns: int = 0
    """How long the first request waited for the model."""
    rounds: int = 0
    """Those that were finished."""
    figures: dict[str, Figure] = field(default_factory=dict)

    def add(self, name: str, title: str, streams: int, unit: str, sample: float) -> None:
        """One more sample of a figure; what could not be measured is 0 and left out."""
        if sample <= 0:
            return
        key = f"{name}_{streams}"
        before = self.figures[key].samples if key in self.figures else ()
        self.figures[key] = Figure(
            name=name, title=title, streams=streams, unit=unit, samples=(*before, sample)
        )


class _TimeOver(Exception):
    """The time of the run is over in the midst of a round."""


@dataclass(slots=True, kw_only=True)
class Bench:
    """Measures one model."""

    client: Client
    ask: Ask
    rounds: int
    until_s: float
    """When the time is over, by `time.perf_counter`."""
    on_step: Callable[[str], None] = lambda _: None
    """Told what is being measured."""
    salt: str = field(default_factory=lambda: secrets.token_hex(4))
    run: BenchRun = field(default_factory=BenchRun)

    def answers(self, sizes: Sizes | None) -> BenchRun:
        """The figures of a model that generates; `sizes`: those of a run to compare with.

        Raises:
            TimedOut: the time was over before anything was measured.
        """
        with self._loading():
            (first,) = self._together([self.ask.body("a", 1)])
        self.run.load_ns, self.run.device = first.timings.load_ns, first.device
        self.run.context_tokens = first.context_tokens
        with self._told():
            self._choose(sizes)
        return self._all_rounds(self._answer_round)

    def vectors(self) -> BenchRun:
        """The figures of a model that makes embeddings.

        Raises:
            TimedOut: as `answers`.
        """
        with self._loading():
            _, reply = self._embed(["a"])
        self.run.load_ns = int(reply.get("load_duration") or 0)
        return self._all_rounds(self._vector_round)

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """The block, in which the model is loaded, does not count for the time."""
        self.on_step("loading the model")
        left_s = self.until_s - time.perf_counter()
        self.until_s += LOAD_S
        with self._told():
            yield
        self.until_s = time.perf_counter() + left_s

    @contextmanager
    def _told(self) -> Iterator[None]:
        """In the block, the end of the time is the end of the command."""
        try:
            yield
        except _TimeOver as error:
            raise TimedOut(
                "nothing could be measured in the time", hint="give a longer --time"
            ) from error

    def _choose(self, sizes: Sizes | None) -> None:
        """Sizes of which some rounds fit into the time, by the pace of a small request."""
        self.on_step("warming up")
        self._together(self.ask.prompts(f"{self.salt} cold", 1, _WARM))
        reading = prompt_rate(self._together(self.ask.prompts(f"{self.salt} warm", 1, _WARM)))
        writing = decode_rate(self._together(self.ask.decoding(f"{self.salt} warm", 1, _WARM)))
        if sizes is not None:
            self.run.sizes = sizes
            return
        chosen = Sizes().within(self.run.context_tokens or 4096)
        time_s = self.until_s - time.perf_counter()
        wished = min(self.rounds, WISHED_ROUNDS)
        rates = {"prompt_rate": max(reading, 0.1), "answer_rate": max(writing, 0.1)}
        while chosen.round_s(**rates) * wished > time_s and chosen.halved() != chosen:
            chosen = chosen.halved()
        self.run.sizes = chosen

    def _all_rounds(self, round_: Callable[[str], None]) -> BenchRun:
        with self._told():
            for number in range(self.rounds):
                self.on_step(f"round {number + 1} of {self.rounds}")
                try:
                    round_(f"{self.salt} {number}")
                except _TimeOver:
                    if not self.run.figures:
                        raise
                    break
                self.run.rounds += 1
        return self.run

    def _answer_round(self, salt: str) -> None:
        for streams in STREAMS:
            answers = self._together(
                self.ask.decoding(f"{salt} d{streams}", streams, self.run.sizes)
            )
            rate = decode_rate(answers)
            self.run.add("decode", "decode", streams, "tokens/s", rate)
            self.run.add("first_token", "first token", streams, "ms", _wait_ms(answers))
        for streams in STREAMS:
            answers = self._together(
                self.ask.prompts(f"{salt} p{streams}", streams, self.run.sizes)
            )
            self.run.add("prompt", "prompt", streams, "tokens/s", prompt_rate(answers))
            self.run.add(
                "prompt_first_token", "prompt, first token", streams, "ms", _wait_ms(answers)
            )
        answers = self._together(self.ask.sharing(f"{salt} s", self.run.sizes))
        title = "shared prefix, first token"
        self.run.add("shared_prefix_first_token", title, SHARING, "ms", _wait_ms(answers))

    def _vector_round(self, salt: str) -> None:
        took_s, _ = self._embed([f"{salt} one short text"])
        self.run.add("embed_one", "one text", 1, "ms", took_s * 1e3)
        took_s, reply = self._embed(list(texts(salt)))
        self.run.add("embed", f"{TEXTS} texts in one request", 1, "texts/s", TEXTS / took_s)
        tokens = int(reply.get("prompt_eval_count") or 0)
        self.run.add("embed_tokens", "their tokens", 1, "tokens/s", tokens / took_s)

    def _together(self, bodies: list[dict[str, Any]]) -> list[AnswerTime]:
        answers = together(self.client, bodies, until_s=self.until_s)
        if answers is None:
            raise _TimeOver
        return answers

    def _embed(self, inputs: list[str]) -> tuple[float, Mapping[str, Any]]:
        """How long one request took, in seconds, and its reply."""
        body = {"model": self.ask.model, "input": inputs, "options": self.ask.options}
        began_s = time.perf_counter()
        try:
            wait_s = max(0.1, self.until_s - began_s)
            reply = self.client.request("POST", "/api/embed", body, timeout_s=wait_s)
        except NoAnswer as error:
            raise _TimeOver from error
        return time.perf_counter() - began_s, reply


def _wait_ms(answers: list[AnswerTime]) -> float:
    return statistics.median(answer.wait_ms for answer in answers)
