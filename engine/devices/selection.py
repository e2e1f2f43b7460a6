"""Devices by what people call them: a name, a UUID or a number. Pure."""

from collections.abc import Iterable, Sequence
from typing import Final

from olmkit.engine.devices.inventory import Device
from olmkit.engine.errors import InvalidRequest

PROCESSOR: Final = "cpu"
"""Names main memory, which has no number."""
MOST_SHOWN: Final = 80
"""Characters of a name that is not known, in the error."""


def select_devices(
    wanted: Iterable[str], devices: Sequence[Device], *, problems: Iterable[str] = ()
) -> tuple[Device, ...]:
    """Those of the devices that are wanted, in the engine's order; none for `cpu` alone.

    Names and UUIDs are read in either case; numbers count from 0 on, as `main_gpu` does.
    `problems`: why there may be fewer than there should.

    Raises:
        InvalidRequest: there is no such device; the hint tells which there are.
    """
    chosen: set[str] = set()
    for text in wanted:
        if text.lower() != PROCESSOR:
            chosen.add(_selected(text, devices, field="devices", problems=problems).name)
    return tuple(device for device in devices if device.name in chosen)


def device_at(number: int, devices: Sequence[Device], *, field: str) -> Device:
    """The device of that number.

    Raises:
        InvalidRequest: there are not so many.
    """
    return _selected(str(number), devices, field=field, begin=f'option "{field}": ')


def _selected(
    text: str,
    devices: Sequence[Device],
    *,
    field: str,
    problems: Iterable[str] = (),
    begin: str = "",
) -> Device:
    folded = text.lower()
    for device in devices:
        if folded == device.name.lower() or (device.uuid and folded == device.uuid.lower()):
            return device
    if text.isascii() and text.isdecimal() and len(text) < 5 and int(text) < len(devices):
        return devices[int(text)]
    listed = "; ".join(_described(number, device) for number, device in enumerate(devices))
    there = f"there are {PROCESSOR}; {listed}" if listed else f"there is only {PROCESSOR}"
    raise InvalidRequest(
        f"{begin}there is no device '{text[:MOST_SHOWN]}'",
        field=field,
        hint="; ".join([there, *problems]),
    )


def _described(number: int, device: Device) -> str:
    names = [device.name, device.uuid] if device.uuid else [device.name]
    return f"{number}: {' or '.join(names)}"
