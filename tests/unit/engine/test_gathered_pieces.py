"""Which replies of a runner wait for others, and for how long."""

from olmkit.engine.runner.process.gathering import PAUSE_NS, GatheredPieces
from olmkit.engine.runner.protocol import Completed, EndReason, Piece, PromptRead


class Clock:
    def __init__(self) -> None:
        self.now_ns = PAUSE_NS

    def __call__(self) -> int:
        return self.now_ns


def piece(text: str) -> Piece:
    return Piece(id=1, text=text, tokens=[0])


READ = PromptRead(id=1, prompt_tokens=3, cached_tokens=0, tokens=[])
END = Completed(
    id=1,
    text="",
    reason=EndReason.STOP,
    stop_string=None,
    prompt_tokens=3,
    cached_tokens=0,
    prompt_ns=1,
    completion_tokens=4,
    completion_ns=1,
)


def test_pieces_leave_together_and_all_else_at_once() -> None:
    clock = Clock()
    gathered = GatheredPieces(clock)
    assert gathered.add([READ, piece("a")], goes_on=True) == [READ, piece("a")]
    clock.now_ns += PAUSE_NS // 2
    assert gathered.add([piece("b")], goes_on=True) == []
    assert gathered.add([], goes_on=True) == []
    clock.now_ns += PAUSE_NS // 2
    assert gathered.add([piece("c")], goes_on=True) == [piece("b"), piece("c")]
    assert gathered.add([piece("d")], goes_on=True) == []
    assert gathered.add([piece("e"), END], goes_on=True) == [piece("d"), piece("e"), END]


def test_nothing_waits_for_a_step_that_may_not_come_soon() -> None:
    clock = Clock()
    gathered = GatheredPieces(clock)
    assert gathered.add([piece("a")], goes_on=True) == [piece("a")]
    assert gathered.add([piece("b")], goes_on=True) == []
    assert gathered.take() == [piece("b")]
    assert gathered.take() == []
    assert gathered.add([piece("c")], goes_on=False) == [piece("c")]


def test_slow_steps_are_sent_one_by_one() -> None:
    clock = Clock()
    gathered = GatheredPieces(clock)
    for text in "abc":
        clock.now_ns += PAUSE_NS
        assert gathered.add([piece(text)], goes_on=True) == [piece(text)]
