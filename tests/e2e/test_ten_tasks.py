"""The tasks of docs/ten-tasks.md, done by `olm` with only the program's name changed."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, running_daemon
from support.models import tiny_chat
from support.olm import OLM, environment, olm, out

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ten-tasks.md"
TASK = re.compile(r"^## (\d+)\. (.+?)\n.*?```sh\n(.*?)```", re.MULTILINE | re.DOTALL)
TASKS = {int(number): block for number, _, block in TASK.findall(PAGE.read_text("utf-8"))}
SHORT = "PARAMETER num_ctx 512\nPARAMETER num_predict 4\nPARAMETER temperature 0\n"
NAMES = ("llama3.2", "httpd", "fedora", "busybox:uclibc", "busybox:glibc", "busybox:musl")
"""What the manuals suppose to be there."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("tasks") / "home") as running:
        first, *others = NAMES
        out(olm(running.environ, "create", first, "-f", "-", stdin=f"FROM {tiny_chat()}\n{SHORT}"))
        for name in others:
            out(olm(running.environ, "cp", first, name))
        yield running


def done(block: str, daemon: Daemon, folder: Path) -> str:
    """What the commands print, run by bash in a folder with the files that the manuals suppose."""
    (folder / "Modelfile").write_text("FROM llama3.2\nSYSTEM You are Mario.\n")
    (folder / "README.md").write_text("olm builds, pulls, runs and serves models.\n")
    script = "set -euo pipefail\n" + re.sub(r"\b(docker|ollama) ", "olm ", block)
    environ = environment(daemon.environ)
    environ["PATH"] = f"{Path(OLM).parent}:{environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", script], env=environ, cwd=folder, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout.decode()


def test_the_page_has_ten_tasks_and_no_command_of_ours() -> None:
    assert list(TASKS) == list(range(1, 11))
    for block in TASKS.values():
        assert all(re.match(r"(docker|ollama) ", line) for line in block.splitlines())


@pytest.mark.parametrize("number", TASKS)
def test_a_task_is_done(number: int, daemon: Daemon, tmp_path: Path) -> None:
    assert done(TASKS[number], daemon, tmp_path)


def test_forms_and_filters_print_what_the_manual_says(daemon: Daemon, tmp_path: Path) -> None:
    names = "docker images --format \"{{.Repository}}:{{.Tag}}\" --filter=reference='busy*:*libc'"
    assert set(done(names, daemon, tmp_path).split()) == {"busybox:uclibc", "busybox:glibc"}
    table = done(r'docker images --format "table {{.ID}}\t{{.Tag}}"', daemon, tmp_path)
    assert table.splitlines()[0].split() == ["ID", "TAG"]
    config = done("docker inspect --format='{{json .Config}}' httpd", daemon, tmp_path)
    assert '"model_format": "gguf"' in config
