"""Devices by the names that people have for them."""

import pytest

from olmkit.engine.devices.inventory import Device
from olmkit.engine.devices.selection import device_at, select_devices
from olmkit.engine.errors import InvalidRequest


def device(name: str, uuid: str = "") -> Device:
    return Device(name=name, description="", backend="CUDA", free_bytes=1, total_bytes=2, uuid=uuid)


CARDS = (device("CUDA0", "GPU-0aB1"), device("CUDA1", "GPU-9c"), device("RPC[h:1]"))


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (["CUDA1"], ["CUDA1"]),
        (["cuda1", "CUDA1"], ["CUDA1"]),
        (["gpu-0ab1"], ["CUDA0"]),
        (["2", "0"], ["CUDA0", "RPC[h:1]"]),
        (["cpu"], []),
        (["CPU", "GPU-9c"], ["CUDA1"]),
    ],
)
def test_names_uuids_and_numbers_are_devices_in_the_engines_order(
    wanted: list[str], chosen: list[str]
) -> None:
    assert [one.name for one in select_devices(wanted, CARDS)] == chosen


@pytest.mark.parametrize("text", ["CUDA9", "3", "-1", "", "GPU-", "²", "CUDA", "9" * 400])
def test_what_is_no_device_is_an_error_that_lists_those_there_are(text: str) -> None:
    with pytest.raises(InvalidRequest, match="there is no device") as caught:
        select_devices(["CUDA0", text], CARDS)
    assert caught.value.field == "devices"
    assert len(str(caught.value)) < 120
    assert caught.value.hint == (
        "there are cpu; 0: CUDA0 or GPU-0aB1; 1: CUDA1 or GPU-9c; 2: RPC[h:1]"
    )


def test_why_devices_may_be_missing_is_said() -> None:
    with pytest.raises(InvalidRequest) as caught:
        select_devices(["CUDA0"], (), problems=["the driver hangs"])
    assert caught.value.hint == "there is only cpu; the driver hangs"


def test_the_number_of_a_device_is_its_place_in_that_list() -> None:
    assert device_at(1, CARDS, field="main_gpu").name == "CUDA1"
    with pytest.raises(InvalidRequest, match="there is no device '7'") as caught:
        device_at(7, CARDS, field="main_gpu")
    assert caught.value.field == "main_gpu"
