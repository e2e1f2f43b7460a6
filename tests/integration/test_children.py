"""Children of the daemon: what they know, and what happens when they no longer get on."""

import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from support.api import Api
from support.attacktable import Record, Stopwatch
from support.daemon import COMMAND, Daemon, running_daemon, wait_until
from support.models import tiny_chat
from support.olm import olm, out
from support.randommodel import write_llama

SECRETS = {"HF_TOKEN": "hf_secret", "PIP_INDEX_URL": "https://u:pw@host/", "PYTHON_TOKEN": "x"}
"""The last one of a kind of variables that children get."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with secrets, a name of its own and one model, `m`."""
    home = tmp_path_factory.mktemp("children") / "home"
    with running_daemon(home, environ=SECRETS | {"OLM_HOSTS": "box.internal"}) as daemon:
        Api(daemon).create("m", tiny_chat())
        yield daemon


def test_children_get_no_secrets(daemon: Daemon) -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": False}
    assert Api(daemon).post("/api/chat", {**chat, "options": {"num_predict": 1}}).status == 200
    children = psutil.Process(daemon.process.pid).children(recursive=True)
    assert len(children) == 2  # a runner and a template worker
    for child in children:
        assert not set(SECRETS) & set(child.environ())
        assert "PATH" in child.environ()


def test_a_stopped_runner_is_noticed_and_its_stream_ends(
    daemon: Daemon, record_property: Record
) -> None:
    body = {"model": "m", "prompt": "Once", "options": {"num_predict": 2000}}
    with daemon.stream("POST", "/api/generate", body) as answer:
        assert answer.readline()
        (runner,) = daemon.runners()
        runner.send_signal(signal.SIGSTOP)
        watch = Stopwatch()
        *_, last = answer.read().splitlines()
    record_property("bound", "killed after being stopped for 5 s")
    record_property("measured", f"{watch.elapsed_s:.1f} s")
    assert b"has been stopped" in last
    assert not runner.is_running()
    again = {**body, "options": {"num_predict": 1}}
    assert Api(daemon).post("/api/generate", again).status == 200


def test_stop_tells_the_truth(daemon: Daemon) -> None:
    Api(daemon).post("/api/generate", {"model": "m"})
    (runner,) = daemon.runners()
    runner.send_signal(signal.SIGSTOP)  # it owes no answer, and cannot end by itself
    out(olm(daemon.environ, "stop", "m"))
    assert not runner.is_running()


def test_an_answer_that_nobody_reads_gives_its_slot_back(
    tmp_path: Path, record_property: Record
) -> None:
    environ = {"OLM_STALL_TIMEOUT": "1s", "OLM_NUM_PARALLEL": "1"}
    with running_daemon(tmp_path / "home", environ=environ) as daemon:
        api = Api(daemon)
        api.create("m", write_llama(tmp_path / "tiny.gguf"))
        body = (
            b'{"model":"m","prompt":"1 2 3","raw":true,"logprobs":true,"top_logprobs":20,"format":'
            b'{"type":"array","items":{"type":"integer","minimum":100000},"minItems":5000}}'
        )
        watch = Stopwatch()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", daemon.port))
            client.sendall(
                b"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            wait_until(
                lambda: "an answer that nobody reads" in daemon.log,
                timeout_s=60,
                what="the end of the answer",
            )
            record_property("bound", "OLM_STALL_TIMEOUT (1 s here) after the buffers are full")
            record_property("measured", f"{watch.elapsed_s:.1f} s from the request")
            few = {"model": "m", "prompt": "hi", "stream": False, "options": {"num_predict": 1}}
            assert api.post("/api/generate", few).status == 200


# --- who may do what ------------------------------------------------------------------------


def test_nothing_of_the_daemons_is_for_others_to_write_and_its_socket_is_its_users_alone(
    tmp_path: Path,
) -> None:
    """A hang-up ends it as any other order does."""
    with ExitStack() as stack:
        before = os.umask(0)
        try:
            daemon = stack.enter_context(running_daemon(tmp_path / "home"))
        finally:
            os.umask(before)
        Api(daemon).create("m", tiny_chat())
        (path,) = (daemon.home / "run").glob("*.sock")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /api/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert daemon.stop(signal.SIGHUP) == 0
    assert "shutting down" in daemon.log
    assert not (daemon.home / "daemon.json").exists()
    assert not path.exists()
    made = [path for path in daemon.home.rglob("*") if not path.is_symlink()]
    assert [path for path in made if path.stat().st_mode & 0o022] == []


def test_a_hangup_is_ignored_under_nohup(tmp_path: Path) -> None:
    command = ("nohup", *COMMAND)
    with running_daemon(tmp_path / "home", command=command) as daemon:
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.request("GET", "/api/version")[0] == 200
        assert "shutting down" not in daemon.log


def test_a_name_under_internal_is_not_this_machine(daemon: Daemon) -> None:
    for host, status in (
        ("evil.internal", 403),
        ("evil.local", 403),
        ("10.1.2.3", 403),
        ("box.internal", 200),
        ("localhost", 200),
        ("a.localhost", 200),
        ("127.0.0.1", 200),
        (socket.gethostname(), 200),
    ):
        headers = {"Host": host, "Origin": f"http://{host}"}
        answer = Api(daemon).ask("GET", "/api/version", headers=headers)
        assert (host, answer.status) == (host, status)


def test_a_file_of_the_kernel_is_no_model(daemon: Daemon, tmp_path: Path) -> None:
    for special in ("/proc/kmsg", "/dev/zero", "/proc/self/environ"):
        recipe = tmp_path / "Modelfile"
        recipe.write_text(f"FROM {special}\n")
        done = olm(daemon.environ, "create", "none", "-f", str(recipe), timeout_s=20)
        assert done.returncode != 0
