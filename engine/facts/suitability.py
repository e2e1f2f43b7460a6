"""Whether an engine was built for a processor like this one.

A compiler that was told to build for its own machine (`-march=native`) may use every instruction
of that machine anywhere. On a processor that lacks one of them the engine dies of SIGILL sooner or
later; what it would die of can be told before the first prompt.
"""

from typing import Final

from olmkit.engine.facts.enginebuild import EngineBuild, read_build
from olmkit.engine.facts.enginelibraries import EngineLibraries
from olmkit.engine.facts.processor import Processor, this_processor

COMPILED_FLAGS: Final = frozenset(
    {
        *("pni", "ssse3", "sse4_1", "sse4_2", "popcnt", "abm", "movbe"),
        *("avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "avx_vnni", "avx_vnni_int8"),
        *("avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl", "avx512ifma", "avx512vbmi"),
        *("avx512_vbmi2", "avx512_vnni", "avx512_bitalg", "avx512_vpopcntdq", "avx512_bf16"),
        *("avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
        *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "svei8mm", "sme", "sme2"),
        *("fphp", "atomics", "asimdrdm", "fcma", "asimdfhm"),
    }
)
"""The kernel's words for instructions that compilers, or ggml's kernels, use where they may.

Source: Linux, arch/x86/include/asm/cpufeatures.h; arch/arm64/kernel/cpuinfo.c.
"""

_SYSTEM_INFO_FLAGS: Final = {
    "SSE3": "pni",
    "SSSE3": "ssse3",
    "AVX": "avx",
    "AVX2": "avx2",
    "F16C": "f16c",
    "FMA": "fma",
    "BMI2": "bmi2",
    "AVX_VNNI": "avx_vnni",
    "AVX512": "avx512f",
    "AVX512_VBMI": "avx512vbmi",
    "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16",
    "AMX_INT8": "amx_int8",
    "ARM_FMA": "asimd",
    "FP16_VA": "asimdhp",
    "DOTPROD": "asimddp",
    "MATMUL_INT8": "i8mm",
    "SVE": "sve",
    "SME": "sme",
}
"""ggml's words, as `llama_print_system_info` prints them, in the kernel's.

Source: ggml, src/ggml-cpu/ggml-cpu.cpp, `ggml_backend_cpu_get_features`.
"""


def missing_flags(
    build: EngineBuild | None, processor: Processor, *, compiled: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """What the engine may use and this processor lacks, by name; empty: all is well.

    Without a `build`, `compiled` counts: what the engine says of itself (`flags_of_system_info`).
    Empty too where the engine chooses its code when it starts, and where the system does not tell
    what the processor can do.
    """
    if not processor.flags or (build is not None and build.is_portable):
        return ()
    if build is not None:
        compiled = (build.built_for_flags & COMPILED_FLAGS) - _turned_off(build.c_flags)
    return tuple(sorted(compiled - processor.flags))


def flags_of_system_info(text: str) -> frozenset[str]:
    """What an engine says that it was compiled for, in the kernel's words.

    `text` is a line of `llama_print_system_info`: `CPU : AVX2 = 1 | AVX512 = 1 | …`.
    """
    said = set()
    for part in text.replace(":", "|").split("|"):
        name, _, value = part.partition("=")
        if value.strip() not in ("", "0"):
            said.add(name.strip())
    return frozenset(flag for name, flag in _SYSTEM_INFO_FLAGS.items() if name in said)


def warning(missing: tuple[str, ...], build: EngineBuild | None, processor: Processor) -> str:
    """One sentence for the user; empty for nothing `missing`."""
    if not missing:
        return ""
    built_for = f"for {build.built_for} " if build and build.built_for else ""
    return (
        f"the engine was built {built_for}with {', '.join(missing)}, "
        f"which this processor ({processor.model or processor.machine}) lacks"
    )


def engine_warning(libraries: EngineLibraries, *, system_info: str = "") -> str:
    """The warning for the engine and the processor of this machine; empty: there is none.

    `system_info`: what the engine says of itself, where it was asked.
    """
    build, processor = read_build(libraries.directory), this_processor()
    compiled = flags_of_system_info(system_info)
    return warning(missing_flags(build, processor, compiled=compiled), build, processor)


def _turned_off(c_flags: str) -> frozenset[str]:
    """What flags such as `-mno-amx-int8` keep out of the code, in the kernel's words."""
    prefix = "-mno-"
    words = (word for word in c_flags.split() if word.startswith(prefix))
    return frozenset(word.removeprefix(prefix).replace("-", "_") for word in words)
