"""A process's folder in /proc and the hierarchies that it names, as files below a folder."""

from pathlib import Path


class CgroupTree:
    """What a kernel shows of the groups of one process; `process` is its folder in /proc."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process = folder / "proc"
        self._write(self.process / "cgroup", "")
        self._write(self.process / "mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda rw\n")

    def member(self, line: str) -> None:
        """The process belongs to a group: a line of /proc/PID/cgroup."""
        with (self.process / "cgroup").open("a") as file:
            file.write(line + "\n")

    def mount(self, at: str, *, root: str = "/", controllers: str | None = None) -> None:
        """A hierarchy is mounted; `controllers` None: version 2."""
        kind = "cgroup2 none rw" if controllers is None else f"cgroup none rw,{controllers}"
        point = str(self.folder / at).replace(" ", "\\040")
        with (self.process / "mountinfo").open("a") as file:
            file.write(f"30 22 0:1 {root} {point} rw,nosuid shared:4 - {kind}\n")

    def group(self, at: str, **files: str) -> None:
        """A group's files; `memory__max="12"` is `memory.max`."""
        for name, text in files.items():
            self._write(self.folder / at / name.replace("__", "."), text + "\n")

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
