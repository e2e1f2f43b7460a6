"""Layouts to try, one after the other, when reality is not what was planned. Pure.

A dry run tells what a layout really takes, a failed allocation that a device has less than it
said. Both are learned, and another layout follows: never one that was tried before, never with
more layers on devices than the last one, so it ends and does not go back and forth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from olmkit.engine.planning.devicelayout import (
    Budget,
    ModelCost,
    Wish,
    bytes_by_device,
    choose_layout,
)
from olmkit.engine.runner.layouts import Layout

BACKOFF_PART: Final = 0.1
"""Of a device's memory, that is left alone after each allocation it refused."""


class Attempts:
    """The search for a layout of one model."""

    def __init__(self, cost: ModelCost, budgets: Sequence[Budget], wish: Wish) -> None:
        self._cost = cost
        self._budgets = {budget.device: budget for budget in budgets}
        self._wish = wish
        self._tried: set[Layout] = set()
        self._most_layers: int | None = None

    def next(self) -> Layout | None:
        """The best layout that was not tried; None: there is no other one."""
        budgets = list(self._budgets.values())
        while True:
            layout = choose_layout(self._cost, budgets, self._wish, most_layers=self._most_layers)
            if layout is None:
                return None
            if layout not in self._tried:
                self._tried.add(layout)
                return layout
            if layout.layers == 0:
                return None
            self._most_layers = layout.layers - 1

    def learn(self, layout: Layout, measured: Mapping[str, int]) -> dict[str, int]:
        """Take in what a dry run of `layout` says of each device.

        Returns:
            Bytes over the budget, by device; empty: the layout fits.
        """
        planned = bytes_by_device(self._cost, layout)
        learned = dict(self._cost.device_compute_bytes)
        for device, planned_bytes in planned.items():
            real_bytes = measured.get(device, planned_bytes)
            known_bytes = self._cost.compute_on(device)
            learned[device] = max(0, known_bytes + real_bytes - planned_bytes)
        self._cost = replace(self._cost, device_compute_bytes=learned)
        over = {
            device: excess
            for device in planned
            if (excess := measured.get(device, planned[device]) - self.free_bytes(device)) > 0
        }
        if over:
            self._most_layers = layout.layers
        return over

    def refuse(self, layout: Layout, device: str = "") -> None:
        """An allocation for `layout` failed on that device; empty: on any of its devices."""
        self._most_layers = layout.layers
        for name in [device] if device in self._budgets else [s.device for s in layout.shares]:
            if name in self._budgets:
                free_bytes = self._budgets[name].free_bytes
                less_bytes = free_bytes - max(1, int(free_bytes * BACKOFF_PART))
                self._budgets[name] = replace(self._budgets[name], free_bytes=max(0, less_bytes))

    def see(self, budgets: Sequence[Budget]) -> None:
        """What the devices may give by now: never more than was learned before; those that are no
        longer there, nothing."""
        seen = {budget.device: budget.free_bytes for budget in budgets}
        for name, budget in self._budgets.items():
            free_bytes = min(budget.free_bytes, seen.get(name, 0))
            self._budgets[name] = replace(budget, free_bytes=free_bytes)

    def free_bytes(self, device: str) -> int:
        """What the device may still give."""
        budget = self._budgets.get(device)
        return budget.free_bytes if budget else 0
