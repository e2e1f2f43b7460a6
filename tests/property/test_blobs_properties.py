"""The blob writer under every way of cutting its input."""

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olmkit.registry.errors import CorruptBlob
from olmkit.registry.oci.digest import Digest
from olmkit.registry.store.blobs import BlobStore


@pytest.fixture(scope="module")
def parent() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(data=st.binary(max_size=5000), cuts=st.lists(st.integers(0, 5000), max_size=8))
def test_a_blob_is_its_bytes_however_they_are_cut(
    parent: Path, data: bytes, cuts: list[int]
) -> None:
    blobs = BlobStore(Path(tempfile.mkdtemp(dir=parent)))
    with blobs.writer(expected=Digest.of(data), size_bytes=len(data)) as writer:
        for piece in pieces(data, cuts):
            writer.write(piece)
        assert writer.commit() == Digest.of(data)
    assert blobs.path(Digest.of(data)).read_bytes() == data


@given(
    data=st.binary(min_size=1, max_size=3000),
    cuts=st.lists(st.integers(0, 3000), max_size=6),
    fault=st.sampled_from(["drop", "repeat", "swap", "flip", "stop"]),
    position=st.integers(0, 10_000),
)
def test_no_fault_in_the_input_makes_a_blob(
    parent: Path, data: bytes, cuts: list[int], fault: str, position: int
) -> None:
    parts = [piece for piece in pieces(data, cuts) if piece]
    at = position % len(parts)
    broken = list(parts)
    if fault == "drop":
        del broken[at]
    elif fault == "repeat":
        broken.insert(at, broken[at])
    elif fault == "swap":
        broken[at], broken[-1] = broken[-1], broken[at]
    elif fault == "flip":
        broken[at] = bytes([broken[at][0] ^ 1]) + broken[at][1:]
    if b"".join(broken) == data and fault != "stop":
        return
    blobs = BlobStore(Path(tempfile.mkdtemp(dir=parent)))
    try:
        with blobs.writer(expected=Digest.of(data), size_bytes=len(data)) as writer:
            for piece in broken:
                writer.write(piece)
            if fault != "stop":
                writer.commit()
                raise AssertionError("other bytes were committed")
    except CorruptBlob:
        pass
    assert os.listdir(blobs.folder) == []
    assert [path for path in blobs.staging.rglob("*") if path.is_file()] == []
