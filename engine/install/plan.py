"""How llama.cpp is compiled: the ways that this machine allows, the fastest first.

Each later plan leaves out what may have been wrong with the one before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from olmkit.engine.facts.processor import Processor
from olmkit.engine.install.accelerators import Accelerator, Selection
from olmkit.engine.install.compiler import Compiler, compiled_features

AMX_HEADER: Final = Path(__file__).with_name("amx_tile_config.h")
_NO_AMX: Final = ("-mno-amx-tile", "-mno-amx-int8", "-mno-amx-bf16")
_NO_FP16: Final = ("-mno-avx512fp16",)
_X86: Final = ("x86_64", "AMD64")
_X86_STEPS: Final = {
    "GGML_SSE42": "sse4_2",
    "GGML_AVX": "avx",
    "GGML_AVX2": "avx2",
    "GGML_BMI2": "bmi2",
    "GGML_FMA": "fma",
    "GGML_F16C": "f16c",
}
"""What ggml compiles for without GGML_NATIVE unless it is told not to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One way to compile llama.cpp."""

    name: str
    definitions: Mapping[str, str]
    """CMake's: backends and instruction sets."""
    compiler_flags: tuple[str, ...] = ()
    """For C and C++ alike."""
    features: tuple[str, ...] = ()
    """What the processor must have, as /proc/cpuinfo names it."""
    backends: tuple[str, ...] = ("cpu",)
    is_portable: bool = False
    workarounds: tuple[str, ...] = field(default=())
    """What was done about known defects, as sentences."""


def plans(
    compiler: Compiler, processor: Processor, selection: Selection, *, portable: bool
) -> list[Plan]:
    """The plans for a machine, the fastest first; never empty."""
    backends: tuple[str, ...] = ("cpu",)
    if selection.accelerator is not Accelerator.NONE:
        backends += (selection.accelerator.value,)
    if portable:
        return [_portable(compiler, processor, selection, backends)]
    has_amx = "amx_tile" in processor.flags
    header, amx_cure = _amx_cure(compiler) if has_amx else ((), ())
    no_fp16, fp16_cure = _fp16_cure(compiler, processor)
    found = [
        Plan(
            name="for this processor",
            definitions={"GGML_NATIVE": "ON", **selection.definitions},
            compiler_flags=(*header, *no_fp16),
            features=compiled_features(compiler, ["-march=native", *no_fp16], processor.flags),
            backends=backends,
            workarounds=(*amx_cure, *fp16_cure),
        )
    ]
    if has_amx:
        switches = (*_NO_AMX, *no_fp16)
        found.append(
            Plan(
                name="without AMX",
                definitions={"GGML_NATIVE": "ON", **selection.definitions},
                compiler_flags=switches,
                features=compiled_features(compiler, ["-march=native", *switches], processor.flags),
                backends=backends,
                workarounds=("AMX left out: the engine did not run with it", *fp16_cure),
            )
        )
    if processor.machine in _X86:
        steps = {name: flag in processor.flags for name, flag in _X86_STEPS.items()}
    else:
        steps = {}
    chosen = {name: "ON" if is_on else "OFF" for name, is_on in steps.items()}
    found.append(
        Plan(
            name="without -march=native",
            definitions={"GGML_NATIVE": "OFF", **chosen, **selection.definitions},
            features=tuple(sorted(_X86_STEPS[name] for name, is_on in steps.items() if is_on)),
            backends=backends,
            workarounds=("GGML_NATIVE off: the engine did not run with it",),
        )
    )
    return found


def _portable(
    compiler: Compiler, processor: Processor, selection: Selection, backends: tuple[str, ...]
) -> Plan:
    """One library a microarchitecture, of which the engine takes the best when it starts."""
    is_x86 = processor.machine in _X86
    header, cure = _amx_cure(compiler) if is_x86 else ((), ())
    return Plan(
        name="portable",
        definitions={
            "GGML_NATIVE": "OFF",
            "GGML_BACKEND_DL": "ON",
            "GGML_CPU_ALL_VARIANTS": "ON",
            # Another machine's cards are not this one's.
            **{
                name: value
                for name, value in selection.definitions.items()
                if name != "CMAKE_CUDA_ARCHITECTURES"
            },
        },
        compiler_flags=header,
        backends=backends,
        is_portable=True,
        workarounds=cure,
    )


def _amx_cure(compiler: Compiler) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Compiler flags that keep AMX right, and the sentence that says so; both may be empty."""
    if not compiler.miscompiles_amx:
        return (), ()
    text = f"AMX kept: {compiler.name} loses bytes of tile configurations, a header keeps them"
    return ("-include", str(AMX_HEADER)), (text,)


def _fp16_cure(compiler: Compiler, processor: Processor) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Compiler flags that keep attention fast, and the sentence that says so; both may be empty.

    With AVX512-FP16, ggml goes over vectors of half-precision numbers in steps of 128. The heads of
    small models have 64 of them, so all of them fall to the loop for what is left over, which takes
    one number at a time. Without it the steps have 64, and sums are kept in single precision.

    Source: llama.cpp, ggml/src/ggml-cpu/simd-mappings.h (GGML_F16_STEP), vec.h (ggml_vec_mad_f16).
    """
    if "avx512_fp16" not in compiled_features(compiler, ["-march=native"], processor.flags):
        return (), ()
    return _NO_FP16, ("AVX512-FP16 left out: attention with heads of 64 is several times faster",)
