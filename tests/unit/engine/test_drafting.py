"""Which requests are guessed for before a step."""

from olmkit.engine.runner.decoding.sequences import Sequence
from olmkit.engine.runner.decoding.text.detokenizer import Detokenizer
from olmkit.engine.runner.decoding.text.settled import SettledTokens
from olmkit.engine.runner.decoding.text.stops import StopScanner
from olmkit.engine.runner.promptcache.slots import Slot
from olmkit.engine.runner.protocol import Completion
from olmkit.engine.runner.speculation.drafting import Drafting
from olmkit.engine.runner.speculation.promptlookup import FIRST_DEPTH, PromptLookup

TEXT = list(range(100, 200))
REPEATING = [*TEXT, 7, *TEXT[20:50]]


def answering(index: int, *, held: int) -> Sequence:
    """A request with some of its answer, all of which repeats its prompt."""
    return Sequence(
        request=Completion(id=index, prompt=TEXT),
        tokens=list(REPEATING),
        limit_tokens=1_000,
        most_tokens=1_000,
        kept_tokens=0,
        prompt_tokens=len(TEXT),
        told_tokens=[],
        dropped_tokens=0,
        detokenizer=Detokenizer(lambda _: b""),
        stops=StopScanner(()),
        settled=SettledTokens(),
        stop_tokens={},
        generated_tokens=len(REPEATING) - len(TEXT),
        lookup=PromptLookup(),
        slot=Slot(index=index, tokens=list(REPEATING), length=held),
    )


def test_nothing_is_guessed_behind_a_prefix_that_another_request_still_computes() -> None:
    """It may not get that prefix in the end, and then has more to read than its last token."""
    leader = answering(0, held=len(REPEATING) - 1)
    follower = answering(1, held=0)
    follower.leader, follower.common_tokens = leader, len(REPEATING) - 1
    assert follower.missing_tokens == 1
    Drafting(spare_outputs=64, drafter=None).guess(
        [leader, follower], room_tokens=1_000, threads=None
    )
    assert leader.draft == TEXT[50 : 50 + FIRST_DEPTH]
    assert follower.draft == []
