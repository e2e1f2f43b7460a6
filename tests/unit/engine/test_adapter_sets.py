"""Which adapters lie over a model, and the numbers of their sets."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from olmkit.engine.runner.decoding.adaptersets import (
    AS_LOADED,
    MOST_ADAPTERS,
    MOST_VARIANTS,
    AdapterSets,
)
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.loadoptions import AdapterUse


class Files:
    """Adapters that are their own paths; real ones: `tests/integration/test_runner_adapters.py`."""

    def __init__(self) -> None:
        self.loads: list[str] = []
        self.freed: list[str] = []
        self.applied: list[tuple[str, float]] = []
        self.sets = AdapterSets(cast(Any, self), load=self.load, free=self.free)

    def load(self, path: str) -> Any:
        self.loads.append(path)
        return path

    def free(self, adapter: Any) -> None:
        assert adapter not in dict(self.applied), "a context computes with it"
        self.freed.append(adapter)

    def apply_adapters(self, adapters: Sequence[tuple[str, float]]) -> None:
        self.applied = list(adapters)

    def variant(self, path: str, *, scale: float = 1.0, in_use: Sequence[int] = ()) -> int:
        return self.sets.variant([AdapterUse(path=path, scale=scale)], in_use=in_use)


@pytest.fixture
def files() -> Files:
    return Files()


def test_the_adapter_unused_the_longest_goes_for_another(files: Files) -> None:
    first = files.variant("0")
    for number in range(1, MOST_ADAPTERS):
        files.variant(str(number))
    assert files.variant("0") == first
    files.variant("another")
    assert files.freed == ["1"]
    assert files.variant("0") == first
    files.variant("1")
    assert files.freed == ["1", "2"]
    assert files.loads.count("1") == 2


def test_adapters_of_requests_and_of_the_last_step_stay(files: Files) -> None:
    stepped, running = files.variant("stepped"), files.variant("running")
    assert files.sets.take_turn([stepped]) == stepped
    for number in range(2 * MOST_ADAPTERS):
        files.variant(str(number), in_use=[running])
    assert not {"stepped", "running"} & set(files.freed)
    assert files.sets.take_turn([running]) == running
    assert files.applied == [("running", 1.0)]


def test_more_than_all_at_once_are_refused(files: Files) -> None:
    in_use = [files.variant(str(number)) for number in range(MOST_ADAPTERS)]
    with pytest.raises(RequestFailed, match="64 adapters of the model are in use already"):
        files.variant("another", in_use=in_use)
    files.variant("another", in_use=in_use[1:])
    assert files.freed == ["0"]


def test_a_number_is_never_given_twice(files: Files) -> None:
    """What the cache holds under it must not be another set's."""
    kept = files.variant("kept")
    scales = [1 / scale for scale in range(1, 2 * MOST_VARIANTS)]
    numbers = [files.variant("x", scale=scale, in_use=[kept]) for scale in scales]
    again = [files.variant("x", scale=scale, in_use=[kept]) for scale in scales]
    assert len({AS_LOADED, kept, *numbers, *again}) == 2 + 2 * len(scales)
    assert files.variant("x", scale=scales[-1]) == again[-1]
    assert files.variant("kept") == kept
    assert files.loads == ["kept", "x"]
