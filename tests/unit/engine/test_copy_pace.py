"""Whether a copy of what the KV pool holds is worth its time."""

from olmkit.engine.runner.promptcache.parked import CHEAP_NS, TRIED_AGAIN_AFTER, CopyPace

MS = 1_000_000


def test_the_first_copy_is_made_to_be_measured() -> None:
    assert CopyPace().is_worth(1000, 1)


def test_a_copy_that_takes_a_good_part_of_computing_is_left_out() -> None:
    pace = CopyPace()
    pace.record(300, 200 * MS)
    assert not pace.is_worth(300, 300 * MS)
    assert pace.is_worth(300, 5000 * MS)
    assert pace.is_worth(300, None)


def test_a_cheap_copy_is_always_made() -> None:
    pace = CopyPace()
    pace.record(100, CHEAP_NS)
    assert pace.is_worth(100, 1)


def test_it_is_tried_again_at_times() -> None:
    pace = CopyPace()
    pace.record(300, 200 * MS)
    tries = [pace.is_worth(300, 30 * MS) for _ in range(2 * TRIED_AGAIN_AFTER)]
    assert tries.count(True) == 2
