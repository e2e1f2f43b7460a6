"""LoRA adapters over one loaded model, chosen by each request.

llama.cpp applies one set of adapters to a whole step. So requests with the same set share steps,
and sets take turns: a few steps each, for changing the set costs about as much as a step. What a
prompt leaves in the cache is used by requests with the same set only, which has a number for that:
its variant of the model.
"""

from collections.abc import Callable, Sequence
from typing import Final

from olmkit.engine.runner.bindings import Adapter, Context
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.loadoptions import AdapterUse
from olmkit.engine.runner.protocol import FailureKind

AS_LOADED: Final = 0
"""The variant with the adapters that the model was loaded with, at full strength."""
MOST_ADAPTERS: Final = 64
"""Files that are loaded over one model; none is given back before the model is."""
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
    ) -> None:
        """`loaded`: the adapters that `context` has, with their paths; `load` reads another one,
        or raises RequestFailed."""
        self._load = load
        self._context = context
        self._adapters = dict(loaded)
        self._variants: dict[_Key, int] = {tuple((path, 1.0) for path, _ in loaded): AS_LOADED}
        self._current = AS_LOADED
        self._steps = 0
        """Of the current turn."""
        self._served: dict[int, int] = {}
        """When each variant had its last turn, counted in turns."""
        self._turns = 0

    def variant(self, uses: Sequence[AdapterUse] | None) -> int:
        """The number of a set; None: that of the load. Adapters that are new are loaded.

        Raises:
            RequestFailed: BAD_MODEL, one cannot be used; BAD_REQUEST, there are too many.
        """
        if uses is None:
            return AS_LOADED
        for use in uses:
            if use.scale and use.path not in self._adapters:
                if len(self._adapters) >= MOST_ADAPTERS:
                    raise RequestFailed(
                        FailureKind.BAD_REQUEST,
                        f"the model has {MOST_ADAPTERS} adapters loaded already",
                    )
                self._adapters[use.path] = self._load(use.path)
        key = tuple((use.path, use.scale) for use in uses if use.scale)
        return self._variants.setdefault(key, len(self._variants))

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
