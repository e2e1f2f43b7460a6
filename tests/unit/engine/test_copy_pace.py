"""Whether a copy of what the KV pool holds is worth its time."""

from olmkit.engine.runner.promptcache.parked import CHEAP_NS, TRIED_AGAIN_AFTER, CopyPace

MS = 1_000_000


def test_the_first_copy_is_made_to_be_measured() -> None:
    assert CopyPace().is_worth(1000, 1, now_ns=0)


def test_a_copy_that_takes_a_good_part_of_computing_is_left_out() -> None:
    pace = CopyPace()
    pace.record(300, 200 * MS, now_ns=0)
    assert not pace.is_worth(300, 300 * MS, now_ns=1)
    assert pace.is_worth(300, 5000 * MS, now_ns=1)
    assert pace.is_worth(300, None, now_ns=1)


def test_a_cheap_copy_is_always_made() -> None:
    pace = CopyPace()
    pace.record(100, CHEAP_NS, now_ns=0)
    assert pace.is_worth(100, 1, now_ns=1)


def test_a_dear_copy_is_tried_again_in_proportion_to_what_it_takes() -> None:
    pace = CopyPace()
    pace.record(300, 200 * MS, now_ns=1000 * MS)
    again_ns = (1000 + TRIED_AGAIN_AFTER * 200) * MS
    assert not pace.is_worth(300, 30 * MS, now_ns=again_ns - 1)
    assert pace.is_worth(300, 30 * MS, now_ns=again_ns)


def test_many_idle_prompts_are_looked_at_and_none_is_copied() -> None:
    pace = CopyPace()
    pace.record(300, 100 * MS, now_ns=0)
    assert not any(pace.is_worth(300, 30 * MS, now_ns=at * MS) for at in range(1, 5000))
