"""The line of one key on a real daemon: its length, and what who is sent away is told."""

import http.client
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from support import models
from support.api import Answer, Api
from support.daemon import Daemon, running_daemon
from support.olm import olm, out

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """It answers one request at a time, and lets two of a key wait."""
    environ = {"OLM_NUM_PARALLEL": "1", "OLM_MAX_QUEUE_PER_KEY": "2"}
    with running_daemon(tmp_path_factory.mktemp("queues") / "home", environ=environ) as daemon:
        Api(daemon).create("smol", models.smollm2())
        yield daemon


@pytest.mark.parametrize("path", ["/api/generate", "/v1/messages"])
def test_one_more_than_may_wait_with_a_key_is_sent_away_with_its_place(
    daemon: Daemon, path: str
) -> None:
    name = f"key{path.replace('/', '-')}"
    headers = {"Authorization": f"Bearer {out(olm(daemon.environ, 'key', 'create', name)).strip()}"}
    api = Api(daemon)
    long = {
        "model": "smol",
        "prompt": "x",
        "format": {"type": "grammar", "syntax": "regex", "definition": "[ab]{6000}"},
    }
    body = {
        "model": "smol",
        "prompt": "x",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 1,
        "options": {"num_predict": 1},
        "stream": False,
    }
    answers: queue.Queue[Answer] = queue.Queue()

    def ask() -> None:
        answers.put(api.ask("POST", path, body, headers=headers))

    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    with closing(connection):
        connection.request("POST", "/api/generate", json.dumps(long), headers)
        assert connection.getresponse().readline()  # it is being answered
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        refused = answers.get(timeout=60)
        assert answers.empty()
    for thread in threads:
        thread.join()
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-olm-queue-position"] == "3"
    assert [answers.get_nowait().status for _ in range(2)] == [200, 200]
