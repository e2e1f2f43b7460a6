"""Control vectors, read and held against the model that they are for."""

import math
import struct
from pathlib import Path

import numpy as np
import pytest

from olmkit.engine.errors import ModelUnloadable
from olmkit.engine.gguf.controlvectors import (
    Steered,
    is_control_vector,
    read_directions,
    steered_by_header,
)
from olmkit.engine.gguf.header import read_header
from support import gguffile
from support.adapters import random_directions, write_control_vector
from support.gguffile import FLOAT32, INT32, UINT32, GgufFile, Row

MODEL = Steered(architecture="llama", width=8, layers=4)
KIND = {"general.architecture": gguffile.string("controlvector")}


def read(path: Path, model: Steered = MODEL) -> dict[int, bytes]:
    return dict(read_directions(read_header(path, name="happy.gguf"), model))


def refusal(path: Path, model: Steered = MODEL) -> str:
    with pytest.raises(ModelUnloadable) as caught:
        read(path, model)
    message = str(caught.value)
    assert message.startswith("happy.gguf: ")
    return message.removeprefix("happy.gguf: ")


def written(path: Path, *rows: Row, data: bytes = bytes(128), **metadata: bytes) -> Path:
    said = {f"controlvector.{key}": value for key, value in metadata.items()}
    return GgufFile(metadata=KIND | said, tensors=rows, data=data).write(path)


def row(layer: int | str, *, place: int = 0, width: int = 8, type_number: int = 0) -> Row:
    name = f"direction.{layer}"
    return Row(name=name, shape=(width,), offset=32 * place, type_number=type_number)


def test_the_gguf_packages_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    directions = random_directions(1, layers=4, width=8)
    path = write_control_vector(tmp_path / "v.gguf", directions)
    assert is_control_vector(read_header(path))
    found = read(path)
    assert list(found) == [1, 2, 3]
    for layer, raw in found.items():
        assert np.array_equal(np.frombuffer(raw, "<f4"), directions[layer])


def test_layers_may_be_left_out_and_stand_in_any_order(tmp_path: Path) -> None:
    data = struct.pack("<16f", *range(16))
    path = written(tmp_path / "v.gguf", row(3), row(1, place=1), data=data)
    assert read(path) == {1: data[32:], 3: data[:32]}
    counted = written(tmp_path / "w.gguf", row(2), layer_count=gguffile.number(INT32, 1))
    assert list(read(counted)) == [2]


def test_a_model_tells_by_its_header_what_it_takes(tmp_path: Path) -> None:
    metadata = {
        "general.architecture": gguffile.string("glm4"),
        "glm4.block_count": gguffile.number(UINT32, 5),
        "glm4.embedding_length": gguffile.number(UINT32, 8),
        "glm4.nextn_predict_layers": gguffile.number(UINT32, 1),
    }
    header = read_header(GgufFile(metadata=metadata).write(tmp_path / "m.gguf"))
    assert steered_by_header(header) == Steered(architecture="glm4", width=8, layers=4)
    assert not is_control_vector(header)
    bare = read_header(GgufFile().write(tmp_path / "bare.gguf"))
    assert steered_by_header(bare) == Steered(architecture="llama", width=0, layers=0)


def test_another_models_vector_is_refused(tmp_path: Path) -> None:
    three = [row(1), row(2, place=1), row(3, place=2)]
    path = written(tmp_path / "v.gguf", *three)
    wide = Steered(architecture="llama", width=16, layers=4)
    assert refusal(path, wide) == "direction.1 has 8 numbers, the model's layers 16"
    flat = Steered(architecture="llama", width=8, layers=3)
    assert refusal(path, flat) == "3 directions are more than the 2 that the model takes"
    untold = Steered(architecture="llama", width=0, layers=0)
    assert refusal(path, untold) == "3 directions are more than the 0 that the model takes"
    encoder = Steered(architecture="bert", width=8, layers=4)
    assert refusal(path, encoder) == "bert models take no control vectors"
    deep = written(tmp_path / "d.gguf", row(4))
    assert refusal(deep) == "direction.4 is behind the model's last layer, 3"


def test_missing_directions_are_refused(tmp_path: Path) -> None:
    assert refusal(written(tmp_path / "v.gguf")) == "the control vector holds no directions"
    path = written(tmp_path / "w.gguf", row(1), layer_count=gguffile.number(INT32, 3))
    assert refusal(path) == "1 of 3 directions are there"


@pytest.mark.parametrize("name", ["0", "-1", "01", "x", "", "1.5", "99999", "1\n", "٣"])
def test_a_tensor_that_is_no_direction_is_refused(tmp_path: Path, name: str) -> None:
    assert "is no direction" in refusal(written(tmp_path / "v.gguf", row(name)))


def test_a_direction_is_a_list_of_float32(tmp_path: Path) -> None:
    message = "direction.1 is no list of float32 numbers"
    half = written(tmp_path / "half.gguf", row(1, type_number=1))
    assert refusal(half) == message
    square = written(tmp_path / "square.gguf", Row(name="direction.1", shape=(4, 2)))
    assert refusal(square) == message
    assert read(written(tmp_path / "flat.gguf", Row(name="direction.1", shape=(8, 1))))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_are_finite(tmp_path: Path, number: float) -> None:
    data = struct.pack("<16f", *[0.0] * 15, number)
    path = written(tmp_path / "v.gguf", row(1), row(2, place=1), data=data)
    assert refusal(path) == "direction.2 holds numbers that are not finite"


def test_a_file_that_becomes_shorter_or_goes_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "v.gguf", row(1), row(2, place=1))
    header = read_header(path, name="happy.gguf")
    path.write_bytes(path.read_bytes()[: header.data_offset_bytes + 40])
    with pytest.raises(ModelUnloadable, match=r"happy\.gguf: the file became shorter"):
        list(read_directions(header, MODEL))
    path.unlink()
    with pytest.raises(ModelUnloadable, match=r"happy\.gguf: No such file"):
        list(read_directions(header, MODEL))


def test_what_it_says_of_itself_may_be_anything(tmp_path: Path) -> None:
    for value in (gguffile.number(FLOAT32, 1.5), gguffile.string("x"), gguffile.number(INT32, -1)):
        assert list(read(written(tmp_path / "v.gguf", row(1), layer_count=value))) == [1]
