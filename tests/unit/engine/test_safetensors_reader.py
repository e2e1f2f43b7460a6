"""The safetensors reader: what it reads, and every way in which a file can be wrong."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from olmkit.engine.create import safetensors
from olmkit.engine.create.safetensors import DType, read_tensors
from olmkit.engine.errors import ModelNotCreatable
from support.weights import write_safetensors

Header = dict[str, Any]
TWO: Header = {
    "b": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "a": {"dtype": "BF16", "shape": [3], "data_offsets": [16, 22]},
}
DATA = bytes(range(22))


def write(path: Path, header: Header | bytes, data: bytes = DATA) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def test_tensors_are_read_in_order_of_name_with_type_shape_and_values(file: Path) -> None:
    tensors = read_tensors(write(file, TWO))
    assert list(tensors) == ["a", "b"]
    assert (tensors["a"].dtype, tensors["a"].shape) == (DType.BF16, (3,))
    assert tensors["a"].read().tolist() == np.frombuffer(DATA[16:], "<u2").tolist()
    assert tensors["b"].read().tobytes() == DATA[:16]
    assert tensors["b"].read(1, 2).tobytes() == DATA[8:16]


def test_metadata_padding_scalars_and_empty_tensors_are_part_of_the_format(file: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "scalar": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
        "empty": {"dtype": "F32", "shape": [0, 5], "data_offsets": [4, 4]},
    }
    tensors = read_tensors(write(file, json.dumps(header).encode() + b"   ", DATA[:4]))
    assert tensors["scalar"].read().shape == ()
    assert tensors["empty"].read().shape == (0, 5)
    assert list(tensors["empty"].blocks(100)) == []


def test_blocks_cover_all_rows_in_multiples_and_stay_near_the_limit(file: Path) -> None:
    array = np.arange(14 * 4, dtype="<f4").reshape(14, 4)
    write_safetensors(file, {"x": ("F32", array)})
    blocks = list(read_tensors(file)["x"].blocks(100, row_multiple=3))
    assert [len(block) for block in blocks] == [6, 6, 2]
    assert np.concatenate(blocks).tolist() == array.tolist()


def change(name: str, **fields: Any) -> Callable[[], Header]:
    return lambda: {**TWO, name: {**TWO[name], **fields}}


BROKEN: dict[str, tuple[Callable[[], Header | bytes], str]] = {
    "overlap": (change("a", data_offsets=[12, 18]), "overlap"),
    "gap": (change("a", shape=[2], data_offsets=[18, 22]), "unused bytes before"),
    "rest": (change("a", shape=[1], data_offsets=[16, 18]), "unused bytes after"),
    "outside": (change("a", data_offsets=[20, 26]), "outside the file"),
    "backwards": (change("a", data_offsets=[22, 16]), "invalid offsets"),
    "negative_offset": (change("a", data_offsets=[-6, 0]), "invalid offsets"),
    "three_offsets": (change("a", data_offsets=[0, 1, 2]), "invalid offsets"),
    "shape_too_large": (change("a", shape=[4]), "its offsets say 6"),
    "absurd_shape": (change("a", shape=[2**62, 2**62]), "its offsets say 6"),
    "negative_shape": (change("a", shape=[-3]), "invalid shape"),
    "shape_of_floats": (change("a", shape=[3.0]), "invalid header"),
    "shape_of_nan": (lambda: b'{"a": {"dtype": "F32", "shape": [NaN]}}', "NaN"),
    "shape_of_booleans": (change("a", shape=[True]), "invalid shape"),
    "too_many_dimensions": (change("a", shape=[1] * 9), "invalid shape"),
    "unknown_type": (change("a", dtype="Q4_0"), "unknown type"),
    "type_is_no_text": (change("a", dtype=[1]), "unknown type"),
    "missing_field": (lambda: {"a": {"dtype": "F32", "shape": [1]}}, "exactly dtype"),
    "unknown_field": (change("a", more=1), "exactly dtype"),
    "entry_is_no_object": (lambda: {"a": 7}, "exactly dtype"),
    "header_is_no_object": (lambda: b"[1, 2]", "not an object"),
    "header_is_no_json": (lambda: b"{", "invalid header"),
    "header_is_no_text": (lambda: b'{"\xff\xfe": 1}', "invalid header"),
    "header_is_nested": (lambda: b"[" * 100_000, "invalid header"),
    "huge_number": (lambda: b'{"a": ' + b"9" * 5000 + b"}", "invalid header"),
    "twice": (lambda: b'{"a": {}, "a": {}}', "a name occurs twice"),
    "empty_header": (lambda: b"", "invalid header"),
}


@pytest.mark.parametrize("defect", BROKEN)
def test_a_defect_is_an_error_that_names_the_file(defect: str, file: Path) -> None:
    header, reason = BROKEN[defect]
    with pytest.raises(ModelNotCreatable, match=reason) as caught:
        read_tensors(write(file, header()), file_name="model-00001.safetensors")
    assert "model-00001.safetensors" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 7, struct.pack("<Q", 100) + b"{}", struct.pack("<Q", 2**63), b"GGUF" * 9],
)
def test_a_header_longer_than_the_file_is_not_read(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(ModelNotCreatable, match="cut short"):
        read_tensors(file)


def test_a_header_of_absurd_size_is_not_read_although_the_file_is_large(file: Path) -> None:
    with open(file, "wb") as sparse:
        sparse.write(struct.pack("<Q", safetensors.MAX_HEADER_BYTES + 1))
        sparse.truncate(2 * safetensors.MAX_HEADER_BYTES)
    with pytest.raises(ModelNotCreatable, match="a header of"):
        read_tensors(file)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(file: Path) -> None:
    tensors = read_tensors(write(file, TWO))
    with open(file, "r+b") as shrinking:
        shrinking.truncate(file.stat().st_size - 1)
    with pytest.raises(ModelNotCreatable, match="ends within tensor a"):
        tensors["a"].read()


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelNotCreatable, match="cannot be read"):
        read_tensors(tmp_path)
    with pytest.raises(ModelNotCreatable, match="cannot be read"):
        read_tensors(tmp_path / "absent")
