"""Python programs that run beside a file system of their own, small, read-only or both."""

import os
import subprocess
import sys
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1]


def run_on_small_disk(code: str, folder: Path, *, size: str) -> str:
    """What a Python program prints that has a fresh tmpfs of this size mounted on `folder`.

    In namespaces of its own, so that no privilege is needed and nothing stays mounted. The program
    finds the path in `folder`; `remount_read_only()` does what it says.
    """
    folder.mkdir(parents=True, exist_ok=True)
    prelude = f"""
import subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(_TESTS)!r})
folder = Path({str(folder)!r})
def remount_read_only():
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
"""
    script = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && exec "$3" -c "$4"'
    as_root = [] if os.geteuid() == 0 else ["-r"]
    shell = ["sh", "-c", script, "sh", size, str(folder), sys.executable, prelude + code]
    done = subprocess.run(
        ["unshare", "-m", *as_root, *shell],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
