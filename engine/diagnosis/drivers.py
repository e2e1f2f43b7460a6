"""The drivers of graphics cards, as the kernel tells of them: no driver is started for that."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 65536
_NVIDIA_VERSION: Final = re.compile(r"\b(\d{3}\.\d+(?:\.\d+)?)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """A driver in the kernel."""

    name: str
    """`nvidia`, `amdgpu`, `i915`."""
    version: str
    """Empty for those that come with the kernel."""
    cards: tuple[str, ...] = ()
    """Names of the cards that it says it has."""


def find_drivers(root: Path = Path("/")) -> tuple[Driver, ...]:
    """The drivers that are loaded; none where the system does not say.

    Source: NVIDIA, driver README, chapter on the /proc interface; Linux, sysfs(5), /sys/module.
    """
    found = []
    if text := _read(root / "proc/driver/nvidia/version"):
        match = _NVIDIA_VERSION.search(text)
        information = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
        names = (_field(_read(path), "Model") for path in information[:64])
        found.append(
            Driver(
                name="nvidia",
                version=match[1] if match else "",
                cards=tuple(name for name in names if name),
            )
        )
    for name in ("amdgpu", "i915", "xe"):
        if (root / "sys/module" / name).is_dir():
            version = _read(root / "sys/module" / name / "version").strip()
            found.append(Driver(name=name, version=version))
    return tuple(found)


def _field(text: str, name: str) -> str:
    for line in text.splitlines():
        before, colon, after = line.partition(":")
        if colon and before.strip() == name:
            return after.strip()
    return ""


def _read(path: Path) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MAX_BYTES)
    except OSError:
        return ""
