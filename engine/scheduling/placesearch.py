"""The search for the place of one model, while nobody else looks for one: see `placing`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from olmkit.engine.devices.enumeration import Found
from olmkit.engine.devices.inventory import Device
from olmkit.engine.devices.selection import device_at, select_devices
from olmkit.engine.errors import DeviceLost, OutOfMemory
from olmkit.engine.planning.admission import (
    NEVER,
    MainMemoryRoom,
    check_memory,
    never_on_devices,
    note_of_swap,
    notes_of_layout,
    too_little_on_devices,
)
from olmkit.engine.planning.attempts import Attempts
from olmkit.engine.planning.batches import may_be_wide, widened, with_batch
from olmkit.engine.planning.contexts import (
    BARE_CONTEXT_TOKENS,
    MOST_CONTEXT_TOKENS,
    ChosenContext,
    ContextBy,
    is_cheap,
    largest_context_tokens,
    search_context,
    with_context,
)
from olmkit.engine.planning.devicelayout import (
    Budget,
    ModelCost,
    Wish,
    bytes_by_device,
    choose_layout,
    host_kv_bytes,
)
from olmkit.engine.planning.footprint import MemoryPlan, process_bytes
from olmkit.engine.planning.ledger import HOST
from olmkit.engine.planning.modelcosts import model_cost
from olmkit.engine.runner.layouts import Layout
from olmkit.engine.runner.protocol import Buffer, LoadOperation, LoadOptions
from olmkit.engine.scheduling import bringup
from olmkit.engine.scheduling.bringup import Loadable
from olmkit.engine.scheduling.dryruns import DryRuns, Measured
from olmkit.engine.scheduling.modelplaces import Others, Placed, Rehearsal
from olmkit.engine.scheduling.placement import bytes_by_name
from olmkit.engine.supervision.interface import Runner

if TYPE_CHECKING:
    from olmkit.engine.scheduling.placing import Placer

_MOST_DRY_RUNS: Final = 3
"""Of one search in main memory: what one tells of the sizes may be another context than before."""


class PlaceSearch:
    """The search for the place of one model, while nobody else looks for one."""

    def __init__(
        self,
        placer: "Placer",
        spec: Loadable,
        options: LoadOptions,
        found: Found,
        owner: int,
        others: Others,
        rehearsal: Rehearsal | None,
        *,
        asked_at: int,
    ) -> None:
        """`asked_at`: the ledger's time when `found` was asked for."""
        self._asked_at = asked_at
        self._rehearsal = rehearsal
        self._gone = set(rehearsal.gone) if rehearsal else set()
        self._placer, self._rules, self._ledger = placer, placer.rules, placer.ledger
        self._spec, self._options, self._devices = spec, with_batch(options), found.devices
        self._may_widen = not options.batch_tokens
        if rehearsal is not None and rehearsal.only:
            self._devices = select_devices(rehearsal.only, found.devices, problems=found.problems)
        self._beyond: dict[str, int] = {}
        """How much more a dry run found on a device than the header says."""
        self._dry_runs = DryRuns(placer, spec, self._devices)
        self._notes = list(found.problems)
        self._owner = owner
        self._context_by = ContextBy.ASKED
        names = {device.name for device in self._devices}
        self._give_back = {
            one: taken
            for one, taken in others.give_back.items()
            if one != owner and one not in self._gone
        }
        self._held_host_bytes = sum(taken.get(HOST, 0) for taken in self._give_back.values())
        self._are_loading = others.are_loading and rehearsal is None
        self._victims = [
            one for one in self._give_back if names & self._ledger.taken_by(one).keys()
        ]
        self._wish = Wish(
            layers=options.gpu_layers,
            main_device=self._main_device(found.devices),
            spread=self._rules.spread,
            kv_on_host=self._rules.kv_on_host,
            cpu_expert_layers=self._rules.cpu_expert_layers,
            split_mode=self._rules.split_mode,
        )

    async def placed(
        self, start: Callable[[], Awaitable[Runner]], previous: Placed | None
    ) -> Placed:
        """The place, or why there is none."""
        if not self._devices:
            return await self._on_host(start)
        if previous is not None:
            self._context_by = previous.context_by
            found = await self._proven(await start(), previous.options, previous)
            assert found is not None
            return found
        notes = tuple(self._notes)
        for dry_runs in range(1, _MOST_DRY_RUNS + 1):
            # What a dry run tells may mean a shorter context, or that others must leave.
            self._notes = [*notes]
            self._make_room(options := self._with_context())
            options = self._widened(options)
            may_learn = dry_runs < _MOST_DRY_RUNS
            found = await self._proven(await start(), options, None, may_learn=may_learn)
            if found is not None:
                return found
        raise AssertionError("the last search ends with a place or an error")

    # --- the processor alone ------------------------------------------------------------------

    async def _on_host(self, start: Callable[[], Awaitable[Runner]]) -> Placed:
        """The place in main memory, by a dry run with the context that it says is right."""
        if self._options.require_gpu:
            raise OutOfMemory(
                f"{self._spec.name} is to be on graphics cards only, and there is none",
                missing={HOST: NEVER},
                hint="run it without --require-gpu; `olm info` shows the devices",
            )
        free_bytes = self._free_host_bytes()
        dry_runs = 0
        # Off the loop: it reads files, and the model's own header decides how long it takes.
        chosen = await asyncio.to_thread(self._context_on_host, free_bytes, None)
        while True:
            dry_runs, options = dry_runs + 1, chosen.options
            measured = await self._dry_runs.measured(start, options, Layout())
            plan = self._dry_runs.host_plan(measured.buffers)
            beyond = plan.beyond(bringup.plan_for(self._spec, options))
            other = await asyncio.to_thread(self._context_on_host, free_bytes, beyond)
            if other.options == options or dry_runs == _MOST_DRY_RUNS:
                break
            chosen = other
        # A dry run takes a while, in which others may have taken memory.
        self._check_main_memory(plan, options, self._free_host_bytes())
        return Placed(
            options=options,
            context_by=chosen.by,
            largest_context_tokens=self._largest(
                options, lambda one: self._planned(one, beyond).total_bytes <= free_bytes
            ),
            layout=Layout(),
            taken={HOST: plan.total_bytes},
            buffers=measured.buffers,
            notes=(*self._notes, *chosen.notes),
            is_whole=False,
            key=measured.key,
        )

    def _context_on_host(self, free_bytes: int, beyond: MemoryPlan | None) -> ChosenContext:
        """The context by the header's sizes, corrected by what a dry run was `beyond` them."""

        def fits(options: LoadOptions) -> bool:
            return self._planned(options, beyond).total_bytes <= free_bytes

        def would_fit(options: LoadOptions) -> bool:
            needed_bytes = self._planned(options, beyond).total_bytes
            return needed_bytes <= free_bytes + self._held_host_bytes

        bare = self._planned(with_context(self._options, BARE_CONTEXT_TOKENS), beyond)

        def is_cheap_with(options: LoadOptions) -> bool:
            context = {HOST: self._planned(options, beyond).total_bytes - bare.total_bytes}
            left = {HOST: free_bytes - bare.total_bytes}
            return is_cheap(context, left, weights_bytes=self._spec.gguf.weights_bytes)

        return search_context(
            self._options,
            trained=self._trained,
            fits=fits,
            would_fit=would_fit,
            is_cheap_beside=lambda usual: is_cheap_with,
            may_lessen=not self._rules.refuses_less,
        )

    def _planned(self, options: LoadOptions, beyond: MemoryPlan | None) -> MemoryPlan:
        return bringup.plan_for(self._spec, options).corrected(beyond)

    def _check_main_memory(self, plan: MemoryPlan, options: LoadOptions, free_bytes: int) -> None:
        """Nothing where main memory has room, and a note where swap space must take a part.

        Raises:
            OutOfMemory: others must leave first, or there is no room at all.
        """
        room = MainMemoryRoom(
            free_bytes=free_bytes,
            held_bytes=self._held_host_bytes,
            may_be_freed=self._are_loading,
            swap_bytes=self._placer.free_swap_bytes(),
            may_swap=not self._rules.refuses_less,
        )
        if over_bytes := check_memory(self._spec.name, plan, options, room):
            self._notes.append(note_of_swap(over_bytes))

    # --- context and room ---------------------------------------------------------------------

    def _with_context(self) -> LoadOptions:
        """The options with the context that is wanted, or that is allowed and fits."""
        overhead_bytes = self._rules.overhead_bytes
        chosen = search_context(
            self._options,
            trained=self._trained,
            card_bytes=sum(device.total_bytes - overhead_bytes for device in self._devices),
            fits=lambda options: self._whole(options, ()) is not None,
            would_fit=lambda options: self._whole(options, self._victims) is not None,
            is_cheap_beside=self._is_cheap_beside,
            may_lessen=not self._rules.refuses_less,
        )
        self._context_by = chosen.by
        self._notes += chosen.notes
        return chosen.options

    def _is_cheap_beside(self, usual: LoadOptions) -> Callable[[LoadOptions], bool]:
        """Whether a longer context than usual takes little of each device, and moves nothing."""
        layout, bare = self._whole(usual, ()), self._cost(with_context(usual, BARE_CONTEXT_TOKENS))
        free = {one.device: one.free_bytes for one in self._budgets(())}
        free[HOST] = self._free_host_bytes()

        def is_cheap_with(options: LoadOptions) -> bool:
            longer = self._whole(options, ())
            if layout is None or longer is None or longer.devices != layout.devices:
                return False
            taken, bare_taken = self._split(self._cost(options), longer), self._split(bare, longer)
            return is_cheap(
                {name: size - bare_taken[name] for name, size in taken.items()},
                {name: free[name] - bare_taken[name] for name in taken},
                weights_bytes=self._spec.gguf.weights_bytes,
            )

        return is_cheap_with

    def _widened(self, options: LoadOptions) -> LoadOptions:
        """The options with a wide batch, where that is left to olm, pays and fits as well."""
        wide = widened(options)
        if (layout := self._whole(wide, ()) if self._may_widen else None) is None:
            return options
        more_bytes = self._cost(wide).compute_bytes - self._cost(options).compute_bytes
        cards = [device for device in self._devices if device.name in layout.devices]
        return wide if may_be_wide(cards, more_bytes) else options

    def _split(self, cost: ModelCost, layout: Layout) -> dict[str, int]:
        """Bytes by device, of main memory those of the KV cache."""
        return {**bytes_by_device(cost, layout), HOST: host_kv_bytes(cost, layout)}

    def _make_room(self, options: LoadOptions) -> None:
        """Nothing where the model can be placed now.

        Raises:
            OutOfMemory: others must leave first, or it may not be loaded with less.
        """
        if self._wish.layers == 0 or self._whole(options, ()) is not None:
            return
        first = self._victims
        for leaving in (*([one] for one in first), *(first[:n] for n in range(2, len(first) + 1))):
            layout = self._whole(options, leaving)
            if layout is not None:
                raise self._too_little(options, layout, leaving)
        if self._options.require_gpu or self._rules.refuses_less or self._wish.layers > 0:
            raise self._never(options)
        if first:
            taken: dict[str, int] = {}
            for owner in first:
                for name, size in self._ledger.taken_by(owner).items():
                    if name != HOST:
                        taken[name] = taken.get(name, 0) + size
            raise OutOfMemory(
                f"{self._spec.name} needs all of the cards, on which other models are loaded",
                missing=taken,
            )

    def _whole(self, options: LoadOptions, leaving: Sequence[int]) -> Layout | None:
        """A layout with all layers that were asked for on devices; None: they do not fit."""
        cost = self._cost(options)
        layout = choose_layout(cost, self._budgets(leaving), self._wish)
        if layout is None or not self._is_whole(layout):
            return None
        return layout

    def _cost(self, options: LoadOptions) -> ModelCost:
        """The header's sizes, corrected by what a dry run was beyond them."""
        cost = model_cost(self._spec.gguf, options, draft=self._spec.draft)
        learned = {name: max(0, cost.compute_bytes + more) for name, more in self._beyond.items()}
        return replace(cost, device_compute_bytes=learned)

    def _is_whole(self, layout: Layout) -> bool:
        wanted = (self._spec.gguf.block_count or 0) + 1
        if self._wish.layers >= 0:
            wanted = min(wanted, self._wish.layers)
        asked_experts = self._wish.cpu_expert_layers or 0
        return layout.layers >= wanted and layout.cpu_expert_layers <= asked_experts

    def _free_host_bytes(self) -> int:
        freed_bytes = self._rehearsal.freed_host_bytes if self._rehearsal else 0
        return self._placer.free_host_bytes() + freed_bytes

    def _budgets(self, leaving: Sequence[int]) -> list[Budget]:
        gone = {*leaving, *self._gone, self._owner}
        # Those who leave give main memory back too, of which some cards have a part.
        given_back = (self._give_back.get(one, {}).get(HOST, 0) for one in leaving)
        host_bytes = self._free_host_bytes() + sum(given_back)
        budgets = []
        for device in self._devices:
            free_bytes = self._ledger.free_bytes(
                device,
                overhead_bytes=self._rules.overhead_bytes,
                leaving=gone,
                asked_at=self._asked_at,
            )
            if device.shares_memory:
                tokens = self._spec.gguf.vocabulary_tokens
                beside_bytes = process_bytes(tokens, uses_devices=True) + device.process_bytes
                free_bytes = max(0, min(free_bytes, host_bytes - beside_bytes))
            rank = 2 if device.is_integrated else 1 if device.is_remote else 0
            budgets.append(Budget(device=device.name, free_bytes=free_bytes, rank=rank))
        return budgets

    # --- fit and alloc ------------------------------------------------------------------------

    async def _proven(
        self,
        runner: Runner,
        options: LoadOptions,
        previous: Placed | None,
        *,
        may_learn: bool = False,
    ) -> Placed | None:
        """The first layout whose exact bytes fit, and that the devices give.

        None, where it `may_learn`: a dry run told other sizes than the header, by which the search
        is to begin again.
        """
        attempts = previous.attempts if previous else None
        if attempts is None:
            cost = self._cost(options)
            attempts = Attempts(cost, self._budgets(()), self._wish)
        else:
            attempts.see(self._budgets(()))
        while (layout := attempts.next()) is not None:
            if not self._is_whole(layout) and (
                self._options.require_gpu or self._rules.refuses_less
            ):
                break
            measured = await self._measured(runner, options, layout)
            buffers = measured.buffers
            sizes = bytes_by_name(buffers)
            over = attempts.learn(layout, sizes)
            if over and may_learn:
                for name, planned_bytes in bytes_by_device(self._cost(options), layout).items():
                    more_bytes = sizes.get(name, planned_bytes) - planned_bytes
                    self._beyond[name] = self._beyond.get(name, 0) + more_bytes
                return None
            if any(over.keys() & self._ledger.taken_by(one).keys() for one in self._victims):
                raise self._too_little(options, layout, self._victims, over=over)
            if over:
                continue
            proof = [one for one in buffers if one.device != HOST]
            try:
                if proof and self._rehearsal is None:
                    await runner.load(
                        self._spec.files, options, operation=LoadOperation.ALLOC, proof=proof
                    )
            except OutOfMemory as error:
                attempts.refuse(layout, error.device)
                continue
            return self._placed(options, layout, measured, attempts)
        if layout is None and previous is not None and not self._options.require_gpu:
            raise OutOfMemory(
                f"{self._spec.name} was refused by every device that it was tried on, and by main"
                " memory, though all said that there was room",
                missing={HOST: NEVER},
                hint="see what else takes memory, or use a smaller num_ctx or model",
            )
        raise self._never(options)

    async def _measured(self, runner: Runner, options: LoadOptions, layout: Layout) -> Measured:
        """What a dry run says; in a rehearsal of what others must leave, what the header says."""

        async def same() -> Runner:
            return runner

        try:
            return await self._dry_runs.measured(same, options, layout)
        except DeviceLost:
            if not self._gone:
                raise
            self._notes.append("sizes are from the file's header: a device is in use")
            needs = bytes_by_device(self._cost(options), layout)
            buffers = (Buffer(device=name, weights_bytes=size) for name, size in needs.items())
            return Measured(key="", buffers=tuple(buffers))

    def _placed(
        self,
        options: LoadOptions,
        layout: Layout,
        measured: Measured,
        attempts: Attempts,
    ) -> Placed:
        plan = self._dry_runs.host_plan(measured.buffers)
        self._check_main_memory(plan, options, self._free_host_bytes())
        is_whole = self._is_whole(layout)
        if not is_whole:
            self._notes += notes_of_layout(layout, layers=(self._spec.gguf.block_count or 0) + 1)
        largest = 0
        if is_whole:
            largest = self._largest(options, lambda one: self._whole(one, ()) is not None)
        return Placed(
            options=options,
            context_by=self._context_by,
            largest_context_tokens=largest,
            layout=layout,
            taken=self._dry_runs.taken(measured.buffers, plan),
            buffers=measured.buffers,
            devices=self._devices,
            notes=tuple(self._notes),
            is_whole=is_whole,
            key=measured.key,
            attempts=attempts,
        )

    def _largest(self, options: LoadOptions, fits: Callable[[LoadOptions], bool]) -> int:
        """The longest context that fits, at most what was trained; only a rehearsal asks."""
        most, tokens = self._trained or MOST_CONTEXT_TOKENS, options.context_tokens
        if self._rehearsal is None or most < tokens:
            return 0 if self._rehearsal is None else tokens
        longest = largest_context_tokens(
            lambda n: fits(with_context(options, n)), least=tokens, most=most
        )
        return longest or tokens

    # --- words --------------------------------------------------------------------------------

    def _too_little(
        self,
        options: LoadOptions,
        layout: Layout,
        leaving: Sequence[int],
        *,
        over: Mapping[str, int] | None = None,
    ) -> OutOfMemory:
        """The error of a layout for which some must go; `over`: bytes that a dry run found."""
        needs = bytes_by_device(self._cost(options), layout)
        free = {one.device: one.free_bytes for one in self._budgets(())}
        short = over or {name: need - free[name] for name, need in needs.items()}
        missing = {}
        for name, size in short.items():
            # Their end gives back more than they took where a device has one client at a time.
            taken = sum(self._ledger.taken_by(one).get(name, 0) for one in leaving)
            if min(size, taken) > 0:
                missing[name] = min(size, taken)
        return too_little_on_devices(self._spec.name, needs, missing)

    def _never(self, options: LoadOptions) -> OutOfMemory:
        """The error of a model that does not fit as it was asked for, whoever leaves."""
        cost = self._cost(options)
        layers = sum(one.weights_bytes + one.kv_bytes for one in cost.layers)
        return never_on_devices(
            self._spec.name,
            options,
            layers=self._wish.layers,
            needed_bytes=layers + cost.output_bytes + cost.compute_bytes,
            free_bytes=sum(one.free_bytes for one in self._budgets(self._victims)),
        )

    @property
    def _trained(self) -> int | None:
        return self._spec.gguf.context_length

    def _main_device(self, devices: Sequence[Device]) -> str | None:
        """The name of the device that `main_gpu` counts to, among all `devices`.

        Raises:
            InvalidRequest: there are not so many.
        """
        number = self._options.main_gpu
        if number is None or not self._devices:
            return None
        return device_at(number, devices, field="main_gpu").name
