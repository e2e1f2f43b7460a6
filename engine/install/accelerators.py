"""Which graphics cards this machine has, and which of the toolkits that llama.cpp can be built for.

`auto` never fails: without a card, or with a card whose toolkit is missing, the engine is built for
the processor, and the note says why and what would change it.
"""

import enum
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from olmkit.engine.install.refusal import InstallFailed

_PCI_VENDORS: Final = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
_DISPLAY_CLASS: Final = "0x03"


class Accelerator(enum.StrEnum):
    """A toolkit that llama.cpp has a backend for; the values are those of `GPU=`."""

    NONE = "none"
    CUDA = "cuda"
    ROCM = "rocm"
    VULKAN = "vulkan"
    METAL = "metal"


TITLES: Final = {
    Accelerator.NONE: "CPU",
    Accelerator.CUDA: "CUDA",
    Accelerator.ROCM: "ROCm",
    Accelerator.VULKAN: "Vulkan",
    Accelerator.METAL: "Metal",
}
_PREFERRED: Final = {
    "NVIDIA": (Accelerator.CUDA, Accelerator.VULKAN),
    "AMD": (Accelerator.ROCM, Accelerator.VULKAN),
    "Intel": (Accelerator.VULKAN,),
}
_NEEDS: Final = {
    Accelerator.CUDA: "the CUDA toolkit (nvcc on PATH or in /usr/local/cuda/bin)",
    Accelerator.ROCM: "ROCm 6.1 or newer (hipcc on PATH or in /opt/rocm/bin)",
    Accelerator.VULKAN: "glslc and the headers of Vulkan and SPIR-V"
    " (Debian: glslc libvulkan-dev spirv-headers)",
    Accelerator.METAL: "macOS",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where to look; the defaults are this machine."""

    root: Path = Path("/")
    platform: str = sys.platform
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def cards(self) -> list[str]:
        """The vendors of the graphics cards here, each once: `NVIDIA`, `AMD`, `Intel`."""
        found = []
        # Containers and light virtual machines have the driver's files but no PCI tree.
        if self._exists("dev/nvidia0") or self._exists("proc/driver/nvidia/gpus"):
            found.append("NVIDIA")
        if self._exists("dev/kfd"):
            found.append("AMD")
        for device in sorted((self.root / "sys/bus/pci/devices").glob("*")):
            vendor = _PCI_VENDORS.get(_read(device / "vendor"))
            if vendor and _read(device / "class").startswith(_DISPLAY_CLASS):
                found.append(vendor)
        return list(dict.fromkeys(found))

    def find_toolkit(self, accelerator: Accelerator) -> dict[str, str] | None:
        """The CMake definitions that build for an accelerator; None where its toolkit is absent."""
        match accelerator:
            case Accelerator.METAL:
                return {"GGML_METAL": "ON"} if self.platform == "darwin" else None
            case Accelerator.CUDA:
                nvcc = self._program("nvcc", "CUDA_HOME", "CUDA_PATH", folder="usr/local/cuda")
                return {"GGML_CUDA": "ON", "CMAKE_CUDA_COMPILER": nvcc} if nvcc else None
            case Accelerator.ROCM:
                hipcc = self._program("hipcc", "ROCM_PATH", folder="opt/rocm")
                return {"GGML_HIP": "ON"} if hipcc else None
            case Accelerator.VULKAN:
                return {"GGML_VULKAN": "ON"} if self._has_vulkan() else None
        return {}

    def _has_vulkan(self) -> bool:
        if not self._program("glslc", "VULKAN_SDK"):
            return False
        folders = [self.root / "usr", self.root / "usr/local"]
        if sdk := self.environ.get("VULKAN_SDK"):
            folders.append(Path(sdk))
        parts = ("include/vulkan/vulkan.h", "include/spirv/unified1/spirv.hpp")
        return all(any((folder / part).exists() for folder in folders) for part in parts)

    def _program(self, name: str, *variables: str, folder: str | None = None) -> str | None:
        path = [str(Path(self.environ[one]) / "bin") for one in variables if one in self.environ]
        path.append(self.environ.get("PATH", ""))
        if folder:
            path.append(str(self.root / folder / "bin"))
        return shutil.which(name, path=os.pathsep.join(path))

    def _exists(self, path: str) -> bool:
        return (self.root / path).exists()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The accelerator to build for."""

    accelerator: Accelerator
    definitions: dict[str, str]
    """CMake's, without those of the processor."""
    note: str
    """What was found and decided, as one sentence; what is missing where something is."""


def select(wanted: Accelerator | None, machine: Machine) -> Selection:
    """The accelerator that was asked for; None: the best that this machine has.

    Raises:
        InstallFailed: the toolkit of the accelerator that was asked for is not there.
    """
    cards = machine.cards()
    if wanted is not None:
        definitions = machine.find_toolkit(wanted)
        if definitions is None:
            raise InstallFailed(
                f"{TITLES[wanted]} cannot be built for: its toolkit was not found",
                hint=f"install {_NEEDS[wanted]}, or choose GPU=none",
            )
        return _selection(wanted, definitions, cards, f"{TITLES[wanted]}, as asked for")
    if machine.platform == "darwin":
        definitions = machine.find_toolkit(Accelerator.METAL) or {}
        return _selection(Accelerator.METAL, definitions, cards, "macOS, so Metal")
    for vendor in cards:
        for accelerator in _PREFERRED[vendor]:
            definitions = machine.find_toolkit(accelerator)
            if definitions is not None:
                note = f"{_a(vendor)} card and {TITLES[accelerator]} found"
                return _selection(accelerator, definitions, cards, note)
    if not cards:
        return _selection(Accelerator.NONE, {}, cards, "no graphics card found, CPU only")
    vendor = cards[0]
    note = (
        f"{_a(vendor)} card is here but nothing to build for it with, CPU only;"
        f" install {_NEEDS[_PREFERRED[vendor][0]]}, then GPU={_PREFERRED[vendor][0]}"
    )
    return _selection(Accelerator.NONE, {}, cards, note)


def _selection(
    accelerator: Accelerator, definitions: dict[str, str], cards: list[str], note: str
) -> Selection:
    if accelerator is Accelerator.CUDA and "NVIDIA" in cards:
        # One architecture instead of all: minutes instead of most of an hour.
        definitions = definitions | {"CMAKE_CUDA_ARCHITECTURES": "native"}
    return Selection(accelerator=accelerator, definitions=definitions, note=note)


def _a(vendor: str) -> str:
    return f"{'a' if vendor[0] not in 'AIN' else 'an'} {vendor}"


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
