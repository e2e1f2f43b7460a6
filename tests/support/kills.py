"""Daemons that are killed at random moments of what they do, and what their store must be then.

`TEST_KILLS=200 pytest …` kills more often.
"""

import contextlib
import http.client
import json
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from olmkit.engine.errors import DaemonError
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store
from support.daemon import COMMAND, Daemon, start_daemon
from support.stores import put_model

KILLS = int(os.environ.get("TEST_KILLS", "3"))
MIB = 1 << 20
Work = Callable[[Daemon], None]


@dataclass
class Kills:
    """A store with a model that nobody touches, and daemons on it that are killed."""

    home: Path
    command: Sequence[str] = COMMAND
    dice: random.Random = field(default_factory=lambda: random.Random(4))

    def __post_init__(self) -> None:
        self.store = Store(self.home / "models")
        self.kept = put_model(self.store, "kept", b"GGUF" + bytes(MIB))

    def rounds(
        self,
        work: Work,
        longest_s: float,
        *,
        count: int = KILLS,
        often: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin `work` anew on a new daemon and kill that, `count` times; judge the store."""
        for _ in range(count):
            often()
            daemon = start_daemon(self.home, command=self.command)
            try:
                daemon.wait_until_ready()
                worker = threading.Thread(target=until_killed, args=(work, daemon))
                worker.start()
                time.sleep(self.dice.uniform(0.0, longest_s))
            finally:
                daemon.kill()
            worker.join()
            self.assert_sound()

    def assert_sound(self) -> None:
        """Names mean models whose blobs are whole, and what was there still is."""
        models, unreadable = self.store.scan()
        assert unreadable == ()
        for model in models:
            for blob in model.manifest.blobs:
                self.store.blobs.check(blob.digest, blob.size_bytes)
        for name in os.listdir(self.store.blobs.folder):
            self.store.blobs.verify(Digest(name))
        assert self.store.load(Reference.parse("kept")).manifest.raw == self.kept.raw


def until_killed(work: Work, daemon: Daemon) -> None:
    """Do the work again and again, until the daemon is gone."""
    with contextlib.suppress(OSError, http.client.HTTPException, DaemonError):
        while True:
            work(daemon)


def succeed(daemon: Daemon, path: str, body: object) -> None:
    """Have the daemon do something to its end."""
    status, reply = daemon.request("POST", path, body)
    assert status == 200, reply
    assert json.loads(reply.splitlines()[-1]) == {"status": "success"}, reply
