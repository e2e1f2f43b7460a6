"""How llama.cpp is compiled for a machine."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from olmkit.engine.facts.processor import Processor
from olmkit.engine.install.accelerators import Accelerator, Selection
from olmkit.engine.install.buildprogress import progress_text
from olmkit.engine.install.compiler import Compiler
from olmkit.engine.install.enginewheel import cmake_options
from olmkit.engine.install.plan import AMX_HEADER, Plan, plans
from olmkit.engine.install.recordedfacts import facts_template

_AMX = Processor(
    model="Intel(R) Xeon(R) @ 2.1GHz",
    machine="x86_64",
    flags=frozenset({"avx", "avx2", "fma", "amx_tile", "amx_int8"}),
    threads=2,
)
_OLD = Processor(model="old", machine="x86_64", flags=frozenset({"sse4_2"}), threads=1)
_ARM = Processor(model="arm", machine="aarch64", flags=frozenset({"asimd"}), threads=4)
_CPU_ONLY = Selection(accelerator=Accelerator.NONE, definitions={}, note="")


def _gcc(*version: int) -> Compiler:
    return Compiler(command=("no-such-compiler",), id="GNU", version=version)


@pytest.mark.parametrize(
    ("version", "is_wrong"),
    [
        ((11, 4, 0), True),
        ((12, 2, 0), True),
        ((12, 3, 0), True),
        ((12, 4, 0), False),
        ((13, 1, 0), True),
        ((13, 2, 0), True),
        ((13, 3, 0), False),
        ((14, 1, 0), False),
    ],
)
def test_the_compilers_that_lose_tile_configurations(
    version: tuple[int, ...], is_wrong: bool
) -> None:
    assert _gcc(*version).miscompiles_amx is is_wrong
    assert not Compiler(command=("clang++",), id="Clang", version=version).miscompiles_amx


def test_a_bad_compiler_keeps_amx_by_the_header_then_leaves_it_out_then_native_too() -> None:
    first, second, third = plans(_gcc(12, 2, 0), _AMX, _CPU_ONLY, portable=False)
    assert first.compiler_flags == ("-include", str(AMX_HEADER))
    assert first.definitions["GGML_NATIVE"] == "ON"
    assert "GCC 12.2.0" in first.workarounds[0]
    assert "-mno-amx-tile" in second.compiler_flags
    assert second.definitions["GGML_NATIVE"] == "ON"
    assert third.compiler_flags == ()
    assert third.definitions["GGML_NATIVE"] == "OFF"


def test_a_good_compiler_needs_no_header() -> None:
    first = plans(_gcc(13, 3, 0), _AMX, _CPU_ONLY, portable=False)[0]
    assert (first.compiler_flags, first.workarounds) == ((), ())


def test_half_precision_arithmetic_is_left_out_where_the_compiler_would_use_it(
    tmp_path: Path,
) -> None:
    compiler = tmp_path / "c++"
    compiler.write_text(
        """#!/bin/sh
case "$*" in *-mno-avx512fp16*) ;; *) echo "#define __AVX512FP16__ 1" ;; esac
echo "#define __AVX512F__ 1"
"""
    )
    compiler.chmod(0o755)
    newer = Compiler(command=(str(compiler),), id="GNU", version=(13, 3, 0))
    processor = replace(_AMX, flags=_AMX.flags | {"avx512f", "avx512_fp16"})
    first, second, last = plans(newer, processor, _CPU_ONLY, portable=False)
    assert first.compiler_flags == ("-mno-avx512fp16",)
    assert first.features == second.features == ("avx512f",)
    assert "AVX512-FP16" in first.workarounds[0]
    assert second.compiler_flags[-1] == "-mno-avx512fp16"
    assert last.compiler_flags == ()
    older = plans(_gcc(11, 4, 0), processor, _CPU_ONLY, portable=False)[0]
    assert "-mno-avx512fp16" not in older.compiler_flags  # it does not know the option


def test_the_last_plan_asks_for_nothing_that_the_processor_lacks() -> None:
    last = plans(_gcc(12, 2, 0), _OLD, _CPU_ONLY, portable=False)[-1]
    assert last.features == ("sse4_2",)
    assert last.definitions["GGML_SSE42"] == "ON"
    assert last.definitions["GGML_AVX"] == last.definitions["GGML_F16C"] == "OFF"
    assert set(plans(_gcc(12, 2, 0), _ARM, _CPU_ONLY, portable=False)[-1].definitions) == {
        "GGML_NATIVE"
    }


def test_a_portable_plan_is_for_no_processor_and_no_card_of_this_machine() -> None:
    card = Selection(
        accelerator=Accelerator.CUDA,
        definitions={"GGML_CUDA": "ON", "CMAKE_CUDA_ARCHITECTURES": "native"},
        note="",
    )
    (plan,) = plans(_gcc(12, 2, 0), _OLD, card, portable=True)
    assert plan.definitions == {
        "GGML_NATIVE": "OFF",
        "GGML_BACKEND_DL": "ON",
        "GGML_CPU_ALL_VARIANTS": "ON",
        "GGML_CUDA": "ON",
    }
    assert plan.features == ()
    assert plan.backends == ("cpu", "cuda")
    assert plan.compiler_flags == ("-include", str(AMX_HEADER))  # one of its libraries has AMX


def test_the_users_cmake_arguments_win_and_lose_no_flags() -> None:
    plan = Plan(name="", definitions={"GGML_NATIVE": "ON"}, compiler_flags=("-include", "/a b/x.h"))
    environ = {"CMAKE_ARGS": "-DGGML_NATIVE=OFF -DCMAKE_C_FLAGS:STRING=-g", "CXXFLAGS": "-pipe"}
    assert cmake_options(plan, environ) == [
        "-DGGML_NATIVE=ON",
        "-DCMAKE_C_FLAGS=-g -include '/a b/x.h'",
        "-DCMAKE_CXX_FLAGS=-pipe -include '/a b/x.h'",
        "-DGGML_NATIVE=OFF",
    ]


def test_the_facts_leave_to_cmake_only_what_cmake_knows() -> None:
    plan = plans(_gcc(12, 2, 0), _AMX, _CPU_ONLY, portable=False)[0]
    text = facts_template(plan, _AMX)
    assert text.count("@") == 6  # three names, none from the processor's
    assert json.loads(text)["c_flags"] == "-include amx_tile_config.h"


@pytest.mark.parametrize(
    ("done", "step", "elapsed_s", "text"),
    [
        (2, 2, 10.0, "compiling llama.cpp: 2 of 80"),
        (20, 20, 20.0, "compiling llama.cpp: 20 of 80, about 60 s left"),
        (20, 20, 100.0, "compiling llama.cpp: 20 of 80, about 5 min left"),
        (80, 80, 100.0, "compiling llama.cpp: 80 of 80"),
    ],
)
def test_progress_tells_the_time_left_once_there_is_a_pace(
    done: int, step: int, elapsed_s: float, text: str
) -> None:
    assert progress_text(done, step, 80, elapsed_s) == f"engine: {text}"
