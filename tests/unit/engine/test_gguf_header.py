import struct
from dataclasses import replace
from pathlib import Path

import pytest

from olmkit.engine.errors import ModelUnloadable
from olmkit.engine.gguf.header import GgufArray, read_header
from support import gguffile, models
from support.gguffile import GgufFile, Row


def refusal(path: Path) -> str:
    with pytest.raises(ModelUnloadable) as caught:
        read_header(path, name="model.gguf")
    message = str(caught.value)
    assert message.startswith("model.gguf: ")
    assert "\n" not in message
    return message.removeprefix("model.gguf: ")


def test_smollm2_says_what_it_is() -> None:
    header = read_header(models.smollm2())
    assert header.architecture == "llama"
    assert header.parameter_count == 134_515_008
    assert header.quantization == "Q4_1"
    assert (header.context_length, header.embedding_length, header.block_count) == (8192, 576, 30)
    assert header.pooling_type is None
    assert header.chat_template is not None and "<|im_start|>" in header.chat_template
    assert header.integer("tokenizer.ggml.bos_token_id") == 1
    assert header.data_offset_bytes + header.weights_bytes == header.size_bytes


def test_vocabulary_stays_in_the_file_until_asked_for() -> None:
    header = read_header(models.gemma3())
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, GgufArray) and tokens.count == 262_144
    words = header.read_array("tokenizer.ggml.tokens")
    assert [next(words) for _ in range(3)] == ["<pad>", "<eos>", "<bos>"]
    found = header.tokens_at([2, 262_144, -1, 106, 1])
    assert found == {1: "<eos>", 2: "<bos>", 106: "<end_of_turn>"}
    assert header.chat_template is None


def test_float32_values_have_their_shortest_decimal_form() -> None:
    header = read_header(models.gemma3())
    assert header.metadata["gemma3.attention.layer_norm_rms_epsilon"] == 1e-06


def test_short_arrays_are_values(tmp_path: Path) -> None:
    file = GgufFile(
        metadata={
            "general.architecture": gguffile.string("llama"),
            "general.tags": gguffile.array(gguffile.STRING, ["a", "b"]),
            "llama.attention.head_count_kv": gguffile.array(gguffile.UINT32, [1, 2, 3]),
        }
    )
    header = read_header(file.write(tmp_path / "short.gguf"))
    assert header.metadata["general.tags"] == ("a", "b")
    assert header.metadata["llama.attention.head_count_kv"] == (1, 2, 3)
    assert list(header.read_array("general.tags")) == ["a", "b"]
    assert list(header.read_array("nowhere")) == []


def test_quantization_comes_from_the_tensors_when_not_said(tmp_path: Path) -> None:
    rows = (Row(name="a", shape=(64,), type_number=8), Row(name="b", shape=(8,), offset=96))
    header = read_header(GgufFile(tensors=rows).write(tmp_path / "unsaid.gguf"))
    assert header.quantization == "Q8_0"


def test_truncated_file_says_how_many_bytes_it_needs_and_has(tmp_path: Path) -> None:
    whole = models.smollm2().read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(whole[: len(whole) // 2])
    assert refusal(path) == f"truncated: needs {len(whole)} bytes, has {len(whole) // 2}"
    path.write_bytes(whole[:1000])
    assert refusal(path).startswith("truncated: its header needs at least ")


def test_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.gguf") == "No such file or directory"


GOOD = GgufFile()
HUGE = 2**62
DEFECTS = {
    "no GGUF file": replace(GOOD, magic=b"GGML"),
    "GGUF version 1; only 2 and 3 can be read": replace(GOOD, version=1),
    "a big-endian GGUF file": replace(GOOD, version=3 << 24),
    f"claims {HUGE} tensors": replace(GOOD, tensor_count=HUGE),
    f"claims {HUGE} metadata entries": replace(GOOD, metadata_count=HUGE),
    "the metadata key '' is empty": replace(GOOD, metadata={"": gguffile.string("x")}),
    "has the unknown type 99": replace(GOOD, metadata={"k": struct.pack("<I", 99)}),
    "is a list of the unknown type 9": replace(
        GOOD, metadata={"k": struct.pack("<IIQ", gguffile.ARRAY, gguffile.ARRAY, 1)}
    ),
    "a list of 4611686018427387904 texts": replace(
        GOOD, metadata={"k": struct.pack("<IIQ", gguffile.ARRAY, gguffile.STRING, HUGE)}
    ),
    "truncated: its header needs at least": replace(
        GOOD, metadata={"k": struct.pack("<IIQ", gguffile.ARRAY, gguffile.UINT64, HUGE)}
    ),
    "a text of 4611686018427387904 bytes": replace(
        GOOD, metadata={"k": struct.pack("<IQ", gguffile.STRING, HUGE)}
    ),
    "the alignment 33 is no power of two": replace(
        GOOD, metadata={"general.alignment": gguffile.number(gguffile.UINT32, 33)}
    ),
    "two tensors have the same name": replace(
        GOOD, tensors=(Row(name="a", shape=(8,)), Row(name="a", shape=(8,), offset=32))
    ),
    "the tensor 'b' overlaps another one": replace(
        GOOD, tensors=(Row(name="a"), Row(name="b", offset=32))
    ),
    "the tensor 'a' is not aligned to 32 bytes": replace(GOOD, tensors=(Row(name="a", offset=8),)),
    "the tensor 'a' claims 5 dimensions": replace(
        GOOD, tensors=(Row(name="a", shape=(1, 1, 1, 1, 1)),)
    ),
    "the tensor 'a' has the impossible shape [0]": replace(
        GOOD, tensors=(Row(name="a", shape=(0,)),)
    ),
    "the tensor 'a' has the impossible shape [18446744073709551615": replace(
        GOOD, tensors=(Row(name="a", shape=(2**64 - 1, 2**64 - 1)),)
    ),
    "the tensor 'a' has the unknown type 4": replace(GOOD, tensors=(Row(name="a", type_number=4),)),
    "do not divide into blocks of Q4_K": replace(
        GOOD, tensors=(Row(name="a", shape=(128,), type_number=12),)
    ),
    "truncated: needs 4294967296 bytes, has 256": replace(
        GOOD, tensors=(Row(name="a", shape=((2**32 - 128) // 4,)),)
    ),
    "there is a gap before the tensor 'a'": replace(GOOD, tensors=(Row(name="a", offset=64),)),
    "a text of 64 bytes in its header": replace(GOOD, tensors=(Row(name="a" * 64),)),
}


@pytest.mark.parametrize("problem", DEFECTS)
def test_defect_is_named(problem: str, tmp_path: Path) -> None:
    assert problem in refusal(DEFECTS[problem].write(tmp_path / "defect.gguf"))


def test_long_keys_are_cut_in_messages(tmp_path: Path) -> None:
    file = GgufFile(metadata={"k" * 60_000: struct.pack("<I", 99)})
    assert len(refusal(file.write(tmp_path / "key.gguf"))) < 200


def test_what_is_kept_of_a_header_is_bounded(tmp_path: Path) -> None:
    megabytes = "x" * (3 << 20)
    texts = GgufFile(metadata={f"k{i}": gguffile.string(megabytes) for i in range(8)})
    assert "holds more than" in refusal(texts.write(tmp_path / "texts.gguf"))
    numbers = gguffile.array(gguffile.UINT8, [7] * 4096)
    arrays = GgufFile(metadata={f"k{i}": numbers for i in range(1000)})
    assert "holds more than" in refusal(arrays.write(tmp_path / "arrays.gguf"))
