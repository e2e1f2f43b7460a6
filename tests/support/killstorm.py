"""Runners that are killed and stopped at random while requests come, and what became of all.

Requests are of the kind that ends by itself: some tokens, streamed. Each has to end in a way that
its client can see: a last object that says `done`, an error with a status, or a last line with an
error. One that just breaks off, or never ends, is lost.
"""

import http.client
import json
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from support.daemon import Daemon

TOKENS: Final = 12
LONGEST_S: Final = 120.0
"""An answer that takes longer is lost: a stopped runner is noticed in seconds."""


@dataclass
class Storm:
    """What happened."""

    ends: Counter[str] = field(default_factory=Counter)
    """Requests by how they ended: `done`, or the code of an error."""
    lost: list[str] = field(default_factory=list)
    """What was seen of each request that ended in no such way."""
    kills: int = 0
    stops: int = 0
    left: list[str] = field(default_factory=list)
    """Processes that were there when the daemon had gone."""

    def text(self) -> str:
        """One line for people."""
        ends = ", ".join(f"{count} {end}" for end, count in self.ends.most_common())
        return (
            f"{self.kills} kills, {self.stops} stops: {ends}; {len(self.lost)} lost,"
            f" {len(self.left)} processes left"
        )


def storm(
    daemon: Daemon,
    model: str,
    *,
    kills: int,
    stops: int,
    clients: int = 4,
    until_s: float | None = None,
    seed: int = 1,
) -> Storm:
    """Clients ask without pause while runners are killed and stopped; returns when all have ended.

    `until_s`: moment of `time.monotonic` at which no more are killed. The daemon goes on.
    """
    came, over, lock = Storm(), threading.Event(), threading.Lock()

    def client(number: int) -> None:
        count = 0
        while not over.is_set():
            count += 1
            end, is_lost = ask(daemon, model, f"[{number}.{count}] Tell a story.")
            with lock:
                came.ends[end] += 1
                if is_lost:
                    came.lost.append(end)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        _shoot(daemon, came, kills, stops, until_s, random.Random(seed))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return came


def _shoot(
    daemon: Daemon,
    came: Storm,
    kills: int,
    stops: int,
    until_s: float | None,
    dice: random.Random,
) -> None:
    wanted = [signal.SIGKILL] * kills + [signal.SIGSTOP] * stops
    dice.shuffle(wanted)
    shot: set[int] = set()
    while wanted:
        if until_s is not None and time.monotonic() > until_s:
            return
        runner = _next_runner(daemon, shot)
        # From its first moment on to the midst of answers.
        time.sleep(dice.choice((0.0, 0.05, 0.2, 0.8)) * dice.random())
        try:
            runner.send_signal(wanted[-1])
        except psutil.NoSuchProcess:
            continue  # it had ended by itself
        shot.add(runner.pid)
        if wanted.pop() == signal.SIGKILL:
            came.kills += 1
        else:
            came.stops += 1
            _until_gone(runner)


def _next_runner(daemon: Daemon, shot: set[int]) -> psutil.Process:
    """A runner that lives and was not shot before; the clients see to it that there will be one."""
    deadline_s = time.monotonic() + LONGEST_S
    while True:
        for runner in daemon.runners():
            if runner.pid not in shot:
                return runner
        assert time.monotonic() < deadline_s, f"no runner comes any more:\n{daemon.log[-4000:]}"
        time.sleep(0.005)


def _until_gone(runner: psutil.Process) -> None:
    """The daemon has noticed that it is stopped, and has killed it."""
    gone, _ = psutil.wait_procs([runner], timeout=LONGEST_S)
    assert gone, "a stopped runner was not noticed"


def ask(daemon: Daemon, model: str, prompt: str) -> tuple[str, bool]:
    """How a request ended, and whether that was no end."""
    body = {"model": model, "prompt": prompt, "options": {"num_predict": TOKENS, "seed": 1}}
    try:
        with daemon.stream("POST", "/api/generate", body, timeout_s=LONGEST_S) as response:
            whole = response.read()
            last = _object(whole)
            if response.status != 200:
                return str(last.get("code", response.status)), "error" not in last
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}", True
    if last.get("done") is True:
        return "done", False
    return str(last.get("code", f"broke off: {whole[-100:]!r}")), "error" not in last


def _object(whole: bytes) -> dict[str, Any]:
    """The last line's object; empty for what is none."""
    lines = whole.strip().splitlines()
    try:
        value = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def left_behind(children: list[psutil.Process]) -> list[str]:
    """Those of the daemon's processes that outlived it; zombies of a lazy init do not count."""
    _, alive = psutil.wait_procs(children, timeout=30)
    return [f"{one.pid} {one.name()}" for one in alive if one.status() != psutil.STATUS_ZOMBIE]
