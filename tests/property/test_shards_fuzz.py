"""Damaged shards give an error of ours, or a file whose header can be read."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from olmkit.engine.errors import ModelNotCreatable, ModelUnloadable
from olmkit.engine.gguf.header import read_header
from olmkit.engine.gguf.shards import merge
from support.gguffile import STRING, UINT32, GgufFile, Row, array, number, string

NAMES = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf")


def shard(no: int) -> bytes:
    metadata = {
        "general.architecture": string("llama"),
        "split.no": number(UINT32, no),
        "tokenizer.ggml.tokens": array(STRING, ["a", "bc"]),
        "split.count": number(UINT32, 2),
        "split.tensors.count": number(UINT32, 4),
    }
    rows = [Row(name=f"{no}.{i}", offset=128 * i) for i in range(2)]
    return GgufFile(metadata=metadata, tensors=rows, data=bytes(256)).encode()


SHARDS = (shard(0), shard(1))


@settings(max_examples=400, deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 1), st.integers(0, 500), st.binary(min_size=1, max_size=8)),
        max_size=4,
    ),
    cut=st.integers(0, 900),
)
def test_damaged_shards(changes: list[tuple[int, int, bytes]], cut: int) -> None:
    raw = [bytearray(each) for each in SHARDS]
    for which, position, data in changes:
        raw[which][position : position + len(data)] = data
    if cut < 300:
        del raw[cut % 2][-cut - 1 :]
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / name for name in NAMES}
        for path, damaged in zip(paths.values(), raw, strict=True):
            path.write_bytes(damaged)
        try:
            merged = merge(paths)
        except (ModelNotCreatable, ModelUnloadable):
            return
        target = Path(folder) / "m.gguf"
        target.write_bytes(b"".join(merged.blocks()))
        assert target.stat().st_size == merged.size_bytes
        assert len(read_header(target).tensors) == 4
