from typing import Any

import msgspec
import pytest

from olmkit.engine.runner.protocol import LoadOptions
from olmkit.engine.scheduling.reuse import can_serve

HAS = LoadOptions(context_tokens=4096, sequences=4, batch_tokens=512)
NAMED = msgspec.structs.replace(HAS, gpu_layers=20, threads=2, main_gpu=0)
"""What somebody got who named layers, threads and a card."""


def serves(has: LoadOptions, **wants: Any) -> bool:
    options = msgspec.structs.replace(LoadOptions(context_tokens=4096), **wants)
    tokens = has.context_tokens or 4096
    return can_serve(has, options, context_tokens=tokens, trained_context_tokens=8192)


@pytest.mark.parametrize(
    "wants",
    [
        {},
        {"context_tokens": 0},
        {"context_tokens": 100},
        {"sequences": 1},
        {"batch_tokens": 64},
        {"gpu_layers": -1},
        {"threads": 0},
        {"use_mmap": None},
        {"embedding": True, "batch_tokens": 2048, "sequences": 8},
    ],
)
def test_what_is_there_serves_the_same_less_or_unsaid(wants: dict[str, Any]) -> None:
    assert serves(HAS, **wants)


@pytest.mark.parametrize(
    "wants",
    [
        {"context_tokens": 4097},
        {"sequences": 5},
        {"batch_tokens": 1024},
        {"gpu_layers": 21},
        {"threads": 4},
        {"main_gpu": 1},
        {"use_mmap": False},
        {"kv_cache_type": "q8_0"},
        {"flash_attention": False},
    ],
)
def test_what_is_there_does_not_serve_more_or_other(wants: dict[str, Any]) -> None:
    assert not serves(HAS, **wants)


def test_what_somebody_named_serves_who_names_the_same() -> None:
    assert serves(NAMED, gpu_layers=20, threads=2, main_gpu=0)


@pytest.mark.parametrize("name", ["gpu_layers", "threads", "main_gpu"])
def test_what_somebody_named_is_not_what_others_get_who_name_nothing(name: str) -> None:
    has = msgspec.structs.replace(HAS, **{name: 1})
    assert serves(has, **{name: 1})
    assert not serves(has)


@pytest.mark.parametrize("tokens", [64, 256, 4095])
def test_a_context_that_somebody_asked_for_is_not_the_automatic_one(tokens: int) -> None:
    short = msgspec.structs.replace(HAS, context_tokens=tokens)
    assert serves(short, context_tokens=tokens)
    assert not serves(short, context_tokens=0)


def test_an_automatic_context_is_at_most_what_was_trained() -> None:
    wants = LoadOptions(context_tokens=0)
    assert can_serve(HAS, wants, context_tokens=512, trained_context_tokens=512)
    assert not can_serve(HAS, wants, context_tokens=511, trained_context_tokens=512)


def test_a_model_loaded_for_embeddings_gives_no_text() -> None:
    embedding = msgspec.structs.replace(HAS, embedding=True)
    assert serves(embedding, embedding=True)
    assert not serves(embedding)


def test_more_than_was_trained_is_wanted_by_nobody() -> None:
    wants = LoadOptions(context_tokens=100_000)
    assert can_serve(HAS, wants, context_tokens=4096, trained_context_tokens=4096)
    assert not can_serve(HAS, wants, context_tokens=4096, trained_context_tokens=8192)
    assert not can_serve(HAS, wants, context_tokens=4096, trained_context_tokens=0)
