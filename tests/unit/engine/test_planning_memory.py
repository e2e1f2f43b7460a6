"""The formulas against what llama.cpp itself reports for real files."""

import os
from pathlib import Path
from typing import Any

import pytest

from olmkit.engine.errors import OutOfMemory
from olmkit.engine.gguf.header import GgufHeader, read_header
from olmkit.engine.gguf.tables import Value
from olmkit.engine.planning.admission import MainMemoryRoom, check_memory, note_of_swap
from olmkit.engine.planning.available import (
    available_bytes,
    available_swap_bytes,
    swapped_bytes,
)
from olmkit.engine.planning.contexts import choose_context_tokens
from olmkit.engine.planning.footprint import MemoryPlan, kv_cache_bytes, plan_memory
from olmkit.engine.planning.modelcosts import model_cost
from olmkit.engine.runner.protocol import LoadOptions
from support.cgrouptree import CgroupTree
from support.models import gemma3, smollm2

MIB = 2**20


def header(architecture: str, **values: Value) -> GgufHeader:
    own = {f"{architecture}.{key.replace('__', '.')}": value for key, value in values.items()}
    return GgufHeader(
        path=Path("m.gguf"),
        name="m",
        version=3,
        metadata={"general.architecture": architecture, **own},
        tensors=(),
        data_offset_bytes=0,
        size_bytes=0,
    )


# KV and compute as llama_get_memory_breakdown of llama.cpp 0c1e57098 gives them.
@pytest.mark.parametrize(
    ("context", "batch", "sequences", "kv_type", "kv_mib", "compute_mib"),
    [
        (4096, 512, 4, "f16", 90, 17.5),
        (8192, 512, 4, "f16", 180, 21.5),
        (8192, 2048, 4, "f16", 180, 86.0),
        (8192, 512, 4, "q8_0", 95.625, 20.4),
    ],
)
def test_a_llama_model_is_planned_as_llama_cpp_reports_it(
    context: int, batch: int, sequences: int, kv_type: str, kv_mib: float, compute_mib: float
) -> None:
    options = LoadOptions(
        context_tokens=context, batch_tokens=batch, sequences=sequences, kv_cache_type=kv_type
    )
    plan = plan_memory(read_header(smollm2()), options)
    assert plan.weights_bytes == 96_576_768
    assert plan.kv_bytes == kv_mib * MIB
    assert 1.0 <= plan.compute_bytes / (compute_mib * MIB) < 1.3


@pytest.mark.parametrize(
    ("context", "batch", "sequences", "kv_mib", "compute_mib"),
    [
        (4096, 512, 4, 49.5, 24.3),
        (32768, 512, 4, 133.5, 52.3),
        (8192, 2048, 4, 84, 119.1),
        (8192, 512, 1, 39, 26.8),
        (8192, 512, 16, 144, 33.8),
    ],
)
def test_sliding_layers_are_planned_as_llama_cpp_reports_them(
    context: int, batch: int, sequences: int, kv_mib: float, compute_mib: float
) -> None:
    options = LoadOptions(context_tokens=context, batch_tokens=batch, sequences=sequences)
    plan = plan_memory(read_header(gemma3()), options)
    assert plan.kv_bytes == kv_mib * MIB
    assert 1.0 <= plan.compute_bytes / (compute_mib * MIB) < 1.3


def test_a_pool_of_several_contexts_is_planned_as_long_as_all_of_them() -> None:
    for path in (smollm2(), gemma3()):
        pool = LoadOptions(context_tokens=1024, sequences=4, contexts=4)
        long = LoadOptions(context_tokens=4096, sequences=4)
        assert plan_memory(read_header(path), pool) == plan_memory(read_header(path), long)


def test_heads_by_layer_are_summed_and_layers_without_are_recurrent() -> None:
    model = header(
        "granitehybrid",
        block_count=3,
        embedding_length=64,
        attention__head_count=8,
        attention__head_count_kv=(0, 4, 2),
        ssm__inner_size=128,
        ssm__state_size=16,
        ssm__conv_kernel=4,
        ssm__group_count=1,
    )
    attention = 1024 * (4 + 2) * (8 + 8) * 2
    recurrent = 2 * 4 * (3 * (128 + 2 * 16) + 16 * 128)
    options = LoadOptions(context_tokens=1000, sequences=2)
    assert kv_cache_bytes(model, options) == attention + recurrent


def test_a_pattern_by_layer_in_the_file_wins() -> None:
    model = header(
        "gemma3",
        block_count=2,
        embedding_length=64,
        attention__head_count=8,
        attention__sliding_window=100,
        attention__sliding_window_pattern=(True, False),
    )
    options = LoadOptions(context_tokens=4096, sequences=1, batch_tokens=100)
    assert kv_cache_bytes(model, options) == (256 + 4096) * 8 * 16 * 2


def test_an_encoder_has_no_cache() -> None:
    model = header(
        "bert",
        block_count=6,
        embedding_length=384,
        attention__head_count=12,
        attention__causal=False,
    )
    assert kv_cache_bytes(model, LoadOptions(context_tokens=512)) == 0


def test_a_header_that_says_nothing_is_planned_as_nothing() -> None:
    plan = plan_memory(header("x"), LoadOptions(context_tokens=512), extra_weights_bytes=7)
    assert (plan.weights_bytes, plan.kv_bytes) == (7, 0)


@pytest.mark.parametrize(
    ("asked", "trained", "chosen"),
    [(0, None, 4096), (0, 8192, 4096), (0, 512, 512), (9000, 8192, 8192), (100, 8192, 100)],
)
def test_the_context_is_what_was_asked_or_4096_within_what_was_trained(
    asked: int, trained: int | None, chosen: int
) -> None:
    assert choose_context_tokens(asked, trained=trained) == chosen


PLAN = MemoryPlan(weights_bytes=2**31, kv_bytes=2**29, compute_bytes=0, process_bytes=2**20)
OPTIONS = LoadOptions(context_tokens=4096)


def checked(**room: Any) -> int:
    return check_memory("m:latest", PLAN, OPTIONS, MainMemoryRoom(**room))


def test_too_little_memory_tells_what_needs_how_much() -> None:
    assert checked(free_bytes=PLAN.total_bytes) == 0
    with pytest.raises(OutOfMemory) as caught:
        checked(free_bytes=2**30)
    assert str(caught.value) == (
        "m:latest needs 2.5 GiB of memory (weights 2.0 GiB, context of 4096 tokens 512 MiB, "
        "working memory 1 MiB) but only 1.0 GiB is free"
    )
    assert (caught.value.needed_bytes, caught.value.free_bytes) == (PLAN.total_bytes, 2**30)


def test_swap_space_takes_what_main_memory_has_no_room_for() -> None:
    over_bytes = PLAN.total_bytes - 2**30
    assert checked(free_bytes=2**30, swap_bytes=over_bytes) == over_bytes
    assert note_of_swap(over_bytes).startswith("it needs 1.5 GiB more than main memory has free")
    with pytest.raises(OutOfMemory, match=r"only 1\.0 GiB and 1\.5 GiB of swap space are free"):
        checked(free_bytes=2**30, swap_bytes=over_bytes - 1)


def test_a_model_that_may_not_be_swapped_out_is_refused_with_the_way_to_allow_it() -> None:
    with pytest.raises(OutOfMemory, match=r"only 1\.0 GiB is free") as caught:
        checked(free_bytes=2**30, swap_bytes=2**40, may_swap=False)
    assert caught.value.hint
    assert "OLM_DEGRADE=warn" in caught.value.hint


def test_others_leave_before_anything_is_swapped_out() -> None:
    over_bytes = PLAN.total_bytes - 2**30
    for held_bytes in (2**20, over_bytes, 2**40):
        with pytest.raises(OutOfMemory) as caught:
            checked(free_bytes=2**30, swap_bytes=over_bytes, held_bytes=held_bytes)
        assert caught.value.missing == {"CPU": min(over_bytes, held_bytes)}
    with pytest.raises(OutOfMemory) as caught:
        checked(free_bytes=2**30, swap_bytes=over_bytes, may_be_freed=True)
    assert caught.value.missing == {"CPU": over_bytes}
    with pytest.raises(OutOfMemory) as caught:  # nobody leaves for what does not fit all the same
        checked(free_bytes=2**30, held_bytes=over_bytes - 1)
    assert caught.value.missing == {"CPU": over_bytes}


def test_some_memory_is_available_and_no_more_than_there_is() -> None:
    total_kib = int(Path("/proc/meminfo").read_text().split()[1])
    assert 0 < available_bytes() <= total_kib * 1024


def test_free_swap_space_is_the_systems_as_far_as_the_groups_allow(tmp_path: Path) -> None:
    assert available_swap_bytes(tmp_path) == 0
    tree = CgroupTree(tmp_path)
    proc = tmp_path / "of the system"
    proc.mkdir()
    (proc / "self").symlink_to(tree.process)
    (proc / "meminfo").write_text("MemFree:  7 kB\nSwapTotal:   2000 kB\nSwapFree:   1000 kB\n")
    assert available_swap_bytes(proc) == 1000 * 1024
    tree.member("0::/a")
    tree.mount("fs")
    tree.group("fs/a", memory__swap__max="5000", memory__swap__current="2000")
    assert available_swap_bytes(proc) == 3000


def test_what_of_a_process_is_swapped_out_is_read_of_its_status(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("Name:\tVmSwap: 9 kB\nVmRSS:\t 5 kB\nVmSwap:\t  3 kB\n")
    assert swapped_bytes(7, tmp_path) == 3072
    assert swapped_bytes(8, tmp_path) is None
    swapped = swapped_bytes(os.getpid())
    assert swapped is not None
    has_swap = int(Path("/proc/swaps").read_text().count("\n")) > 1
    assert swapped >= 0 if has_swap else swapped == 0


def test_a_draft_model_is_planned_beside_the_model() -> None:
    options = LoadOptions(context_tokens=2048)
    model, draft = read_header(gemma3()), read_header(smollm2())
    both = plan_memory(model, options, draft=draft)
    apart = plan_memory(model, options), plan_memory(draft, options)
    assert both.weights_bytes == sum(one.weights_bytes for one in apart)
    assert both.kv_bytes == sum(one.kv_bytes for one in apart)
    assert both.compute_bytes == sum(one.compute_bytes for one in apart)
    for_vectors = LoadOptions(context_tokens=2048, embedding=True)
    assert plan_memory(model, for_vectors, draft=draft) == plan_memory(model, for_vectors)


def test_a_draft_model_counts_where_the_output_layer_lies() -> None:
    options = LoadOptions(context_tokens=2048)
    model, draft = read_header(gemma3()), read_header(smollm2())
    alone, both = model_cost(model, options), model_cost(model, options, draft=draft)
    beside = model_cost(draft, options)
    layers = sum(layer.weights_bytes + layer.kv_bytes for layer in beside.layers)
    assert both.layers == alone.layers
    assert both.output_bytes == alone.output_bytes + layers + (
        beside.output_bytes + beside.compute_bytes
    )
