"""What one more model may have of a device, whatever the driver shows of the others yet."""

import random

from olmkit.engine.devices.enginesurvey import EngineDevice
from olmkit.engine.devices.inventory import Device, usable_devices
from olmkit.engine.planning.contexts import choose_context_tokens, largest_context_tokens
from olmkit.engine.planning.ledger import Ledger

GIB = 2**30


def card(free: int, total: int = 100, **fields: object) -> Device:
    known = {"name": "GPU0", "description": "card", "backend": "Vulkan"} | fields
    return Device(free_bytes=free, total_bytes=total, **known)  # type: ignore[arg-type]


def free(ledger: Ledger, device: Device, *leaving: int, overhead_bytes: int = 0) -> int:
    return ledger.free_bytes(device, overhead_bytes=overhead_bytes, leaving=set(leaving))


def test_a_load_under_way_is_counted_though_the_driver_does_not_show_it() -> None:
    ledger = Ledger()
    ledger.claim(1, {"GPU0": 60})
    assert free(ledger, card(100)) == 40
    ledger.settle(1, {"GPU0": 60})
    assert free(ledger, card(40)) == 40


def test_what_a_runner_has_given_back_is_not_free_before_the_driver_says_so() -> None:
    ledger = Ledger()
    ledger.settle(1, {"GPU0": 60})
    assert free(ledger, card(40), 1) == 100  # as it will be
    ledger.release(1)
    assert free(ledger, card(40)) == 40


def test_memory_of_other_programs_and_the_overhead_stay_theirs() -> None:
    ledger = Ledger()
    ledger.settle(1, {"GPU0": 20})
    assert free(ledger, card(30), overhead_bytes=10) == 20


def test_a_server_of_another_machine_has_one_client() -> None:
    ledger = Ledger()
    remote = card(100, name="RPC[h:1]", backend="RPC")
    ledger.settle(1, {"RPC[h:1]": 10})
    assert free(ledger, remote) == 0
    assert free(ledger, remote, 1) > 0


def test_two_owners_never_get_more_than_there_is() -> None:
    random_ = random.Random(4)
    for _ in range(10_000):
        ledger, total, really = Ledger(), 1000, 0
        for owner in range(random_.randint(1, 6)):
            # The driver shows any part of what was taken.
            shown = total - random_.randint(0, really)
            room = free(ledger, card(shown, total))
            size = random_.randint(0, room)
            ledger.claim(owner, {"GPU0": size})
            really += size
            assert really <= total
            if random_.random() < 0.3:
                ledger.release(owner)
                really -= size


def engine_device(name: str, **fields: object) -> EngineDevice:
    known = {
        "description": "",
        "kind": "gpu",
        "free_bytes": 1,
        "total_bytes": 2,
        "backend": "CUDA",
    } | fields
    return EngineDevice(name=name, **known)  # type: ignore[arg-type]


def names(*found: EngineDevice) -> list[str]:
    return [device.name for device in usable_devices(found)]


def test_a_card_that_two_backends_offer_counts_once() -> None:
    cuda = engine_device("CUDA0", bus_id="0000:01:00.0")
    vulkan = engine_device("Vulkan0", backend="Vulkan", bus_id="0000:01:00.0")
    assert names(cuda, vulkan) == ["CUDA0"]


def test_integrated_cards_count_only_where_there_is_no_other() -> None:
    shared = engine_device("Vulkan0", kind="integrated_gpu", backend="Vulkan", bus_id="0:2")
    again = engine_device("SYCL0", kind="integrated_gpu", backend="SYCL", bus_id="0:2")
    other = engine_device("SYCL1", kind="integrated_gpu", backend="SYCL", bus_id="0:3")
    assert names(shared, again, other) == ["Vulkan0"]
    assert names(shared, engine_device("CUDA0")) == ["CUDA0"]


def test_the_processor_and_cards_without_memory_are_no_place_for_layers() -> None:
    cpu = engine_device("CPU", kind="cpu", backend="CPU")
    blas = engine_device("BLAS", kind="accelerator", backend="BLAS")
    assert names(cpu, blas, engine_device("CUDA0", free_bytes=0, total_bytes=0)) == []


def test_the_usual_context_grows_with_the_cards_up_to_what_was_trained() -> None:
    assert choose_context_tokens(0, trained=None) == 4096
    assert choose_context_tokens(0, trained=None, card_bytes=24 * GIB) == 32_768
    assert choose_context_tokens(0, trained=131_072, card_bytes=80 * GIB) == 131_072
    assert choose_context_tokens(9000, trained=8192, card_bytes=80 * GIB) == 8192


def test_the_largest_context_is_the_largest_step_that_fits() -> None:
    for limit in (4096, 4100, 5000, 8191, 8192):
        found = largest_context_tokens(lambda n, most=limit: n <= most, least=4096, most=8192)  # type: ignore[misc]
        assert found == (8192 if limit >= 8192 else 4096 + (limit - 4096) // 256 * 256)
    assert largest_context_tokens(lambda n: n < 4096, least=4096, most=8192) is None
