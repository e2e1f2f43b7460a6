"""The engine as it describes itself, asked in a child process for a bounded time."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from olmkit.engine.safemode.decisions import reason_of, trouble_of

_MODULE: Final = "olmkit.engine.runner.process.survey"
_MOST_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDevice:
    """Something that the engine computes on."""

    name: str
    """llama.cpp's: `CPU`, `CUDA0`."""
    description: str
    kind: str
    """`cpu`, `gpu`, `integrated_gpu`, `accelerator`."""
    free_bytes: int
    total_bytes: int
    backend: str = ""
    """ggml's: `CUDA`, `Vulkan`, `RPC`."""
    bus_id: str = ""
    """The PCI address, where the backend tells it."""
    uuid: str = ""
    """The card's own name, which stays when cards are added or hidden; where the driver tells."""

    @property
    def is_card(self) -> bool:
        """Whether it is a graphics card of either kind."""
        return self.kind in ("gpu", "integrated_gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSurvey:
    """Answer of the engine: its devices and version, or why it gave none."""

    failure: str = ""
    """Completes "the engine …", where nothing did; else empty."""
    is_late: bool = False
    """There was no time to wait for more: the machine is busy, or a driver hangs."""
    llama_cpp: str = ""
    """Version of llama.cpp, as its libraries say."""
    system_info: str = ""
    """A line of what it was compiled for, or chose when it started."""
    devices: tuple[EngineDevice, ...] = ()
    problems: tuple[str, ...] = ()
    """One sentence for each device of another machine that cannot be used."""


class SurveyUnderWay:
    """A child that is asked; the caller does something else meanwhile."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._failure = ""
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environ,
                cwd="/",
            )
        except OSError as error:
            self._failure = f"was not started: {(error.strerror or str(error)).lower()}"

    def result(self, *, timeout_s: float) -> EngineSurvey:
        """What the child said; the child is gone afterwards. To be called once."""
        if self._child is None:
            return EngineSurvey(failure=self._failure)
        with self._child as child:
            try:
                out, errors = child.communicate(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                failure = f"did not answer within {timeout_s:.1f} s"
                return EngineSurvey(failure=failure, is_late=True)
            finally:
                child.kill()
        if child.returncode:
            tail = errors[-_MOST_BYTES:].decode(errors="replace")
            return EngineSurvey(failure=_death(child.returncode, tail))
        try:
            return _parsed(json.loads(out[:_MOST_BYTES]))
        except (ValueError, KeyError, TypeError):
            return EngineSurvey(failure="says what nobody understands")


def _death(status: int, tail: str) -> str:
    trouble = trouble_of(status, tail)
    if trouble is not None:
        return reason_of(trouble, tail)
    lines = [line for line in tail.splitlines() if line.strip()]
    end = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    return f"{end}: {lines[-1].strip()[:300]}" if lines else end


def _parsed(said: dict[str, Any]) -> EngineSurvey:
    return EngineSurvey(
        llama_cpp=str(said["llama_cpp"]),
        system_info=str(said["system_info"]),
        problems=tuple(map(str, said["problems"])),
        devices=tuple(
            EngineDevice(
                name=str(device["name"]),
                description=str(device["description"]),
                kind=str(device["kind"]),
                free_bytes=int(device["free_bytes"]),
                total_bytes=int(device["total_bytes"]),
                backend=str(device["backend"]),
                bus_id=str(device["bus_id"]),
                uuid=str(device["uuid"]),
            )
            for device in said["devices"]
        ),
    )
