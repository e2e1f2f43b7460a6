"""How long contexts are: ten thousand random models, memories and wishes."""

import random

from olmkit.engine.planning.contexts import (
    DEFAULT_CONTEXT_TOKENS,
    ContextBy,
    choose_context_tokens,
    is_cheap,
    longer_context_tokens,
    search_context,
)
from olmkit.engine.runner.protocol import LoadOptions

CASES = 10_000
GIB = 2**30


def some_options(random_: random.Random) -> LoadOptions:
    sequences = random_.choice([1, 4, 8])
    return LoadOptions(
        context_tokens=random_.choice([0, 0, random_.randint(1, 200_000)]),
        least_context_tokens=random_.choice([0, 0, random_.randint(1, 100_000)]),
        sequences=sequences,
        contexts=random_.choice([1, 1, sequences]),
    )


def test_a_context_fits_or_is_the_least_and_is_never_longer_than_trained_or_asked() -> None:
    random_ = random.Random(5)
    seen: set[ContextBy] = set()
    longer = fewer = 0
    for _ in range(CASES):
        options = some_options(random_)
        trained = random_.choice([None, 512, 8192, 32_768, 131_072])
        card_bytes = random_.choice([0, 0, 24 * GIB, 80 * GIB])
        most, cheap_most = random_.randint(0, 1 << 20), random_.randint(0, 1 << 18)
        with_others_gone = most * random_.choice([1, 2])

        def chosen(**changes: bool) -> tuple[LoadOptions, ContextBy, tuple[str, ...]]:
            found = search_context(
                options,  # noqa: B023
                trained=trained,  # noqa: B023
                card_bytes=card_bytes,  # noqa: B023
                fits=lambda one: one.pool_tokens <= most,  # noqa: B023
                would_fit=lambda one: one.pool_tokens <= with_others_gone,  # noqa: B023
                is_cheap_beside=lambda _: lambda one: one.pool_tokens <= min(cheap_most, most),  # noqa: B023
                **changes,
            )
            return found.options, found.by, found.notes

        got, by, notes = chosen()
        assert chosen() == (got, by, notes)
        seen.add(by)
        tokens = got.context_tokens
        usual = choose_context_tokens(
            options.context_tokens, trained=trained, card_bytes=card_bytes
        )
        assert tokens <= (trained or usual)
        if options.context_tokens:
            assert tokens <= options.context_tokens
            if not options.least_context_tokens:
                assert tokens == usual
        elif not options.least_context_tokens:
            assert tokens >= min(DEFAULT_CONTEXT_TOKENS, usual)
        if tokens > usual:
            longer += 1
            assert got.pool_tokens <= min(cheap_most, most)
            assert by in (ContextBy.MEMORY, ContextBy.TRAINED)
        assert 1 <= got.contexts <= options.contexts
        if got.contexts < options.contexts:
            fewer += 1
            assert any("full contexts instead of" in note for note in notes)
            more = got.context_tokens * (got.contexts + 1)
            assert more > with_others_gone
        strict, _, _ = chosen(may_lessen=False)
        assert strict.contexts == options.contexts
    assert seen == set(ContextBy)
    assert min(longer, fewer) > CASES // 100


def test_more_memory_never_means_a_shorter_context() -> None:
    random_ = random.Random(6)
    for _ in range(2_000):
        token_bytes, weights_bytes = random_.randint(1, 1 << 18), random_.randint(1, 8 * GIB)
        trained = random_.choice([8192, 40_960, 131_072])
        free = sorted(random_.randint(0, 64 * GIB) for _ in range(2))

        def longest(free_bytes: int) -> int:
            return longer_context_tokens(
                DEFAULT_CONTEXT_TOKENS,
                trained=trained,  # noqa: B023
                is_cheap=lambda n: is_cheap(
                    {"CPU": n * token_bytes},  # noqa: B023
                    {"CPU": free_bytes - weights_bytes},  # noqa: B023
                    weights_bytes=weights_bytes,  # noqa: B023
                ),
            )

        less, more = map(longest, free)
        assert DEFAULT_CONTEXT_TOKENS <= less <= more <= trained
        if more > DEFAULT_CONTEXT_TOKENS:
            assert more * token_bytes * 8 <= free[1] - weights_bytes
            assert more * token_bytes * 2 <= weights_bytes


def test_a_context_that_costs_nothing_is_as_long_as_the_model_was_trained_on() -> None:
    assert longer_context_tokens(4096, trained=40_000, is_cheap=lambda _: True) == 40_000
    assert longer_context_tokens(4096, trained=None, is_cheap=lambda _: True) == 4096


def test_each_device_must_have_room_for_its_part() -> None:
    context = {"GPU0": 10, "GPU1": 10}
    assert is_cheap(context, {"GPU0": 80, "GPU1": 80}, weights_bytes=40)
    assert not is_cheap(context, {"GPU0": 80, "GPU1": 79}, weights_bytes=40)
    assert not is_cheap(context, {"GPU0": 80, "GPU1": 80}, weights_bytes=39)
