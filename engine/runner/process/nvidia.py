"""The identities of NVIDIA's cards, which ggml does not tell: by NVML, the driver's own library.

Source: NVML API reference, nvmlDeviceGetPciInfo_v3 and nvmlDeviceGetUUID.
"""

import ctypes
from typing import Final

_UUID_BYTES: Final = 96
_MOST_CARDS: Final = 64


class _PciInfo(ctypes.Structure):
    _fields_ = [
        ("legacy_bus_id", ctypes.c_char * 16),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("pci_device_id", ctypes.c_uint),
        ("pci_subsystem_id", ctypes.c_uint),
        ("bus_id", ctypes.c_char * 32),
    ]


def uuids_by_bus_id() -> dict[str, str]:
    """`GPU-…` by PCI address, `0000:c1:00.0`; empty where there is no such driver."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
        if nvml.nvmlInit_v2() != 0:
            return {}
        count = ctypes.c_uint()
        nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
        found = {}
        for index in range(min(count.value, _MOST_CARDS)):
            handle, pci = ctypes.c_void_p(), _PciInfo()
            uuid = ctypes.create_string_buffer(_UUID_BYTES)
            if (
                nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == 0
                and nvml.nvmlDeviceGetPciInfo_v3(handle, ctypes.byref(pci)) == 0
                and nvml.nvmlDeviceGetUUID(handle, uuid, _UUID_BYTES) == 0
            ):
                address = f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.0"
                found[address] = uuid.value.decode(errors="replace")
        return found
    except (OSError, AttributeError):
        return {}
