"""The element types of ggml tensors and the names of whole files' quantisations.

A tensor is a run of blocks: `block_elements` numbers take `block_bytes` bytes. Only types that
ggml still reads are listed; a file with another one cannot be loaded.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from olmkit.engine.errors import ModelNotCreatable


@dataclass(frozen=True, slots=True)
class TensorType:
    """One element type of ggml."""

    name: str
    block_elements: int
    block_bytes: int


TENSOR_TYPES: Final = MappingProxyType(
    {
        0: TensorType("F32", 1, 4),
        1: TensorType("F16", 1, 2),
        2: TensorType("Q4_0", 32, 18),
        3: TensorType("Q4_1", 32, 20),
        6: TensorType("Q5_0", 32, 22),
        7: TensorType("Q5_1", 32, 24),
        8: TensorType("Q8_0", 32, 34),
        9: TensorType("Q8_1", 32, 36),
        10: TensorType("Q2_K", 256, 84),
        11: TensorType("Q3_K", 256, 110),
        12: TensorType("Q4_K", 256, 144),
        13: TensorType("Q5_K", 256, 176),
        14: TensorType("Q6_K", 256, 210),
        15: TensorType("Q8_K", 256, 292),
        16: TensorType("IQ2_XXS", 256, 66),
        17: TensorType("IQ2_XS", 256, 74),
        18: TensorType("IQ3_XXS", 256, 98),
        19: TensorType("IQ1_S", 256, 50),
        20: TensorType("IQ4_NL", 32, 18),
        21: TensorType("IQ3_S", 256, 110),
        22: TensorType("IQ2_S", 256, 82),
        23: TensorType("IQ4_XS", 256, 136),
        24: TensorType("I8", 1, 1),
        25: TensorType("I16", 1, 2),
        26: TensorType("I32", 1, 4),
        27: TensorType("I64", 1, 8),
        28: TensorType("F64", 1, 8),
        29: TensorType("IQ1_M", 256, 56),
        30: TensorType("BF16", 1, 2),
        34: TensorType("TQ1_0", 256, 54),
        35: TensorType("TQ2_0", 256, 66),
        39: TensorType("MXFP4", 32, 17),
        40: TensorType("NVFP4", 64, 36),
        41: TensorType("Q1_0", 128, 18),
        42: TensorType("Q2_0", 64, 18),
    }
)
"""By the number that GGUF files carry. Source: ggml.h, `enum ggml_type`; ggml-common.h, blocks."""

FILE_TYPES: Final = MappingProxyType(
    {
        0: "F32",
        1: "F16",
        2: "Q4_0",
        3: "Q4_1",
        7: "Q8_0",
        8: "Q5_0",
        9: "Q5_1",
        10: "Q2_K",
        11: "Q3_K_S",
        12: "Q3_K_M",
        13: "Q3_K_L",
        14: "Q4_K_S",
        15: "Q4_K_M",
        16: "Q5_K_S",
        17: "Q5_K_M",
        18: "Q6_K",
        19: "IQ2_XXS",
        20: "IQ2_XS",
        21: "Q2_K_S",
        22: "IQ3_XS",
        23: "IQ3_XXS",
        24: "IQ1_S",
        25: "IQ4_NL",
        26: "IQ3_S",
        27: "IQ3_M",
        28: "IQ2_S",
        29: "IQ2_M",
        30: "IQ4_XS",
        31: "IQ1_M",
        32: "BF16",
        36: "TQ1_0",
        37: "TQ2_0",
        38: "MXFP4",
        39: "NVFP4",
        40: "Q1_0",
        41: "Q2_0",
    }
)
"""By `general.file_type`. Source: llama.h, `enum llama_ftype`; MXFP4 as Ollama writes it."""

_NOT_MADE: Final = frozenset({"NVFP4"})
"""File types that llama.cpp reads and its quantizer does not write."""
_ALIASES: Final = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4_MOE": "MXFP4"}
_NUMBERS: Final = {name: number for number, name in FILE_TYPES.items() if name not in _NOT_MADE}


def quantization_name(text: str) -> str:
    """The canonical name of a quantization type, `Q4_K_M` for `q4_k_m` and for `Q4_K`.

    Raises:
        ModelNotCreatable: no such type; the message lists them.
    """
    name = _ALIASES.get(text.upper(), text.upper())
    if name not in _NUMBERS:
        raise ModelNotCreatable(
            f"unsupported quantization type {text[:80]} - "
            f"supported types are {', '.join(sorted(_NUMBERS))}"
        )
    return name


def quantization_number(name: str) -> int:
    """The number of llama.h's `enum llama_ftype` for a canonical name."""
    return _NUMBERS[name]
