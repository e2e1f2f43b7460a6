"""Runs the proof in a child process and says how it went."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

TIMEOUT_S: Final = 300
"""A card's first kernels may be compiled by its driver, for minutes."""
_MOST_REASON_LETTERS: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What came of it."""

    failure: str | None
    """Why the engine does not run here, as a clause: `it was killed by SIGILL`; None: it runs."""
    devices: tuple[str, ...] = ()
    """What it computes on, as the hardware calls itself; the processor is one of them."""
    system_info: str = ""
    """The instruction sets in use, as llama.cpp lists them."""

    is_late: bool = False
    """It was not waited for until the end."""

    @property
    def lacks_engine(self) -> bool:
        """There is no llama-cpp-python to prove."""
        return self.failure is not None and "is not installed" in self.failure


def prove(
    python: str = sys.executable,
    environ: Mapping[str, str] = os.environ,
    timeout_s: float = TIMEOUT_S,
) -> Proof:
    """Loads a model, reads a prompt, chooses a token and embeds a text in another process.

    Whatever the engine does there, this process goes on. The proof takes about a second on a
    processor.
    """
    try:
        child = subprocess.run(
            [python, "-m", "olmkit.engine.runner.selftest"],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Proof(failure=f"it did not answer within {timeout_s:.0f} s", is_late=True)
    except OSError as error:
        return Proof(failure=f"it was not started: {error.strerror or error}")
    if child.returncode < 0:
        return Proof(failure=f"it was killed by {_signal_name(-child.returncode)}")
    if child.returncode > 0:
        return Proof(failure=_reason(child.stderr))
    try:
        said = json.loads(child.stdout)
        names = tuple(str(device["description"]) for device in said["devices"])
        return Proof(failure=None, devices=names, system_info=str(said["system_info"]))
    except (ValueError, KeyError, TypeError):
        return Proof(failure="its answer makes no sense")


def _reason(stderr: bytes) -> str:
    """The last line that a failed child wrote: an exception's, or its own."""
    lines = stderr.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "it failed in silence")
    if last.startswith("olmkit."):
        last = last.partition(": ")[2]  # the class of an exception of ours
    return last[:_MOST_REASON_LETTERS]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
