"""Runners are killed and stopped while requests come: each request ends, and nothing is left.

`benchmarks/kill_storm.py` does the same a thousand times.
"""

from pathlib import Path

import psutil
import pytest

from support.daemon import running_daemon, wait_until
from support.killstorm import ask, left_behind, storm
from support.models import tiny_chat
from support.olm import olm, out


@pytest.mark.timeout(400)
def test_no_request_is_lost_and_no_process_left(olm_home: Path) -> None:
    with running_daemon(olm_home) as daemon:
        out(olm(daemon.environ, "create", "m", "-f", "-", stdin=f"FROM {tiny_chat()}\n"))
        came = storm(daemon, "m", kills=3, stops=1, clients=3)
        assert (came.kills, came.stops) == (3, 1)
        assert came.lost == []
        assert set(came.ends) <= {"done", "runner_died"}
        # A load that was killed twice is not tried again at once.
        wait_until(lambda: ask(daemon, "m", "And now?")[0] == "done", timeout_s=120, what="peace")
        children = psutil.Process(daemon.process.pid).children(recursive=True)
        assert len(daemon.runners()) == 1
    assert left_behind(children) == []
