"""No bytes make the header reader do anything but succeed or refuse, at once."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from olmkit.engine.errors import ModelUnloadable
from olmkit.engine.gguf.controlvectors import Steered, is_control_vector, read_directions
from olmkit.engine.gguf.header import read_header
from support import gguffile, models
from support.gguffile import GgufFile, Row

pytestmark = pytest.mark.timeout(60)
"""What is gone through is what the file has, not what it claims to have: that would take longer."""

ONE_FILE = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SEED = GgufFile(
    metadata={
        "general.architecture": gguffile.string("llama"),
        "general.alignment": gguffile.number(gguffile.UINT32, 32),
        "tokenizer.ggml.tokens": gguffile.array(gguffile.STRING, [f"t{i}" for i in range(100)]),
        "tokenizer.ggml.scores": gguffile.array(gguffile.FLOAT32, [0.5] * 5000),
    },
    tensors=(
        Row(name="a", shape=(32, 2), type_number=8),
        Row(name="b", shape=(8,), offset=96),
    ),
).encode()

VECTOR = GgufFile(
    metadata={
        "general.architecture": gguffile.string("controlvector"),
        "controlvector.layer_count": gguffile.number(gguffile.INT32, 2),
    },
    tensors=(
        Row(name="direction.1", shape=(8,)),
        Row(name="direction.2", shape=(8,), offset=32),
    ),
    data=bytes(64),
).encode()


def check(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    try:
        header = read_header(path)
        for key in header.metadata:
            for _ in header.read_array(key):
                pass
        header.tokens_at([5, 99, 100])
        assert header.parameter_count >= 0
    except ModelUnloadable as error:
        assert str(path) in str(error)


@ONE_FILE
@given(data=st.binary(max_size=400))
def test_random_bytes(data: bytes, tmp_path: Path) -> None:
    check(tmp_path / "f.gguf", data)
    check(tmp_path / "f.gguf", SEED[:24] + data)


@ONE_FILE
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(SEED) - 1), st.binary(min_size=1, max_size=9)), min_size=1
    ),
    cut=st.integers(0, len(SEED)),
)
def test_mutations_of_a_header(edits: list[tuple[int, bytes]], cut: int, tmp_path: Path) -> None:
    data = bytearray(SEED)
    for at, replacement in edits:
        data[at : at + len(replacement)] = replacement
    check(tmp_path / "f.gguf", bytes(data))
    check(tmp_path / "f.gguf", bytes(data[:cut]))


@pytest.mark.parametrize("at", range(24, 2000, 97))
def test_mutations_of_a_real_header(at: int, tmp_path: Path) -> None:
    with open(models.smollm2(), "rb") as file:
        data = bytearray(file.read(1 << 20))
    data[at : at + 8] = b"\xff" * 8
    check(tmp_path / "f.gguf", bytes(data))


@ONE_FILE
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(VECTOR) - 1), st.binary(min_size=1, max_size=9)), max_size=3
    ),
    cut=st.integers(0, len(VECTOR)),
)
def test_mutations_of_a_control_vector(
    edits: list[tuple[int, bytes]], cut: int, tmp_path: Path
) -> None:
    """What is read has the model's width, finite numbers and a layer that takes them."""
    data = bytearray(VECTOR)
    for at, replacement in edits:
        data[at : at + len(replacement)] = replacement
    path = tmp_path / "f.gguf"
    for each in (data, data[:cut]):
        path.write_bytes(each)
        try:
            header = read_header(path)
            model = Steered(architecture="llama", width=8, layers=3)
            found = dict(read_directions(header, model))
        except ModelUnloadable as error:
            assert str(path) in str(error)
        else:
            assert is_control_vector(header)
            assert found.keys() <= {1, 2}
            assert all(np.isfinite(np.frombuffer(raw, "<f4")).all() for raw in found.values())
            assert all(len(raw) == 32 for raw in found.values())
