"""How large a batch is where nobody named one."""

import pytest

from olmkit.engine.devices.inventory import Device
from olmkit.engine.planning.batches import may_be_wide, with_batch
from olmkit.engine.runner.protocol import LoadOptions

GIB = 1 << 30


def card(backend: str, gibibytes: int) -> Device:
    size = gibibytes * GIB
    return Device(name="card", description="", backend=backend, free_bytes=size, total_bytes=size)


def test_a_batch_that_was_named_stays() -> None:
    left, named = (LoadOptions(context_tokens=1, batch_tokens=tokens) for tokens in (0, 64))
    assert with_batch(left).batch_tokens == 512
    assert with_batch(named) == named


@pytest.mark.parametrize(
    ("cards", "more_bytes", "is_wide"),
    [
        ([card("CUDA", 24)], GIB // 2, True),
        ([card("CUDA", 24)], GIB, False),
        ([card("CUDA", 80), card("CUDA", 24)], GIB, False),
        ([card("Vulkan", 24)], GIB // 2, False),
        ([], GIB // 2, False),
        ([card("RPC", 80)], GIB // 2, False),
    ],
)
def test_a_wide_batch_takes_little_of_cards_on_which_it_pays(
    cards: list[Device], more_bytes: int, is_wide: bool
) -> None:
    assert may_be_wide(cards, more_bytes) is is_wide
