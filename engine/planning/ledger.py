"""Who has which memory: bytes by device over all models, those that still load included. Pure.

A driver shows free memory before a load has taken it and after a runner has given it back, each
with a delay. What was promised is therefore counted here, and whoever asks what is free gets the
smaller of both answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from olmkit.engine.devices.inventory import Device

HOST: Final = "CPU"
"""Main memory, among devices."""


@dataclass(slots=True, kw_only=True)
class _Claim:
    taken: dict[str, int]
    is_loading: bool
    """The driver may not show it yet."""


class Ledger:
    """Claims on memory, by owner."""

    def __init__(self) -> None:
        self._claims: dict[int, _Claim] = {}

    def claim(self, owner: int, taken: Mapping[str, int]) -> None:
        """`owner` is about to take that much of each device; replaces what it claimed before."""
        self._claims[owner] = _Claim(taken=dict(taken), is_loading=True)

    def settle(self, owner: int, taken: Mapping[str, int]) -> None:
        """`owner` has taken what it wants, and that is how much it is."""
        self._claims[owner] = _Claim(taken=dict(taken), is_loading=False)

    def release(self, owner: int) -> None:
        """`owner` has given all back. Harmless when repeated."""
        self._claims.pop(owner, None)

    def taken_by(self, owner: int) -> dict[str, int]:
        """What `owner` has or is about to have."""
        claim = self._claims.get(owner)
        return dict(claim.taken) if claim else {}

    def all_owners(self) -> set[int]:
        """All who have claimed something."""
        return set(self._claims)

    def taken_bytes(self, device: str, *, loading_only: bool = False) -> int:
        """What all owners have of a device."""
        return sum(
            claim.taken.get(device, 0)
            for claim in self._claims.values()
            if claim.is_loading or not loading_only
        )

    def owners(self, device: str) -> set[int]:
        """Those that have some of it."""
        return {owner for owner, claim in self._claims.items() if claim.taken.get(device)}

    def free_bytes(self, device: Device, *, overhead_bytes: int, leaving: set[int]) -> int:
        """What one more model may have of a device, if the owners `leaving` were gone.

        A server of another machine has one client, so with an owner it has nothing for others.
        """
        staying = self.owners(device.name) - leaving
        if device.is_remote and staying:
            return 0
        promised = loading = freed = 0
        for owner, claim in self._claims.items():
            size = claim.taken.get(device.name, 0)
            if owner in leaving:
                freed += 0 if claim.is_loading else size
            else:
                promised += size
                loading += size if claim.is_loading else 0
        shown_bytes = device.free_bytes + freed - loading
        left_bytes = device.total_bytes - promised - device.process_bytes
        own_bytes = device.growth_bytes + overhead_bytes
        return max(0, min(shown_bytes, left_bytes) - own_bytes)
