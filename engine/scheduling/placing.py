"""Where one model goes: fit → alloc, before its runner commits.

Devices are listed, a layout is chosen from the header's sizes and what others have claimed, a dry
run says what it takes exactly, an allocation shows that it is there; then the memory is claimed.
All of that happens for one model at a time, so that no two believe in the same free memory; the
load itself does not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from olmkit.engine.devices.enumeration import Found
from olmkit.engine.planning.ledger import HOST, Ledger
from olmkit.engine.planning.measuredcosts import MeasuredCosts
from olmkit.engine.runner.protocol import Buffer, LoadOptions
from olmkit.engine.scheduling.bringup import Loadable
from olmkit.engine.scheduling.modelplaces import Others, Placed, PlacingRules, Rehearsal
from olmkit.engine.scheduling.placesearch import PlaceSearch
from olmkit.engine.supervision.interface import Runner

ListDevices = Callable[[frozenset[str]], Awaitable[Found] | None]
"""The devices now, given those that our own runners use; None: there is nothing to ask."""


class Placer:
    """Places models, one at a time."""

    def __init__(
        self,
        rules: PlacingRules,
        *,
        list_devices: ListDevices | None,
        free_host_bytes: Callable[[], int],
        free_swap_bytes: Callable[[], int],
        costs: MeasuredCosts,
        engine: Callable[[], str] = lambda: "",
    ) -> None:
        """`list_devices` None: there is nothing but the processor."""
        self._rules = rules
        self._list_devices = list_devices
        self._free_host_bytes = free_host_bytes
        self._free_swap_bytes = free_swap_bytes
        self._costs = costs
        self._engine = engine
        self._lock = asyncio.Lock()
        self.ledger = Ledger()

    async def place(
        self,
        owner: int,
        spec: Loadable,
        options: LoadOptions,
        *,
        start: Callable[[], Awaitable[Runner]],
        others: Callable[[], Others] = Others,
        previous: Placed | None = None,
        rehearsal: Rehearsal | None = None,
    ) -> Placed:
        """The place of `spec`, claimed for `owner` unless it is a `rehearsal`.

        `start` gives the runner for the dry run, the same one each time; `others`: whose memory
        could be had; `previous`: where it was to go when an allocation failed.

        Raises:
            InvalidRequest: a device was named that is not there.
            OutOfMemory: not now, or not at all; `missing` tells what others would have to give up.
            ModelUnloadable, DeviceLost, RunnerDied: the dry run failed.
        """
        found, asked_at = Found(), self.ledger.now
        names_devices = rehearsal is not None and bool(rehearsal.only)
        if self._list_devices is not None and (options.gpu_layers != 0 or names_devices):
            used = frozenset(
                name
                for one in self.ledger.all_owners()
                for name in self.ledger.taken_by(one)
                if name != HOST
            )
            if (listing := self._list_devices(used)) is not None:
                found, _ = await asyncio.gather(listing, start())
        async with self._lock:
            search = PlaceSearch(
                self,
                spec,
                options,
                found,
                owner,
                others(),
                rehearsal,
                asked_at=asked_at,
            )
            placed = await search.placed(start, previous)
            if rehearsal is None:
                self.ledger.claim(owner, placed.taken)
            return placed

    @property
    def rules(self) -> PlacingRules:
        """What the settings say."""
        return self._rules

    def free_host_bytes(self) -> int:
        """Main memory that nobody has claimed."""
        return self._free_host_bytes() - self.ledger.taken_bytes(HOST)

    def free_swap_bytes(self) -> int:
        """Swap space that is free."""
        return self._free_swap_bytes()

    def remembered(self, key: str) -> list[Buffer] | None:
        """What a load of that key took."""
        return self._costs.find(key)

    def remember(self, key: str, buffers: Sequence[Buffer]) -> None:
        """A load of that key takes as much, as far as a dry run tells."""
        self._costs.remember(key, buffers)

    def engine(self) -> str:
        """Which build of the engine runs."""
        return self._engine()
