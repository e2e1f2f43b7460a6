"""Whether the daemon can do its work now: its store can be read, its engine runs."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Final

from olmkit.engine.devices.enginesurvey import SurveyUnderWay
from olmkit.engine.framing import printable
from olmkit.engine.services import Services

ANSWER_S: Final = 0.8
"""Kubernetes waits one second for a probe unless told otherwise."""
SURVEY_S: Final = 60.0
RETRY_S: Final = 30.0
"""An engine that did not run is not tried again before."""
OK: Final = "ok"


class Readiness:
    """Checks that are made when somebody asks, and cost nothing else.

    The engine is started in a child process, once for each engine that works; while that goes on
    the daemon is not ready yet.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = _Check(lambda: _store_state(services), kept_s=0)
        self._engine = _Check(lambda: _engine_state(services), kept_s=RETRY_S)
        self._sound = ""
        """The fingerprint of the engine that ran."""

    async def states(self) -> dict[str, str]:
        """`ok`, or what is wrong, for each thing that the daemon needs."""
        store, engine = await asyncio.gather(self._store.state(), self._engine_state())
        return {"store": store, "engine": engine}

    async def _engine_state(self) -> str:
        if self._services.pool.engine_failure:
            return self._services.pool.engine_failure
        fingerprint = self._services.safeguard.libraries.fingerprint
        if fingerprint == self._sound:
            return OK
        state = await self._engine.state()
        if state == OK:
            self._sound = fingerprint
        return state


class _Check:
    """One blocking question, in one thread at a time however often it is asked."""

    def __init__(self, ask: Callable[[], str], *, kept_s: float) -> None:
        self._ask = ask
        self._kept_s = kept_s
        self._task: asyncio.Task[str] | None = None
        self._done_s = 0.0

    async def state(self) -> str:
        """The answer, not older than `kept_s`; that there is none yet, after `ANSWER_S`."""
        task = self._task
        if task is None or (task.done() and time.monotonic() - self._done_s >= self._kept_s):
            task = self._task = asyncio.create_task(asyncio.to_thread(self._ask))
            task.add_done_callback(self._note_time)
        await asyncio.wait((task,), timeout=ANSWER_S)
        return task.result() if task.done() else "is being checked"

    def _note_time(self, task: "asyncio.Task[str]") -> None:
        self._done_s = time.monotonic()


def _store_state(services: Services) -> str:
    for folder in ("manifests", "blobs"):
        path = services.store.root / folder
        try:
            with os.scandir(path) as entries:
                next(entries, None)
        except FileNotFoundError:
            pass  # no model yet
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            return f"{printable(str(path))} cannot be read: {reason}"
    return OK


def _engine_state(services: Services) -> str:
    safeguard = services.safeguard
    survey = SurveyUnderWay(safeguard.environment(safeguard.known().mode))
    said = survey.result(timeout_s=SURVEY_S)
    return f"the engine {said.failure}" if said.failure else OK
