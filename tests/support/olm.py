"""The installed `olm` command, run as a shell would run it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

OLM = str(Path(sys.executable).parent / "olm")


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """This process's variables without any of olm's, and those given."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OLM_", "OLLAMA_"))}
    return {**clean, **environ}


def olm(
    environ: Mapping[str, str],
    *words: str,
    stdin: str | bytes = b"",
    timeout_s: float = 120,
    cwd: Path | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """The finished command, its output captured."""
    return subprocess.run(
        [OLM, *words],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        env=environment(environ),
        timeout=timeout_s,
        cwd=cwd,
        check=False,
    )


def out(done: "subprocess.CompletedProcess[bytes]") -> str:
    """Standard output of a command that succeeded."""
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr.decode()}"
    return done.stdout.decode()


def daemons(home: Path) -> list[psutil.Process]:
    """The daemon processes that live in that home; zombies do not."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        try:
            if "serve" in command and process.environ().get("OLM_HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found
