"""Requests whose grammar is still being made, beside the decode loop.

They are not in the queue before it is ready: those behind need not wait for it.
"""

from typing import Final

from olmkit.engine.runner import log
from olmkit.engine.runner.bindings import Model
from olmkit.engine.runner.constraints.constraint import GuideMaker, Preparation
from olmkit.engine.runner.decoding.sequences import Sequence
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.protocol import Constraint, FailureKind, Reply

_WAIT_S: Final = 0.01
"""How long a step without other work waits for a grammar, before it looks for new requests."""


class Preparations:
    """The requests, in the order in which they came."""

    def __init__(self, model: Model) -> None:
        self._guides = GuideMaker(model)
        self._pending: list[tuple[Sequence, Preparation]] = []

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def sequences(self) -> list[Sequence]:
        """The requests that wait here."""
        return [sequence for sequence, _ in self._pending]

    def add(self, sequence: Sequence, constraint: Constraint) -> None:
        """Begins with the grammar of a request."""
        self._pending.append((sequence, self._guides.prepare(constraint)))

    def remove(self, sequence: Sequence) -> None:
        """Gives a request up; nothing where it does not wait here."""
        for _, preparation in (one for one in self._pending if one[0] is sequence):
            preparation.cancel()
        self._pending = [one for one in self._pending if one[0] is not sequence]

    def take(self, *, may_wait: bool) -> tuple[list[Sequence], list[Reply]]:
        """The requests that are ready, with their guides, and the failures of others.

        `may_wait`: there is nothing else to do for a moment.
        """
        if self._pending and may_wait:
            self._pending[0][1].wait(_WAIT_S)
        ready: list[Sequence] = []
        failures: list[Reply] = []
        for sequence, preparation in [one for one in self._pending if one[1].is_done]:
            self._pending.remove((sequence, preparation))
            try:
                sequence.guide = preparation.guide()
            except RequestFailed as error:
                failures.append(error.reply(sequence.id))
            except Exception as error:
                log.write_exception("constraint", error)
                message = f"the constraint failed: {type(error).__name__}"
                failure = RequestFailed(FailureKind.INTERNAL, message)
                failures.append(failure.reply(sequence.id))
            else:
                ready.append(sequence)
        return ready, failures
