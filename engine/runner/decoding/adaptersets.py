"""LoRA adapters and control vectors over one loaded model, chosen by each request.

llama.cpp applies one set of adapters to a whole step. So requests with the same set share steps,
and sets take turns: a few steps each, for changing the set costs about as much as a step. What a
prompt leaves in the cache is used by requests with the same set only, which has a number for that:
its variant of the model.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

from olmkit.engine.runner.bindings import Adapter, Context
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.loadoptions import AdapterUse
from olmkit.engine.runner.protocol import FailureKind

AS_LOADED: Final = 0
"""The variant with the adapters that the model was loaded with, at full strength."""
MOST_ADAPTERS: Final = 64
"""Files that are loaded over one model; for another, the one goes that was unused the longest."""
MOST_VARIANTS: Final = 256
"""Sets whose numbers are remembered, and with them what the cache holds of theirs."""
TURN_STEPS: Final = 8
"""Steps of one set while requests with another wait."""

_Key = tuple[tuple[str, float], ...]


class AdapterSets:
    """The sets of one model, and whose turn it is."""

    def __init__(
        self,
        context: Context,
        *,
        loaded: Sequence[tuple[str, Adapter]] = (),
        load: Callable[[str], Adapter],
        free: Callable[[Adapter], None],
    ) -> None:
        """`loaded`: the adapters that `context` has, with their paths; `load` reads another one,
        or raises RequestFailed; `free` gives it back."""
        self._load = load
        self._free = free
        self._context = context
        self._adapters = dict(loaded)
        """The one used last at the end, and so of the variants."""
        self._variants: dict[_Key, int] = {tuple((path, 1.0) for path, _ in loaded): AS_LOADED}
        self._newest = AS_LOADED
        """No number is given twice: what the cache holds of a forgotten set is nobody's."""
        self._current = AS_LOADED
        self._steps = 0
        """Of the current turn."""
        self._served: dict[int, int] = {}
        """When each variant had its last turn, counted in turns."""
        self._turns = 0

    def variant(self, uses: Sequence[AdapterUse] | None, *, in_use: Collection[int] = ()) -> int:
        """The number of a set; None: that of the load. Adapters that are new are loaded.

        `in_use`: the variants of all requests that have not ended yet; they stay.

        Raises:
            RequestFailed: BAD_MODEL, one cannot be used; BAD_REQUEST, there are too many.
        """
        if uses is None:
            return AS_LOADED
        key = tuple((use.path, use.scale) for use in uses if use.scale)
        kept = {*in_use, AS_LOADED, self._current}
        for path, _ in key:
            if path not in self._adapters:
                self._make_room(kept, key)
                self._adapters[path] = self._load(path)
            self._adapters[path] = self._adapters.pop(path)
        if key not in self._variants:
            self._newest += 1
            self._variants[key] = self._newest
        number = self._variants[key] = self._variants.pop(key)
        kept.add(number)
        if len(self._variants) > MOST_VARIANTS:
            idle = [one for one, known in self._variants.items() if known not in kept]
            for one in idle[: len(self._variants) - MOST_VARIANTS]:
                self._forget(one)
        return number

    def _make_room(self, kept: Collection[int], key: _Key) -> None:
        """Leaves room for an adapter: frees those unused the longest, of no variant in `kept` and
        not of the set `key` that is being loaded.
        """
        keys = [key, *(one for one, number in self._variants.items() if number in kept)]
        busy = {path for one in keys for path, _ in one}
        while len(self._adapters) >= MOST_ADAPTERS:
            path = next((path for path in self._adapters if path not in busy), None)
            if path is None:
                raise RequestFailed(
                    FailureKind.BAD_REQUEST,
                    f"{MOST_ADAPTERS} adapters of the model are in use already",
                )
            self._free(self._adapters.pop(path))
            for one in [one for one in self._variants if path in dict(one)]:
                self._forget(one)

    def _forget(self, key: _Key) -> None:
        self._served.pop(self._variants.pop(key), None)

    def take_turn(self, wanted: Sequence[int]) -> int:
        """The variant that the next step computes, of those that the running requests want.

        Raises:
            NativeError: llama.cpp refuses the set.
        """
        is_over = self._steps >= TURN_STEPS and any(one != self._current for one in wanted)
        if self._current not in wanted or is_over:
            others = [one for one in wanted if one != self._current]
            self._turns += 1
            self._served[self._current] = self._turns
            self._apply(min(others, key=lambda one: self._served.get(one, 0)))
        self._steps += 1
        return self._current

    def _apply(self, variant: int) -> None:
        key = next(key for key, number in self._variants.items() if number == variant)
        self._context.apply_adapters([(self._adapters[path], scale) for path, scale in key])
        self._current, self._steps = variant, 0
