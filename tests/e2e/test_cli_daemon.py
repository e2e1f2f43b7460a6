"""How commands find, start and stop the daemon."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import free_port, running_daemon, wait_until
from support.olm import OLM, daemons, environment, olm, out


@pytest.fixture
def environ(olm_home: Path) -> Iterator[dict[str, str]]:
    """A home of its own and a free port; whatever daemon runs there at the end is ended."""
    yield {"OLM_HOME": str(olm_home), "OLM_HOST": f"127.0.0.1:{free_port()}"}
    for process in daemons(olm_home):
        process.terminate()
    wait_until(lambda: not daemons(olm_home), timeout_s=20, what="the end of the daemon")


def test_ten_shells_at_once_start_exactly_one_daemon(
    environ: dict[str, str], olm_home: Path
) -> None:
    shells = [
        subprocess.Popen(
            [OLM, "ls"],
            env=environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(10)
    ]
    results = [shell.communicate(timeout=60) for shell in shells]
    assert [shell.returncode for shell in shells] == [0] * 10
    assert {out for out, _ in results} == {b"NAME    ID    SIZE    MODIFIED\n"}
    assert {err for _, err in results} == {b""}
    assert len(daemons(olm_home)) == 1


def test_the_daemon_outlives_the_shell_and_its_interrupts(
    environ: dict[str, str], olm_home: Path
) -> None:
    shell = subprocess.Popen(
        ["sh", "-c", f"{OLM} ls; echo done; exec sleep 60"],
        env=environment(environ),
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert shell.stdout is not None
    with shell.stdout:
        # A command that is interrupted while it ends would let the shell go on.
        assert [shell.stdout.readline() for _ in range(2)][-1] == b"done\n"
        os.killpg(shell.pid, signal.SIGINT)
        shell.wait(10)
    (daemon,) = daemons(olm_home)
    assert daemon.is_running()
    assert out(olm(environ, "ls")) == "NAME    ID    SIZE    MODIFIED\n"
    assert daemons(olm_home) == [daemon]


def test_what_a_killed_daemon_leaves_behind_is_no_obstacle(
    environ: dict[str, str], olm_home: Path
) -> None:
    out(olm(environ, "ls"))
    (daemon,) = daemons(olm_home)
    daemon.kill()
    wait_until(lambda: not daemons(olm_home))
    assert (olm_home / "daemon.json").exists()
    out(olm(environ, "ls"))
    (successor,) = daemons(olm_home)
    assert successor.pid != daemon.pid


def test_serve_stop_ends_the_daemon_and_needs_none(environ: dict[str, str], olm_home: Path) -> None:
    out(olm(environ, "ls"))
    out(olm(environ, "serve", "--stop"))
    assert daemons(olm_home) == []
    done = olm(environ, "serve", "--stop")
    assert (done.returncode, done.stderr) == (0, b"no daemon runs\n")


def test_serve_stop_spares_a_stranger_with_the_daemons_number(
    environ: dict[str, str], olm_home: Path
) -> None:
    olm_home.mkdir()
    (olm_home / "daemon.json").write_text(json.dumps({"pid": os.getpid(), "address": "x"}))
    done = olm(environ, "serve", "--stop")
    assert (done.returncode, done.stderr) == (0, b"no daemon runs\n")


def test_commands_that_need_no_daemon_start_none(environ: dict[str, str], olm_home: Path) -> None:
    assert out(olm(environ, "ps")).startswith("NAME    ID    SIZE    PROCESSOR")
    assert out(olm(environ, "stop", "m")) == ""
    assert out(olm(environ, "--help"))
    assert out(olm(environ, "version")).endswith(
        f"daemon: not running (http://{environ['OLM_HOST']})\n"
    )
    assert out(olm(environ, "__complete", "models", "")) == ""
    assert daemons(olm_home) == []


def test_another_program_on_the_port_is_named(environ: dict[str, str], olm_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        environ["OLM_HOST"] = f"127.0.0.1:{listener.getsockname()[1]}"
        shell = subprocess.Popen(
            [OLM, "ls"], env=environment(environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"220 mail.example ESMTP\r\n")
            _, err = shell.communicate(timeout=30)
    assert shell.returncode == 5
    assert f"(pid {os.getpid()}), which is no model server".encode() in err
    assert b"hint: stop that program, or set OLM_HOST to another address" in err
    assert daemons(olm_home) == []


def test_serve_names_the_program_that_holds_its_port(
    environ: dict[str, str], olm_home: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environ["OLM_HOST"] = f"127.0.0.1:{listener.getsockname()[1]}"
        done = olm(environ, "serve")
    assert done.returncode == 5
    assert f"(pid {os.getpid()})".encode() in done.stderr


def test_a_daemon_elsewhere_is_never_started(environ: dict[str, str], olm_home: Path) -> None:
    environ["OLM_HOST"] = "http://nowhere.invalid:11434"
    for words in (["ls"], ["ps"], ["run", "m", "hi"], ["stop", "m"]):
        done = olm(environ, *words)
        assert done.returncode == 5
        assert b"cannot connect to the daemon at http://nowhere.invalid:11434" in done.stderr
        assert b"hint: OLM_HOST names that address" in done.stderr
    assert daemons(olm_home) == []


def test_a_daemon_that_cannot_start_says_why(environ: dict[str, str], olm_home: Path) -> None:
    olm_home.mkdir()
    (olm_home / "run").write_text("no directory")
    done = olm(environ, "ls")
    assert done.returncode == 5
    assert f"Error: the daemon ended at its start: {olm_home}/run".encode() in done.stderr
    assert f"hint: its log is {olm_home}/logs/daemon.log".encode() in done.stderr


def test_an_unwritable_home_is_told(environ: dict[str, str]) -> None:
    environ["OLM_HOME"] = "/dev/null/home"
    done = olm(environ, "ls")
    assert done.returncode == 5
    assert b"Error: cannot start the daemon: /dev/null/home" in done.stderr


def test_serve_runs_in_the_foreground_and_ends_cleanly_on_either_signal(olm_home: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with running_daemon(olm_home) as daemon:
            assert daemon.stop(number) == 0
            assert "Traceback" not in daemon.log


def test_the_log_of_a_background_daemon_is_private_and_cut_when_large(
    environ: dict[str, str], olm_home: Path
) -> None:
    log = olm_home / "logs" / "daemon.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"x" * (10 * 1024 * 1024 + 1))
    out(olm(environ, "ls"))
    wait_until(lambda: log.exists() and log.stat().st_size < 1024 * 1024)
    assert log.stat().st_mode & 0o077 == 0
    assert (olm_home / "logs" / "daemon.log.1").exists()


def test_serve_stop_ends_the_daemon_at_its_address_only(
    environ: dict[str, str], olm_home: Path
) -> None:
    """Two daemons of one home: the file in the home tells only of the one started last."""
    first = environ | {"OLM_HOST": f"127.0.0.1:{free_port()}"}
    second = environ | {"OLM_HOST": f"127.0.0.1:{free_port()}"}
    for one in (first, second):
        out(olm(one, "ls"))
    assert len(daemons(olm_home)) == 2
    nowhere = environ | {"OLM_HOST": f"127.0.0.1:{free_port()}"}
    done = olm(nowhere, "serve", "--stop")
    assert (done.returncode, done.stderr) == (0, b"no daemon runs\n")
    assert len(daemons(olm_home)) == 2
    out(olm(first, "serve", "--stop"))
    assert len(daemons(olm_home)) == 1
    assert out(olm(second, "ps"))
    out(olm(second, "serve", "--stop"))
    assert daemons(olm_home) == []
