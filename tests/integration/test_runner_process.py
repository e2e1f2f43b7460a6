"""The runner as a process: how it ends, and what it survives."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from olmkit.engine import framing
from olmkit.engine.runner import protocol as p
from support.models import smollm2
from support.runner import Completion, RunnerClient, loaded_runner, wait_for_end

PARENT = """
import os, socket, subprocess, sys
from olmkit.engine import framing
from olmkit.engine.runner import protocol as p
ours, theirs = socket.socketpair()
runner = subprocess.Popen(
    [sys.executable, "-m", "olmkit.engine.runner.process.main", "--fd", str(theirs.fileno())],
    pass_fds=(theirs.fileno(),),
)
theirs.close()
# Someone else holds the daemon's end too: the stream does not end with the parent.
holder = subprocess.Popen(["sleep", "60"], pass_fds=(ours.fileno(),))
files = p.ModelFiles(weights_path=sys.argv[1])
options = p.LoadOptions(context_tokens=2048, threads=1)
ours.sendall(framing.encode_frame(p.Load(id=1, operation="commit", files=files, options=options)))
ours.sendall(framing.encode_frame(p.Completion(id=2, prompt=[500] * 2000)))
print(runner.pid, holder.pid, flush=True)
while True:
    ours.recv(65536)
"""


def test_the_end_of_the_stream_ends_it_at_once() -> None:
    with RunnerClient() as client:
        client.health()
        assert client.close() == 0


def test_the_end_of_the_stream_ends_it_in_the_midst_of_generation() -> None:
    client = RunnerClient()
    client.load(smollm2())
    client.start("Once upon a time", ignore_eos=True)
    client.next_reply()
    assert client.close() == 0


@pytest.mark.parametrize("after_s", [0, 1])
def test_kill_9_of_the_parent_ends_it_even_while_the_stream_is_open(after_s: float) -> None:
    """At once it is not even running Python yet, a second later it reads the prompt."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(smollm2())], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        runner, holder = map(int, parent.stdout.readline().split())
        try:
            time.sleep(after_s)
            assert Path(f"/proc/{runner}").exists()
            parent.kill()
            wait_for_end(runner)
        finally:
            parent.kill()
            os.kill(holder, signal.SIGKILL)


def test_ctrl_c_in_the_terminal_is_not_for_it() -> None:
    with RunnerClient() as client:
        client.health()
        client.process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        assert client.health().active_sequences == 0


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
        pytest.param(framing.FRAME_HEADER.pack(4) + b"\x93\xa4Nope", id="no_request"),
    ],
)
def test_what_is_no_frame_ends_it_with_a_line_in_the_log(data: bytes) -> None:
    with RunnerClient() as client:
        client.socket.sendall(data)
        with pytest.raises(EOFError):
            client.next_reply()
        assert client.process.wait() == 2
        assert "error protocol violation: " in client.log


def test_requests_before_a_load_fail_and_leave_it_alive() -> None:
    with RunnerClient() as client:
        requests: list[p.Request] = [
            p.Completion(id=1, prompt="x"),
            p.Embedding(id=2, inputs=["x"]),
            p.Tokenize(id=3, text="x"),
            p.Detokenize(id=4, tokens=[1]),
        ]
        for request in requests:
            (failed,) = client.replies(client.send(request))[request.id]
            assert isinstance(failed, p.Failed)
            assert (failed.kind, failed.message) == (
                p.FailureKind.BAD_REQUEST,
                "no model is loaded",
            )
        client.cancel(77)
        assert client.health().steps == 0


def test_a_daemon_that_does_not_read_holds_generation_but_not_the_loop() -> None:
    with loaded_runner(smollm2(), context_tokens=256) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one = client.start("Once upon a time", ignore_eos=True, top_logprobs=10_000)
        time.sleep(2)  # a step's frame has some 300 kB
        resident = Path(f"/proc/{client.process.pid}/statm").read_text().split()[1]
        assert int(resident) * os.sysconf("SC_PAGE_SIZE") < 400 << 20
        client.cancel(one)
        end = Completion(client.replies(one)[one]).end
        assert end.reason is p.EndReason.CANCELLED
        assert end.completion_tokens < 100
        assert client.health().active_sequences == 0


def test_a_log_that_nobody_reads_does_not_stop_it() -> None:
    ours, theirs = socket.socketpair()
    reader, writer = os.pipe()
    with ours, theirs:
        command = [
            sys.executable,
            "-m",
            "olmkit.engine.runner.process.main",
            "--log-level",
            "debug",
        ]
        process = subprocess.Popen(
            [*command, "--fd", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            stderr=writer,
        )
        theirs.close()
        os.close(writer)
        files = p.ModelFiles(weights_path=str(smollm2()))
        options = p.LoadOptions(context_tokens=256, threads=1)
        for number in range(1, 9):  # some 20 kB each, into a pipe of 64
            ours.sendall(
                framing.encode_frame(
                    p.Load(id=number, operation=p.LoadOperation.FIT, files=files, options=options)
                )
            )
        received = b""
        while received.count(b"<|im_end|>") < 8:
            data = ours.recv(1 << 16)
            assert data
            received += data
    os.close(reader)
    assert process.wait(timeout=10) == 0
