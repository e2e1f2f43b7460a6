"""The tables of the format agree with those of the gguf package, which llama.cpp's authors keep."""

import gguf

from olmkit.engine.gguf.tensortypes import FILE_TYPES, TENSOR_TYPES


def test_every_tensor_type_has_the_size_that_ggml_gives_it() -> None:
    known = {kind.value: (kind.name, *sizes) for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    ours = {
        number: (kind.name, kind.block_elements, kind.block_bytes)
        for number, kind in TENSOR_TYPES.items()
    }
    # Q8_1 is never in a file; the package counts its two halves as floats.
    shared = (ours.keys() & known.keys()) - {gguf.GGMLQuantizationType.Q8_1.value}
    assert len(shared) > 25
    assert {number: ours[number] for number in shared} == {n: known[n] for n in shared}


def test_every_file_type_has_the_number_that_llama_cpp_gives_it() -> None:
    known = {
        kind.value: kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
        for kind in gguf.LlamaFileType
    }
    renamed = {"MXFP4_MOE": "MXFP4"}
    shared = FILE_TYPES.keys() & known.keys()
    assert len(shared) > 25
    assert {number: FILE_TYPES[number] for number in shared} == {
        number: renamed.get(known[number], known[number]) for number in shared
    }
