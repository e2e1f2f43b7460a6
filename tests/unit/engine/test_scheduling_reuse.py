from typing import Any

import msgspec
import pytest

from olmkit.engine.runner.protocol import LoadOptions
from olmkit.engine.scheduling.reuse import can_serve

HAS = LoadOptions(context_tokens=4096, sequences=4, batch_tokens=512, gpu_layers=20, threads=2)


def serves(has: LoadOptions, **wants: Any) -> bool:
    options = msgspec.structs.replace(LoadOptions(context_tokens=4096), **wants)
    return can_serve(has, options, context_tokens=4096, trained_context_tokens=8192)


@pytest.mark.parametrize(
    "wants",
    [
        {},
        {"context_tokens": 0},
        {"context_tokens": 100},
        {"sequences": 1},
        {"batch_tokens": 64},
        {"gpu_layers": -1},
        {"gpu_layers": 20},
        {"threads": 2},
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


def test_a_model_loaded_for_embeddings_gives_no_text() -> None:
    embedding = msgspec.structs.replace(HAS, embedding=True)
    assert serves(embedding, embedding=True)
    assert not serves(embedding)


def test_more_than_was_trained_is_wanted_by_nobody() -> None:
    wants = LoadOptions(context_tokens=100_000)
    assert can_serve(HAS, wants, context_tokens=4096, trained_context_tokens=4096)
    assert not can_serve(HAS, wants, context_tokens=4096, trained_context_tokens=8192)
    assert not can_serve(HAS, wants, context_tokens=4096, trained_context_tokens=0)
