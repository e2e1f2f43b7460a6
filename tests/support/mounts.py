"""Python programs and daemons that see folders mounted that others do not."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_TESTS = Path(__file__).resolve().parents[1]


def with_bind_mounts(mounts: Mapping[Path, Path], command: Sequence[str]) -> list[str]:
    """The command line that runs `command` with each key mounted over its value.

    Bind mounts in a namespace of their own, so that nothing stays mounted. Both must exist: two
    folders, or two files.
    """
    as_root = [] if os.geteuid() == 0 else ["-r"]
    each = 'mount --bind "$1" "$2" || exit; shift 2'
    script = f'while [ "$1" != -- ]; do {each}; done; shift; exec "$@"'
    pairs = [str(path) for pair in mounts.items() for path in pair]
    return ["unshare", "-m", *as_root, "sh", "-c", script, "sh", *pairs, "--", *command]


def run_with_bind_mounts(code: str, mounts: Mapping[Path, Path]) -> str:
    """What a Python program prints that runs so."""
    prelude = f"import sys; sys.path.insert(0, {str(_TESTS)!r})\n"
    done = subprocess.run(
        with_bind_mounts(mounts, [sys.executable, "-c", prelude + code]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def as_unknown_user(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` under a user id that no password file knows.

    In a user namespace, so that the files of this user stay readable.
    """
    return ["unshare", "--user", "--map-user=54321", *command]
