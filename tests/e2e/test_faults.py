"""What breaks, breaks alone: one clear sentence, an exit code, nothing half-written."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from support.daemon import Daemon, running_daemon, wait_until
from support.gguffile import GgufFile, string
from support.models import smollm2

OLM = str(Path(sys.executable).with_name("olm"))
LONG = {"model": "tiny", "prompt": "Count to ten thousand.", "options": {"num_predict": 4000}}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("faults") / "home"
    with running_daemon(home) as running:
        made = olm(running, "create", "tiny", "-f", "-", stdin=f"FROM {smollm2()}\n")
        assert made.returncode == 0, made.stderr
        yield running


def olm(
    daemon: Daemon, *arguments: str, stdin: str = "", cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """`olm` as a script runs it, against this daemon."""
    return subprocess.run(
        [OLM, *arguments],
        env=os.environ | daemon.environ,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        check=False,
    )


def one_sentence(done: "subprocess.CompletedProcess[str]") -> str:
    """The error's sentence, after checking that it is one and that no traceback came along."""
    assert done.returncode != 0
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, done.stderr
    return errors[0]


def names(daemon: Daemon) -> set[str]:
    _, body = daemon.request("GET", "/api/tags")
    return {model["name"] for model in json.loads(body)["models"]}


def blobs(daemon: Daemon) -> set[str]:
    return {path.name for path in (daemon.home / "models" / "blobs").iterdir()}


def test_killing_the_runner_ends_the_stream_with_an_error_and_the_next_request_works(
    daemon: Daemon,
) -> None:
    with daemon.stream("POST", "/api/generate", LONG) as response:
        assert json.loads(response.readline())["done"] is False
        (runner,) = daemon.runners()
        runner.send_signal(signal.SIGKILL)
        lines = [json.loads(line) for line in response.read().splitlines()]
    assert "an error was encountered while running the model" in lines[-1]["error"]
    assert daemon.process.poll() is None

    status, body = daemon.request(
        "POST",
        "/api/generate",
        LONG | {"stream": False, "options": {"num_predict": 3, "temperature": 0}},
    )
    assert status == 200, body
    assert json.loads(body)["done_reason"] == "length"
    assert [process.pid for process in daemon.runners()] != [runner.pid]


def test_a_client_that_leaves_frees_its_sequence(daemon: Daemon) -> None:
    with daemon.stream("POST", "/api/generate", LONG) as response:
        assert response.readline()
    (runner,) = daemon.runners()

    def is_idle() -> bool:
        before = runner.cpu_times().user
        return bool(psutil.wait_procs([runner], timeout=0.3)[1]) and (
            runner.cpu_times().user - before < 0.05
        )

    wait_until(is_idle, what="an idle runner after the client left")


def test_killing_the_daemon_leaves_no_runner(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "home") as doomed:
        assert olm(doomed, "create", "tiny", "-f", "-", stdin=f"FROM {smollm2()}\n").returncode == 0
        with doomed.stream("POST", "/api/generate", LONG) as response:
            assert response.readline()
            runners = doomed.runners()
            assert runners
            doomed.kill()
    gone, alive = psutil.wait_procs(runners, timeout=30)
    assert not alive
    assert gone


@pytest.mark.parametrize("command", ["create", "run"])
def test_a_truncated_file_is_refused_and_leaves_nothing(
    daemon: Daemon, tmp_path: Path, command: str
) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(smollm2().read_bytes()[:20_000_000])
    before = names(daemon), blobs(daemon)
    if command == "create":
        done = olm(daemon, "create", "cut", "-f", "-", stdin=f"FROM {cut}\n")
    else:
        done = olm(daemon, "run", str(cut), "hi")
    sentence = one_sentence(done)
    assert "truncated" in sentence
    assert names(daemon) == before[0]
    assert blobs(daemon) == before[1]


def test_a_corrupt_file_is_refused(daemon: Daemon, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + os.urandom(4096))
    assert "broken.gguf" in one_sentence(olm(daemon, "run", str(broken), "hi"))


def test_an_unknown_architecture_is_named(daemon: Daemon, tmp_path: Path) -> None:
    header = GgufFile(metadata={"general.architecture": string("quipu")})
    odd = header.write(tmp_path / "odd.gguf")
    assert "quipu" in one_sentence(olm(daemon, "run", str(odd), "hi"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/../../b", "/etc/x", "a//b", "x:../y"])
@pytest.mark.parametrize("command", ["rm", "show", "create"])
def test_a_name_that_climbs_is_refused(daemon: Daemon, command: str, name: str) -> None:
    stdin = "FROM tiny\n" if command == "create" else ""
    arguments = ["-f", "-"] if command == "create" else []
    sentence = one_sentence(olm(daemon, command, name, *arguments, stdin=stdin))
    assert "name" in sentence


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    store = tmp_path / "small"
    store.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", store], check=True)
    try:
        with running_daemon(tmp_path / "home", environ={"OLM_MODELS": str(store)}) as daemon:
            done = olm(daemon, "create", "tiny", "-f", "-", stdin=f"FROM {smollm2()}\n")
            sentence = one_sentence(done)
            assert "space" in sentence or "room" in sentence
            assert str(store) in done.stderr
            assert names(daemon) == set()
        left = [path for path in store.rglob("*") if path.is_file() and path.stat().st_size > 4096]
        assert left == []
    finally:
        subprocess.run(["umount", store], check=True)


def test_an_unreadable_store_is_named(tmp_path: Path) -> None:
    # Root reads anything, so the store is something that nobody can read as a folder.
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").write_text("not a folder")
    with running_daemon(home) as daemon:
        sentence = one_sentence(olm(daemon, "ls"))
        assert str(home / "models") in sentence
