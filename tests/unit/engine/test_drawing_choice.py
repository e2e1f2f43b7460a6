"""From how many requests on which way of drawing is used, told from times."""

import pytest

from olmkit.engine.runner.decoding.drawing.drawingchoice import DrawingTimes, choose
from olmkit.engine.runner.protocol import Drawing


def chosen(chain: int, shortlist: tuple[int, int] | None, threads: int | None) -> Drawing:
    one, several = shortlist or (None, None)
    return choose(
        DrawingTimes(
            chain_ns=chain,
            shortlist_ns=one,
            several_shortlist_ns=several,
            several_threads_ns=threads,
        )
    )


@pytest.mark.parametrize(
    ("chain", "shortlist", "threads", "shortlist_from", "threads_from"),
    [
        (100, None, None, None, None),
        (100, None, 399, None, None),
        (100, None, 390, None, None),
        (100, None, 200, None, 4),
        (100, (60, 240), None, 1, None),
        (100, (96, 384), None, None, None),
        (100, (130, 250), None, 2, None),
        (100, (190, 280), None, 3, None),
        (100, (900, 1050), None, None, None),
        (100, (150, 300), 120, 3, 4),
        (100, (290, 380), 120, None, 4),
        (100, (60, 240), 120, 1, 4),
    ],
)
def test_the_fastest_is_chosen(
    chain: int,
    shortlist: tuple[int, int] | None,
    threads: int | None,
    shortlist_from: int | None,
    threads_from: int | None,
) -> None:
    wanted = Drawing(shortlist_from=shortlist_from, threads_from=threads_from)
    assert chosen(chain, shortlist, threads) == wanted


def test_the_log_tells_what_was_timed() -> None:
    times = DrawingTimes(chain_ns=150_400, shortlist_ns=99_000, several_shortlist_ns=300_000)
    assert times.text == "a chain 150, a shortlist 99, 4 shortlists 300"
