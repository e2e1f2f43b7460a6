"""Layouts under ten thousand random models and machines, and searches under random failures."""

import random

import pytest

from olmkit.engine.planning.attempts import Attempts
from olmkit.engine.planning.devicelayout import (
    Budget,
    LayerCost,
    ModelCost,
    Wish,
    bytes_by_device,
    choose_layout,
)
from olmkit.engine.runner.layouts import Layout

CASES = 10_000


def some_model(random_: random.Random) -> ModelCost:
    layers = random_.randint(1, 40)
    is_mixture = random_.random() < 0.3
    weights = random_.randint(1, 500)
    varying = random_.random() < 0.5
    return ModelCost(
        layers=tuple(
            LayerCost(
                weights_bytes=(size := weights * (random_.randint(1, 3) if varying else 1)),
                kv_bytes=random_.choice([0, 1, 10, 200]),
                expert_bytes=size * 3 // 4 if is_mixture else 0,
            )
            for _ in range(layers)
        ),
        output_bytes=random_.randint(0, 1000),
        compute_bytes=random_.randint(0, 300),
    )


def some_budgets(random_: random.Random) -> list[Budget]:
    return [
        Budget(
            device=f"GPU{index}",
            free_bytes=random_.choice([0, 10, 500, 5000, 50_000]) * random_.randint(1, 3),
            rank=random_.choice([0, 0, 0, 1, 2]),
        )
        for index in range(random_.randint(0, 5))
    ]


def some_wish(random_: random.Random, layers: int) -> Wish:
    return Wish(
        layers=random_.choice([-1, -1, -1, 0, random_.randint(0, layers + 2)]),
        main_device=random_.choice([None, None, None, "GPU0", "GPU9"]),
        spread=random_.random() < 0.2,
        kv_on_host=random_.random() < 0.2,
        cpu_expert_layers=random_.choice([None, None, None, 0, 3, 99]),
    )


def check(cost: ModelCost, budgets: list[Budget], wish: Wish, layout: Layout) -> None:
    """All that must hold of any layout."""
    names = [budget.device for budget in budgets]
    used = [share.device for share in layout.shares]
    assert used == [name for name in names if name in used]  # the engine's order, each once
    assert all(share.layers > 0 for share in layout.shares)
    assert layout.layers <= len(cost.layers) + 1
    if wish.layers >= 0:
        assert layout.layers <= wish.layers
    if wish.main_device is not None:
        assert set(used) <= {wish.main_device}
    free = {budget.device: budget.free_bytes for budget in budgets}
    for device, size_bytes in bytes_by_device(cost, layout).items():
        assert size_bytes <= free[device]


def test_nothing_is_over_a_budget_and_the_same_question_has_the_same_answer() -> None:
    random_ = random.Random(1)
    whole = partial = several = 0
    for _ in range(CASES):
        cost, budgets = some_model(random_), some_budgets(random_)
        wish = some_wish(random_, len(cost.layers))
        layout = choose_layout(cost, budgets, wish)
        assert layout == choose_layout(cost, budgets, wish)
        if layout is None:
            assert wish.layers > 0
            continue
        check(cost, budgets, wish, layout)
        whole += layout.layers == len(cost.layers) + 1
        partial += 0 < layout.layers <= len(cost.layers)
        several += len(layout.shares) > 1
    assert min(whole, partial, several) > CASES // 50  # the cases are of all kinds


def test_a_device_that_takes_the_whole_model_is_enough() -> None:
    random_ = random.Random(2)
    for _ in range(2_000):
        cost, budgets = some_model(random_), some_budgets(random_)
        total = sum(one.weights_bytes + one.kv_bytes for one in cost.layers)
        total += cost.output_bytes + cost.compute_bytes
        layout = choose_layout(cost, budgets, Wish())
        assert layout is not None
        if any(budget.free_bytes >= total for budget in budgets):
            assert len(layout.shares) == 1
            assert layout.layers == len(cost.layers) + 1
            assert layout.cpu_expert_layers == 0


def test_more_memory_never_means_fewer_layers_on_devices() -> None:
    random_ = random.Random(3)
    for _ in range(2_000):
        cost, budgets = some_model(random_), some_budgets(random_)[:1]
        layout = choose_layout(cost, budgets, Wish(cpu_expert_layers=0))
        more = [Budget(device=one.device, free_bytes=one.free_bytes * 2) for one in budgets]
        larger = choose_layout(cost, more, Wish(cpu_expert_layers=0))
        assert layout is not None
        assert larger is not None
        assert larger.layers >= layout.layers


def test_experts_go_to_main_memory_before_whole_layers_do() -> None:
    layer = LayerCost(weights_bytes=100, expert_bytes=80)
    cost = ModelCost(layers=(layer,) * 10, output_bytes=10, compute_bytes=0)
    layout = choose_layout(cost, [Budget(device="GPU0", free_bytes=800)], Wish())
    assert layout is not None
    assert (layout.layers, layout.cpu_expert_layers) == (11, 3)


def test_equal_devices_that_need_each_other_get_equal_parts() -> None:
    cost = ModelCost(
        layers=(LayerCost(weights_bytes=100),) * 15, output_bytes=100, compute_bytes=10
    )
    budgets = [Budget(device=f"GPU{index}", free_bytes=1200) for index in range(3)]
    layout = choose_layout(cost, budgets, Wish())
    assert layout is not None
    assert [share.layers for share in layout.shares] == [8, 8]
    spread = choose_layout(cost, budgets, Wish(spread=True))
    assert spread is not None
    # Nobody has more than 6, which 16 layers on 3 devices need; the last ones are filled first.
    assert [share.layers for share in spread.shares] == [4, 6, 6]


@pytest.mark.parametrize("seed", range(20))
def test_a_search_ends_tries_nothing_twice_and_never_goes_back_to_more_layers(seed: int) -> None:
    random_ = random.Random(seed)
    for _ in range(CASES // 20):
        cost, budgets = some_model(random_), some_budgets(random_)
        wish = some_wish(random_, len(cost.layers))
        attempts = Attempts(cost, budgets, wish)
        tried: list[Layout] = []
        while (layout := attempts.next()) is not None:
            assert layout not in tried
            assert not tried or layout.layers <= tried[-1].layers
            tried.append(layout)
            if not layout.shares:
                break
            planned = bytes_by_device(cost, layout)
            if random_.random() < 0.5:
                real = {d: size + random_.randint(-50, 400) for d, size in planned.items()}
                if not attempts.learn(layout, real):
                    free = {budget.device: budget.free_bytes for budget in budgets}
                    assert all(size <= free[device] for device, size in real.items())
                    break
            else:
                attempts.refuse(layout, random_.choice([*planned, ""]))
        # Whatever goes wrong there is the processor, unless somebody named a number of layers.
        assert tried or wish.layers > 0
