"""Too little memory in a control group: exit code 6, by olm's own reckoning or the kernel's."""

import os
import subprocess
import sys
from pathlib import Path

from support.cgroup import cgroup
from support.daemon import COMMAND, running_daemon
from support.models import smollm2
from support.olm import OLM, olm, out

MIB = 1 << 20
BALLAST = """
import os, sys
for _ in range(6):
    if not os.fork():
        break
held = b"x" * (75 << 20)
sys.stdin.read()
"""
"""Takes 500 MiB, in processes that are all smaller than a runner."""


def test_6_a_model_over_the_groups_limit_is_refused_with_the_numbers(tmp_path: Path) -> None:
    with cgroup("memory") as group, group.nested() as inner:
        group.limit_memory(220 * MIB)
        with running_daemon(tmp_path / "home", command=inner.running(COMMAND)) as daemon:
            (tmp_path / "Modelfile").write_text(f"FROM {smollm2()}\n")
            out(olm(daemon.environ, "create", "m", cwd=tmp_path))
            done = olm(daemon.environ, "run", "m", "hi")
            assert done.returncode == 6
            assert "needs" in done.stderr.decode()
            assert "is free" in done.stderr.decode()


def test_6_a_runner_that_the_kernel_kills_for_memory_is_told_as_such(tmp_path: Path) -> None:
    with cgroup("memory") as group:
        group.limit_memory(600 * MIB)
        with running_daemon(tmp_path / "home", command=group.running(COMMAND)) as daemon:
            long = "PARAMETER num_predict 20000\nPARAMETER draft_num_predict 0\n"
            (tmp_path / "Modelfile").write_text(f"FROM {smollm2()}\n{long}")
            out(olm(daemon.environ, "create", "m", cwd=tmp_path))
            out(olm(daemon.environ, "run", "m", ""))
            (tmp_path / "long.regex").write_text("[a-z ]{4000}")  # it cannot end by itself
            with subprocess.Popen(
                [OLM, "run", "m", "--grammar", str(tmp_path / "long.regex"), "Tell me a story."],
                env=os.environ | daemon.environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as answering:
                assert answering.stdout is not None
                assert answering.stdout.read(1)
                with subprocess.Popen(
                    group.running([sys.executable, "-c", BALLAST]), stdin=subprocess.PIPE
                ) as ballast:
                    _, stderr = answering.communicate(timeout=120)
                    ballast.communicate(timeout=60)
            assert answering.returncode == 6, stderr
            assert b"was killed by the system for lack of memory" in stderr
            assert daemon.process.poll() is None
            out(olm(daemon.environ, "run", "m", ""))
