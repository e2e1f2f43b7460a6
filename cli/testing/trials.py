"""The questions of a suite put to its models."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from olmkit.cli.building.findmodel import find_model
from olmkit.cli.chat.asking import Asking
from olmkit.cli.errors import CliError, UsageError
from olmkit.cli.oneshot.deadline import deadline
from olmkit.cli.oneshot.oneanswer import OneAnswer
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.testing.expectations import duration_ns, failures
from olmkit.cli.testing.results import Outcome, Result
from olmkit.cli.testing.suitefile import Case
from olmkit.cli.testing.variants import Variant, ready
from olmkit.engine.client import Client
from olmkit.engine.client.storereplies import inspect
from olmkit.engine.errors import EngineError
from olmkit.engine.settings import Settings
from olmkit.modelfile.errors import ModelfileError
from olmkit.registry.errors import RegistryError

MISSES = (CliError, EngineError, ModelfileError, RegistryError)
"""What keeps an answer away."""


def chosen(cases: Sequence[Case], patterns: Sequence[str]) -> tuple[Case, ...]:
    """The cases whose name has one of the texts in it, or fits one with `*` or `?`; with those
    that a time budget compares them to. No pattern: all.

    Raises:
        UsageError: none fits.
    """
    if not patterns:
        return tuple(cases)
    names = {
        case.name
        for case in cases
        if any(
            fnmatchcase(case.name, one) if set("*?[") & set(one) else one in case.name
            for one in patterns
        )
    }
    if not names:
        raise UsageError(
            f"no case fits {' or '.join(patterns)}", hint="`olm test --list` shows their names"
        )
    for case in reversed(cases):
        if case.name in names and case.expect.time is not None:
            names.add(case.expect.time.case)
    return tuple(case for case in cases if case.name in names)


class Trials:
    """One run of a suite against one daemon."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        terminal: Terminal,
        *,
        pulls: bool = True,
        retries: int | None = None,
    ) -> None:
        """`retries` takes the place of what the suite says."""
        self._client = client
        self._settings = settings
        self._terminal = terminal
        self._pulls = pulls
        self._retries = retries
        self._embedders: set[str] = set()

    def run(self, variants: Sequence[Variant], cases: Sequence[Case]) -> Iterator[Result]:
        """Each question put to each model, one model after the other.

        What keeps a model or an answer away becomes a result, and the next one goes on.
        """
        for variant in variants:
            results: list[Result] = []
            try:
                with ready(self._client, variant, self._terminal, pulls=self._pulls) as name:
                    durations_ns: dict[str, int] = {}
                    digest = name if name.startswith("sha256:") else self._digest(name)
                    for case in cases:
                        result = self._trial(variant, name, digest, case, durations_ns)
                        if result.answer is not None:
                            durations_ns[case.name] = duration_ns(result.answer)
                        results.append(result)
                        yield result
            except MISSES as error:
                for case in cases[len(results) :]:
                    yield Result(model=variant.label, case=case, outcome=Outcome.ERROR, error=error)

    def _digest(self, name: str) -> str:
        return str(inspect(self._client, name)["id"])

    def _trial(
        self, variant: Variant, name: str, digest: str, case: Case, durations_ns: dict[str, int]
    ) -> Result:
        retries = case.retries if self._retries is None else self._retries
        attempt = 0
        while True:
            attempt += 1
            answer = OneAnswer(model=variant.label, digest=digest)
            try:
                with deadline(case.timeout_s):
                    for chunk in self._client.chat(self._body(name, case)):
                        answer.add(chunk)
                found = failures(case.expect, answer, durations_ns, self._embed)
            except MISSES as error:
                return Result(
                    model=variant.label,
                    case=case,
                    outcome=Outcome.ERROR,
                    error=error,
                    attempts=attempt,
                )
            if not found or attempt > retries:
                return Result(
                    model=variant.label,
                    case=case,
                    outcome=Outcome.FAILED if found else Outcome.PASSED,
                    failures=tuple(found),
                    answer=answer,
                    attempts=attempt,
                )

    def _body(self, name: str, case: Case) -> dict[str, object]:
        asking = Asking(options=dict(case.options), format=case.format, think=case.think)
        asking.take_project(self._settings)
        body = asking.body(name) | {"messages": list(case.messages)}
        if case.tools is not None:
            body["tools"] = case.tools
        return body

    def _embed(self, model: str, text: str) -> list[float]:
        if model not in self._embedders:
            find_model(self._client, model, self._terminal, pulls=self._pulls)
            self._embedders.add(model)
        return self._client.embed({"model": model, "input": text})
