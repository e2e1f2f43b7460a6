"""A card that has less than it said: the load goes on elsewhere, in a fresh runner."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from olmkit.engine.devices.inventory import Device
from olmkit.engine.errors import OutOfMemory
from support.pools import OPTIONS, PLENTY, Make, loads, open_pool, run, text_of

CARDS = [
    Device(
        name=f"GPU{number}",
        description="card",
        backend="Vulkan",
        free_bytes=PLENTY - number,
        total_bytes=PLENTY,
    )
    for number in range(2)
]


def test_a_load_that_a_card_refuses_goes_on_elsewhere(model: Make, log: Path) -> None:
    async def test() -> None:
        async with open_pool(devices=CARDS) as pool:
            async with pool.lease(model(fail_commits=1), OPTIONS) as lease:
                assert await text_of(lease) == "012"
            (instance,) = pool.instances()
            assert instance.devices.keys() == {"CPU", "GPU1"}
            assert instance.notes == ()
            assert loads(log) == 2

    run(test)


def test_at_last_the_processor_does_it_and_that_is_said(model: Make, log: Path) -> None:
    async def test() -> None:
        async with open_pool(devices=CARDS[:1]) as pool:
            async with pool.lease(model(fail_commits=1), OPTIONS) as lease:
                assert await text_of(lease) == "012"
            (instance,) = pool.instances()
            assert instance.devices.keys() == {"CPU"}
            assert "layers are on graphics cards" in instance.notes[0]
            assert loads(log) == 2

    run(test)


def test_a_model_that_must_be_on_cards_is_refused_then(model: Make, log: Path) -> None:
    async def test() -> None:
        options = msgspec.structs.replace(OPTIONS, require_gpu=True)
        async with open_pool(devices=CARDS[:1]) as pool:
            with pytest.raises(OutOfMemory, match="does not fit on the graphics cards"):
                async with pool.lease(model(fail_commits=1), options):
                    pass
            assert loads(log) == 1

    run(test)


def test_loads_end_though_every_device_refuses(model: Make, log: Path) -> None:
    async def test() -> None:
        async with open_pool(devices=CARDS) as pool:
            with pytest.raises(OutOfMemory, match="refused by every device"):
                async with pool.lease(model(fail_commits=99), OPTIONS):
                    pass
            assert loads(log) <= 4

    run(test)


def test_two_loads_at_once_share_no_memory(model: Make) -> None:
    """Each would fit alone on the freer card: the second one is told that the first has it."""
    small = [
        Device(
            name=card.name,
            description="card",
            backend="RPC",
            free_bytes=(1 << 24) - number,
            total_bytes=1 << 24,
        )
        for number, card in enumerate(CARDS)
    ]

    async def test() -> None:
        async with open_pool(devices=small) as pool:

            async def use(name: str) -> set[str]:
                async with pool.lease(model(name, load_s=0.1), OPTIONS):
                    infos = {one.name: one.devices for one in pool.instances()}
                    return infos[name].keys() - {"CPU"}

            first, second = await asyncio.gather(use("a"), use("b"))
            assert len(first) == len(second) == 1
            assert first != second

    run(test)
