"""Which layers of a model go to which device. Pure: the same question has the same answer.

Fewest devices first: one that takes the whole model, the freest of its kind; else as many as it
needs, with the load balanced in proportion to what is free; else the experts of a mixture stay in
main memory, from the first layer on; else as many of the last layers as fit, and the processor
computes the rest. Layers of a device are consecutive, filled from the last one (the output layer)
backwards, as llama.cpp wants them.

Source: llama.cpp, src/llama-model.cpp, load_tensors (what `tensor_split` and `n_gpu_layers` mean);
Ollama, https://github.com/ollama/ollama/blob/v0.17.4/llm/server.go, buildLayout and greedyFit.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from olmkit.engine.runner.layouts import DeviceShare, Layout, SplitMode

_BALANCE_STEPS: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """What a layer takes where it lies."""

    weights_bytes: int
    """All of its tensors, experts among them."""
    kv_bytes: int = 0
    expert_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """What a model takes, by what can be placed."""

    layers: tuple[LayerCost, ...]
    output_bytes: int
    """The output layer, which counts as one behind the others."""
    compute_bytes: int
    """Buffers of one step, on every device that has layers."""
    device_compute_bytes: Mapping[str, int] = field(default_factory=dict)
    """The same where a dry run has told it, by device."""

    def compute_on(self, device: str) -> int:
        """Buffers of one step on that device."""
        return self.device_compute_bytes.get(device, self.compute_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a device may give to this model."""

    device: str
    free_bytes: int
    rank: int = 0
    """Lower ones are preferred: cards of this machine, then other machines, then integrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for, beyond what is best."""

    layers: int = -1
    """On devices, the output layer among them; -1: all that fit."""
    main_device: str | None = None
    """Nothing goes to another one."""
    spread: bool = False
    """All devices take part, even where fewer would do."""
    kv_on_host: bool = False
    cpu_expert_layers: int | None = None
    """None: as few as possible."""
    split_mode: SplitMode = SplitMode.LAYER


def choose_layout(
    cost: ModelCost, budgets: Sequence[Budget], wish: Wish, *, most_layers: int | None = None
) -> Layout | None:
    """The layout that puts most layers on fewest devices, within every budget.

    `most_layers`: no more than so many go to devices, as an earlier attempt showed. None: the
    layers that `wish` names do not fit; without that there is always one, if only on the processor.
    """
    layers = len(cost.layers) + 1
    wanted = layers if wish.layers < 0 else min(wish.layers, layers)
    usable = [one for one in budgets if wish.main_device in (None, one.device)]
    most = wanted if most_layers is None else min(wanted, most_layers)
    if most:
        choices = _expert_choices(cost, wish)

        def shares_with(experts: int) -> list[DeviceShare]:
            units = _units(cost, wish, experts)[layers - most :]
            return _whole(cost, usable, units, spread=wish.spread)

        # The fewest experts in main memory with which the rest fits: what fits stays fitting.
        fewest = bisect_left(choices, True, key=lambda experts: bool(shares_with(experts)))
        if fewest < len(choices):
            experts = choices[fewest]
            return _layout(shares_with(experts), wish, experts)
    if wish.layers > 0:
        return None
    return _partial(cost, usable, wish, most)


def bytes_by_device(cost: ModelCost, layout: Layout) -> dict[str, int]:
    """What the layout takes of every device that it names."""
    wish = Wish(kv_on_host=layout.kv_on_host)
    units = _units(cost, wish, layout.cpu_expert_layers)
    begin = len(units) - layout.layers
    taken = {}
    for share in layout.shares:
        end = begin + share.layers
        taken[share.device] = sum(units[begin:end]) + cost.compute_on(share.device)
        begin = end
    return taken


def host_kv_bytes(cost: ModelCost, layout: Layout) -> int:
    """What of the KV cache the layout leaves in main memory."""
    on_host = len(cost.layers)
    if not layout.kv_on_host:
        on_host = max(0, on_host + 1 - layout.layers)
    return sum(layer.kv_bytes for layer in cost.layers[:on_host])


def _units(cost: ModelCost, wish: Wish, cpu_expert_layers: int) -> list[int]:
    """Bytes of every layer where it lies, the output layer behind them."""
    return [
        layer.weights_bytes
        - (layer.expert_bytes if index < cpu_expert_layers else 0)
        + (0 if wish.kv_on_host else layer.kv_bytes)
        for index, layer in enumerate(cost.layers)
    ] + [cost.output_bytes]


def _expert_choices(cost: ModelCost, wish: Wish) -> Sequence[int]:
    """Of how many layers the experts stay in main memory, in the order to try."""
    if wish.cpu_expert_layers is not None:
        return (min(wish.cpu_expert_layers, len(cost.layers)),)
    if not any(layer.expert_bytes for layer in cost.layers):
        return (0,)
    return range(len(cost.layers) + 1)


def _whole(
    cost: ModelCost, budgets: Sequence[Budget], units: Sequence[int], *, spread: bool
) -> list[DeviceShare]:
    """All units on devices, in the order of `budgets`; empty: they do not fit."""
    by_preference = sorted(
        range(len(budgets)), key=lambda i: (budgets[i].rank, -budgets[i].free_bytes, i)
    )
    if not spread:
        for index in by_preference:
            if shares := _packed(cost, [budgets[index]], units, 1.0):
                return shares
    smallest = len(budgets) if spread else 2
    for count in range(smallest, len(budgets) + 1):
        chosen = [budgets[index] for index in sorted(by_preference[:count])]
        if shares := _balanced(cost, chosen, units):
            return shares
    if spread and len(budgets) > 1:
        return _whole(cost, budgets, units, spread=False)
    return []


def _balanced(
    cost: ModelCost, budgets: Sequence[Budget], units: Sequence[int]
) -> list[DeviceShare]:
    """The units on these devices with the smallest part of each one's memory that will do."""
    best = _packed(cost, budgets, units, 1.0)
    if not best:
        return []
    low, high = 0.0, 1.0
    for _ in range(_BALANCE_STEPS):
        middle = (low + high) / 2
        if shares := _packed(cost, budgets, units, middle):
            best, high = shares, middle
        else:
            low = middle
    return best


def _packed(
    cost: ModelCost, budgets: Sequence[Budget], units: Sequence[int], part: float
) -> list[DeviceShare]:
    """Greedily, the last unit to the last device; empty: that part of their memory is too small."""
    left = len(units)
    shares: list[DeviceShare] = []
    for budget in reversed(budgets):
        room = int(budget.free_bytes * part) - cost.compute_on(budget.device)
        count = 0
        while left and units[left - 1] <= room:
            room -= units[left - 1]
            left -= 1
            count += 1
        if count:
            shares.insert(0, DeviceShare(device=budget.device, layers=count))
    return [] if left else shares


def _partial(cost: ModelCost, budgets: Sequence[Budget], wish: Wish, most: int) -> Layout:
    """As many of the last layers as fit; those before are the processor's.

    The experts of a mixture are in main memory by then: what is left of their layers is small.
    """
    experts = _expert_choices(cost, wish)[-1]
    units = _units(cost, wish, experts)
    for count in range(most, 0, -1):
        shares = _whole(cost, budgets, units[len(units) - count :], spread=wish.spread)
        if shares:
            return _layout(shares, wish, experts)
    return Layout(kv_on_host=wish.kv_on_host)


def _layout(shares: Sequence[DeviceShare], wish: Wish, experts: int) -> Layout:
    return Layout(
        shares=tuple(shares),
        cpu_expert_layers=experts,
        kv_on_host=wish.kv_on_host,
        split_mode=wish.split_mode if len(shares) > 1 else SplitMode.LAYER,
    )
