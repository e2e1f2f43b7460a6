"""When a draft model's guesses pay, told by numbers alone."""

import itertools

from olmkit.engine.runner.speculation.draftpace import (
    FIRST_DEPTH,
    FIRST_PAUSE_STEPS,
    MOST_DEPTH,
    RECHECK_STEPS,
    TRIAL_STEPS,
    DraftDepth,
    DraftPace,
)

PLAIN_NS = 10_000


def run(pace: DraftPace, steps: int, *, ns: int, tokens: int, requests: int = 1) -> list[bool]:
    """Whether each of so many steps was drafted, where a drafted one takes `ns` for `tokens`."""
    drafted = []
    for _ in range(steps):
        drafted.append(pace.pays(requests))
        if drafted[-1]:
            pace.record(requests, ns, tokens, drafted=True)
        else:
            pace.record(requests, PLAIN_NS * requests, requests, drafted=False)
    return drafted


def test_plain_steps_are_measured_first_then_drafts() -> None:
    drafted = run(DraftPace(), 2 * TRIAL_STEPS, ns=1, tokens=1)
    assert drafted == [False] * TRIAL_STEPS + [True] * TRIAL_STEPS


def test_drafts_that_win_stay_and_plain_steps_are_measured_again_now_and_then() -> None:
    drafted = run(DraftPace(), RECHECK_STEPS + 4 * TRIAL_STEPS, ns=2 * PLAIN_NS, tokens=3)
    assert drafted.count(False) == 2 * TRIAL_STEPS
    assert drafted[-1]


def test_drafts_that_lose_rest_ever_longer() -> None:
    drafted = run(DraftPace(), 8 * FIRST_PAUSE_STEPS, ns=3 * PLAIN_NS, tokens=2)
    starts = [at for at in range(1, len(drafted)) if drafted[at] and not drafted[at - 1]]
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert drafted.count(True) == TRIAL_STEPS * len(starts)
    assert len(pauses) >= 2
    assert pauses[0] >= FIRST_PAUSE_STEPS
    assert pauses == sorted(pauses)
    assert pauses[1] >= 2 * FIRST_PAUSE_STEPS


def test_numbers_of_requests_are_judged_apart() -> None:
    pace = DraftPace()
    assert run(pace, 40, ns=PLAIN_NS, tokens=4)[-1]
    assert not run(pace, 40, ns=20 * PLAIN_NS, tokens=4, requests=4)[-1]
    assert pace.pays(1)
    assert not pace.pays(4)


def test_the_depth_of_a_request_follows_what_was_right() -> None:
    depth = DraftDepth()
    assert depth.tokens == FIRST_DEPTH
    for _ in range(10):
        depth.record(depth.tokens, depth.tokens)
    assert depth.tokens == MOST_DEPTH
    depth.record(16, 3)
    assert depth.tokens == 4
    depth.record(2, 2)  # one that its own doubt had ended
    assert depth.tokens == 4
    depth.record(4, 0)
    assert depth.tokens == 1
