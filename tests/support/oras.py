"""`oras`, the ORAS project's own client of registries, in a folder of its own.

    client = Oras(tmp_path)
    client("pull", "--plain-http", f"{registry.host}/team/m:1")

Found on the PATH, else in the checkout's cache, where `.ci/oras/build` compiles it once.
"""

import fcntl
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
CACHED = CHECKOUT / ".cache" / "oras"


def program() -> str:
    """The path of `oras`; a failed test where it cannot be built."""
    found = shutil.which("oras")
    if found is not None:
        return found
    CACHED.parent.mkdir(exist_ok=True)
    with open(CACHED.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not CACHED.exists():
            build = [str(CHECKOUT / ".ci" / "oras" / "build"), str(CACHED)]
            done = subprocess.run(build, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{done.stderr}\noras needs Go: apt-get install golang-go"
    return str(CACHED)


@dataclass(frozen=True)
class Oras:
    """Runs in `folder`, with the caller's environment."""

    folder: Path

    def __call__(self, *words: str, stdin: bytes = b"") -> bytes:
        """Standard output of a command that succeeded."""
        done = subprocess.run(
            [program(), *words],
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            env=dict(os.environ),
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"oras {' '.join(words)}: {done.stderr.decode()}"
        return done.stdout
