"""Control groups that the kernel enforces, made below this process's own."""

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_NAMES = {
    "memory": ("memory.limit_in_bytes", "memory.max"),
    "cpu": ("cpu.cfs_quota_us", "cpu.max"),
}


@dataclass(frozen=True)
class Cgroup:
    """One group; processes are started in it by the command line that `running` makes."""

    folder: Path
    is_v2: bool

    def running(self, command: Sequence[str]) -> list[str]:
        """The command line that runs `command` in the group."""
        script = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'
        return ["sh", "-c", script, "sh", str(self.folder), *command]

    def limit_memory(self, size_bytes: int) -> None:
        """Give the group so much memory."""
        (self.folder / _NAMES["memory"][self.is_v2]).write_text(str(size_bytes))

    def limit_cpu(self, cores: float) -> None:
        """Give the group so much processor time."""
        if self.is_v2:
            (self.folder / "cpu.max").write_text(f"{int(cores * 100_000)} 100000")
        else:
            (self.folder / "cpu.cfs_period_us").write_text("100000")
            (self.folder / "cpu.cfs_quota_us").write_text(str(int(cores * 100_000)))

    @contextmanager
    def nested(self) -> Iterator["Cgroup"]:
        """A group below this one."""
        inner = Cgroup(self.folder / "inner", self.is_v2)
        inner.folder.mkdir()
        try:
            yield inner
        finally:
            _remove(inner.folder)


@contextmanager
def cgroup(controller: str) -> Iterator[Cgroup]:
    """A new group under `memory` or `cpu`; the test is skipped where this user may make none."""
    own, is_v2 = _own(controller)
    folder = own / f"olm-test-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        name = _NAMES[controller][is_v2]
        if not os.access(folder / name, os.W_OK):
            pytest.skip(f"{folder} has no {name} that can be written")
        yield Cgroup(folder, is_v2)
    finally:
        _remove(folder)


def _own(controller: str) -> tuple[Path, bool]:
    """Where this process's group is mounted, by findmnt and /proc alone."""
    groups = dict(
        line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()
    )
    version_1 = Path("/sys/fs/cgroup") / controller
    for controllers, path in groups.items():
        if controller in controllers.split(","):
            return Path(f"{version_1}{path}"), False
    return Path(f"/sys/fs/cgroup{groups.get('', '/')}"), True


def _remove(folder: Path) -> None:
    """Remove the group once the last of its processes is gone."""
    deadline_s = time.monotonic() + 10
    while True:
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)
