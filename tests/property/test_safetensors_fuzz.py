"""Safetensors headers at random: a result or `ModelNotCreatable`, never anything else."""

import json
import struct
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from olmkit.engine.create.safetensors import DType, read_tensors
from olmkit.engine.errors import ModelNotCreatable
from support.weights import stored, values, write_safetensors

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)
NUMBERS = st.integers(-2, 2**70) | st.integers(0, 40)
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*DType, "X"]),
        "shape": st.lists(NUMBERS, max_size=4),
        "data_offsets": st.lists(NUMBERS, min_size=1, max_size=3),
    }
)
HEADER = st.dictionaries(st.text(max_size=6) | st.just("__metadata__"), ENTRY | ANY, max_size=5)


def check(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        tensors = read_tensors(path)
    except ModelNotCreatable:
        return
    assert sum(tensor.size_bytes for tensor in tensors.values()) <= len(content)
    for tensor in tensors.values():
        assert tensor.read().nbytes == tensor.size_bytes


@given(header=HEADER, data=st.binary(max_size=64))
@settings(max_examples=150, deadline=None)
def test_any_json_header_is_read_or_refused(
    tmp_path_factory: Any, header: dict[str, Any], data: bytes
) -> None:
    raw = json.dumps(header).encode()
    path = tmp_path_factory.getbasetemp() / "fuzz-json.safetensors"
    check(path, struct.pack("<Q", len(raw)) + raw + data)


@given(content=st.binary(max_size=200), declared=st.integers(0, 250))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: Any, content: bytes, declared: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz-bytes.safetensors"
    check(path, struct.pack("<Q", declared) + content)


@given(cut=st.integers(0, 400), position=st.integers(0, 400), byte=st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: Any, cut: int, position: int, byte: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz-damaged.safetensors"
    write_safetensors(
        path,
        {
            "a.weight": ("F32", stored(values("a", (3, 4)), "F32")),
            "b.weight": ("BF16", stored(values("b", (5,)), "BF16")),
        },
    )
    content = bytearray(path.read_bytes())
    content[position % len(content)] = byte
    check(path, bytes(content[: max(0, len(content) - cut)]))
