"""What `ps` says of where a model lies, from breakdowns that llama.cpp reported on real cards."""

from dataclasses import replace
from pathlib import Path

import pytest

from olmkit.engine.gguf.header import GgufHeader
from olmkit.engine.gguf.stream import Scalar
from olmkit.engine.gguf.tables import Tensor
from olmkit.engine.runner.protocol import Buffer
from olmkit.engine.scheduling.placement import placement_of

MIB = 1 << 20


def header(tensors: dict[str, int], **metadata: Scalar) -> GgufHeader:
    """A header with tensors of these sizes in MiB, one after the other."""
    rows, offset = [], 0
    for name, size in tensors.items():
        rows.append(
            Tensor(
                name=name,
                shape=(1,),
                type_name="Q4_K",
                offset_bytes=offset * MIB,
                size_bytes=size * MIB,
            )
        )
        offset += size
    return GgufHeader(
        path=Path("m.gguf"),
        name="m.gguf",
        version=3,
        metadata={"general.architecture": "llama", **metadata},
        tensors=tuple(rows),
        data_offset_bytes=0,
        size_bytes=offset * MIB,
    )


def buffer(device: str, weights: int, kv: int, compute: int) -> Buffer:
    return Buffer(
        device=device,
        weights_bytes=weights * MIB,
        kv_bytes=kv * MIB,
        compute_bytes=compute * MIB,
    )


# Llama 3 8B, Q4_K_M, context 8192: as llama.cpp 0c1e57098 reported on an H200.
LLAMA_8B = header({"token_embd.weight": 282, "blk.weight": 3993, "output.weight": 410})
WHOLE = [buffer("CPU", 282, 0, 18), buffer("CUDA0", 4403, 1024, 258)]
HALF = [buffer("CPU", 2395, 544, 18), buffer("CUDA0", 2290, 480, 258)]


def test_a_model_with_all_layers_on_a_card_is_wholly_there() -> None:
    placed = placement_of(WHOLE, LLAMA_8B)
    assert placed.total_bytes == placed.card_bytes == (4403 + 1024 + 258) * MIB


def test_layers_in_main_memory_count_with_all_that_is_there() -> None:
    placed = placement_of(HALF, LLAMA_8B)
    assert placed.card_bytes == (2290 + 480 + 258) * MIB
    assert placed.total_bytes == placed.card_bytes + (2395 + 544 + 18) * MIB


def test_an_output_layer_in_main_memory_is_a_layer_there() -> None:
    buffers = [buffer("CPU", 282 + 410, 0, 18), buffer("CUDA0", 3993, 1024, 258)]
    placed = placement_of(buffers, LLAMA_8B)
    assert placed.total_bytes > placed.card_bytes


def test_a_tied_output_layer_must_be_on_the_card_too() -> None:
    tied = header({"token_embd.weight": 100, "blk.weight": 300})
    on_card = [buffer("CPU", 100, 0, 1), buffer("CUDA0", 400, 10, 5)]
    on_host = [buffer("CPU", 100, 0, 1), buffer("CUDA0", 300, 10, 5)]
    assert placement_of(on_card, tied).total_bytes == placement_of(on_card, tied).card_bytes
    assert placement_of(on_host, tied).total_bytes > placement_of(on_host, tied).card_bytes


def test_an_encoder_has_no_output_layer() -> None:
    tensors = {"token_embd.weight": 23, "token_types.weight": 1, "blk.weight": 20}
    encoder = header(tensors, **{"llama.attention.causal": False})
    placed = placement_of([buffer("CPU", 24, 0, 2), buffer("CUDA0", 20, 0, 9)], encoder)
    assert placed.total_bytes == placed.card_bytes == 29 * MIB


def test_what_lies_between_two_mapped_input_tensors_is_mapped_with_them() -> None:
    apart = header({"token_embd.weight": 10, "output.weight": 5, "token_types.weight": 1})
    placed = placement_of([buffer("CPU", 16, 0, 0), buffer("CUDA0", 5, 1, 1)], apart)
    assert placed.total_bytes == placed.card_bytes


def test_several_cards_are_one_share() -> None:
    buffers = [
        buffer("CPU", 282, 0, 18),
        buffer("CUDA0", 2200, 512, 258),
        buffer("CUDA1", 2203, 512, 258),
    ]
    placed = placement_of(buffers, LLAMA_8B)
    assert placed.total_bytes == placed.card_bytes == (2200 + 2203 + 1024 + 516) * MIB


@pytest.mark.parametrize("buffers", [[], [buffer("CPU", 4685, 1024, 258)]])
def test_without_a_card_nothing_is_there(buffers: list[Buffer]) -> None:
    placed = placement_of(buffers, LLAMA_8B)
    assert placed.card_bytes == 0
    assert placed.total_bytes == sum(
        b.weights_bytes + b.kv_bytes + b.compute_bytes for b in buffers
    )


def test_a_small_model_with_a_tied_output_as_it_was_reported() -> None:
    """SmolLM2 with three layers, its embedding in Q4_0, llama.cpp 0c1e57098 on an H200."""
    exact = header({})
    tensors = tuple(
        Tensor(name=name, shape=(1,), type_name="Q4_0", offset_bytes=offset, size_bytes=size)
        for name, offset, size in (
            ("token_embd.weight", 0, 15925248),
            ("blk.weight", 15925248, 6651648),
        )
    )
    model = replace(exact, tensors=tensors, size_bytes=22576896)
    whole = [
        Buffer(device="CPU", weights_bytes=15925248, kv_bytes=0, compute_bytes=3420192),
        Buffer(device="CUDA0", weights_bytes=22584064, kv_bytes=2359296, compute_bytes=14035072),
    ]
    output_alone = [
        Buffer(device="CPU", weights_bytes=22574592, kv_bytes=2359296, compute_bytes=3420192),
        Buffer(device="CUDA0", weights_bytes=15927808, kv_bytes=0, compute_bytes=13739264),
    ]
    assert placement_of(whole, model).total_bytes == placement_of(whole, model).card_bytes
    assert placement_of(output_alone, model).total_bytes == 22574592 + 2359296 + 3420192 + (
        15927808 + 13739264
    )
