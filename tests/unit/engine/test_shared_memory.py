"""Memory that a card shares with the processor: counted as both's, and given back as both's."""

from olmkit.engine.devices.inventory import Device
from olmkit.engine.planning.footprint import process_bytes
from olmkit.engine.runner.layouts import DeviceShare, Layout
from olmkit.engine.runner.protocol import Buffer, LoadOptions
from olmkit.engine.scheduling.modelplaces import Placed, settled
from support.memorymachine import loaded

MIB = 2**20
BUFFERS = [
    Buffer(device="CPU", weights_bytes=30 * MIB, compute_bytes=2 * MIB, repacked_bytes=10 * MIB),
    Buffer(device="GPU0", weights_bytes=50 * MIB, kv_bytes=20 * MIB),
]


def card(**fields: object) -> Device:
    known = {"backend": "Vulkan", "free_bytes": 900 * MIB, "total_bytes": 1000 * MIB} | fields
    return Device(name="GPU0", description="card", **known)  # type: ignore[arg-type]


def after_load(device: Device) -> tuple[dict[str, int], dict[str, int]]:
    placed = Placed(
        options=LoadOptions(context_tokens=512),
        layout=Layout(shares=(DeviceShare(device="GPU0", layers=3),)),
        taken={},
        devices=(device,),
    )
    return settled(placed, loaded(BUFFERS, context_tokens=512, vocabulary_tokens=1000))


def test_a_card_of_its_own_gives_back_what_it_has_and_main_memory_the_rest() -> None:
    claimed, given_back = after_load(card())
    assert claimed == {"CPU": 20 * MIB, "GPU0": 70 * MIB}  # repacked weights are no file's pages
    host_bytes = 32 * MIB + process_bytes(1000, uses_devices=True)
    assert given_back == {"CPU": host_bytes, "GPU0": 70 * MIB}


def test_what_an_integrated_card_has_comes_back_as_main_memory_too_and_is_claimed_once() -> None:
    claimed, given_back = after_load(card(is_integrated=True))
    assert claimed == {"CPU": 20 * MIB, "GPU0": 70 * MIB}
    host_bytes = 102 * MIB + process_bytes(1000, uses_devices=True)
    assert given_back == {"CPU": host_bytes, "GPU0": 70 * MIB}


def test_apples_cards_share_memory_though_they_are_called_discrete() -> None:
    assert card(backend="Metal").shares_memory
    assert card(is_integrated=True).shares_memory
    assert not card(backend="CUDA").shares_memory
