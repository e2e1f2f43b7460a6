"""Which cards and toolkits a machine has, and what is said of it."""

from pathlib import Path

import pytest

from olmkit.engine.install.accelerators import Accelerator, Machine, select
from olmkit.engine.install.refusal import InstallFailed


def _machine(root: Path, *programs: str, platform: str = "linux") -> Machine:
    """A machine whose files are under `root`, with these programs on its PATH."""
    for name in programs:
        path = root / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return Machine(root=root, platform=platform, environ={"PATH": str(root / "bin")})


def _add_card(root: Path, vendor: str, device_class: str = "0x030000") -> None:
    device = root / f"sys/bus/pci/devices/0000:0{vendor[-1]}:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{device_class}\n")


def _add_vulkan(root: Path) -> None:
    for header in ("usr/include/vulkan/vulkan.h", "usr/include/spirv/unified1/spirv.hpp"):
        (root / header).parent.mkdir(parents=True)
        (root / header).write_text("")


def test_no_card_means_the_processor_alone(tmp_path: Path) -> None:
    selection = select(None, _machine(tmp_path, "nvcc"))
    assert selection.accelerator is Accelerator.NONE
    assert selection.note == "no graphics card found, CPU only"


def test_an_nvidia_card_with_nvcc_means_cuda_for_that_card(tmp_path: Path) -> None:
    _add_card(tmp_path, "0x10de", "0x030200")
    selection = select(None, _machine(tmp_path, "nvcc"))
    assert selection.accelerator is Accelerator.CUDA
    assert selection.definitions == {
        "GGML_CUDA": "ON",
        "CMAKE_CUDA_COMPILER": str(tmp_path / "bin/nvcc"),
        "CMAKE_CUDA_ARCHITECTURES": "native",
    }
    assert selection.note == "an NVIDIA card and CUDA found"


def test_a_card_in_a_container_is_found_by_its_driver(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").write_text("")
    assert _machine(tmp_path).cards() == ["NVIDIA"]


def test_a_card_without_its_toolkit_says_what_to_install(tmp_path: Path) -> None:
    _add_card(tmp_path, "0x10de")
    selection = select(None, _machine(tmp_path))
    assert selection.accelerator is Accelerator.NONE
    assert "install the CUDA toolkit" in selection.note
    assert selection.note.endswith("then GPU=cuda")


@pytest.mark.parametrize("vendor", ["0x10de", "0x1002", "0x8086"])
def test_vulkan_serves_every_card_whose_own_toolkit_is_missing(tmp_path: Path, vendor: str) -> None:
    _add_card(tmp_path, vendor)
    _add_vulkan(tmp_path)
    selection = select(None, _machine(tmp_path, "glslc"))
    assert selection.accelerator is Accelerator.VULKAN
    assert selection.definitions == {"GGML_VULKAN": "ON"}


def test_an_amd_card_with_hipcc_means_rocm(tmp_path: Path) -> None:
    _add_card(tmp_path, "0x1002")
    assert select(None, _machine(tmp_path, "hipcc")).accelerator is Accelerator.ROCM


def test_devices_that_draw_nothing_are_no_cards(tmp_path: Path) -> None:
    _add_card(tmp_path, "0x8086", "0x020000")  # a network card
    assert _machine(tmp_path).cards() == []


def test_macos_means_metal(tmp_path: Path) -> None:
    assert select(None, _machine(tmp_path, platform="darwin")).accelerator is Accelerator.METAL


def test_what_is_asked_for_is_built_without_a_card_for_all_architectures(tmp_path: Path) -> None:
    selection = select(Accelerator.CUDA, _machine(tmp_path, "nvcc"))
    assert "CMAKE_CUDA_ARCHITECTURES" not in selection.definitions
    assert select(Accelerator.NONE, _machine(tmp_path)).definitions == {}


@pytest.mark.parametrize("wanted", [Accelerator.CUDA, Accelerator.ROCM, Accelerator.VULKAN])
def test_what_is_asked_for_and_cannot_be_built_is_refused(
    tmp_path: Path, wanted: Accelerator
) -> None:
    with pytest.raises(InstallFailed) as caught:
        select(wanted, _machine(tmp_path))
    assert "toolkit was not found" in str(caught.value)
    assert caught.value.hint.startswith("install ")
