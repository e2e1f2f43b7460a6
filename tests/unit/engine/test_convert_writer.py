"""The GGUF writer: what it writes is a GGUF file, and always the same one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.header import read_header
from olmkit.engine.gguf.writer import GgmlType, Int32, Metadata, OutputTensor, write_gguf
from support.weights import Array

METADATA: Metadata = {
    "general.architecture": "llama",
    "llama.vocab_size": 2**32 - 1,
    "a.float": 1e-5,
    "a.bool": True,
    "a.int32": Int32(-3),
    "a.texts": ["", "ünïcödé", "\u2581"],
    "a.raw_texts": [b"\xff\xfe"],
    "a.ints": [1, -2, 3],
    "a.floats": [0.5, -1000.0],
    "a.bools": [True, False],
}


def tensor(name: str, *blocks: Array, shape: tuple[int, ...]) -> OutputTensor:
    return OutputTensor(name=name, type=GgmlType.F32, shape=shape, blocks=lambda: iter(blocks))


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def test_the_header_is_read_back_with_values_types_and_places_of_tensors(tmp_path: Path) -> None:
    target = tmp_path / "x.gguf"
    tensors = [
        tensor("a.weight", ones(1, 3), ones(1, 3), shape=(2, 3)),
        OutputTensor(
            name="b.weight",
            type=GgmlType.BF16,
            shape=(4,),
            blocks=lambda: iter([np.arange(4, dtype="<u2")]),
        ),
    ]
    write_gguf(target, METADATA, tensors)
    header = read_header(target)
    assert header.metadata["llama.vocab_size"] == 2**32 - 1
    assert header.metadata["a.int32"] == -3
    assert header.metadata["a.float"] == pytest.approx(1e-5)
    assert list(header.read_array("a.texts")) == ["", "ünïcödé", "\u2581"]
    assert list(header.read_array("a.ints")) == [1, -2, 3]
    first, second = header.tensors
    assert (first.name, first.shape, first.type_name) == ("a.weight", (3, 2), "F32")
    assert (second.name, second.shape, second.type_name) == ("b.weight", (4,), "BF16")
    data = target.read_bytes()[header.data_offset_bytes :]
    assert data[:24] == ones(6).tobytes()
    assert data[32:40] == np.arange(4, dtype="<u2").tobytes()
    assert len(data) == 64


def test_progress_counts_bytes_up_to_all_of_them(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    tensors = [
        tensor("a", ones(2), ones(2), shape=(4,)),
        tensor("empty", shape=(0,)),
        tensor("b", ones(1), shape=(1,)),
    ]
    write_gguf(tmp_path / "x.gguf", {}, tensors, on_progress=lambda *args: seen.append(args))
    assert seen == [(8, 20), (16, 20), (20, 20)]


def failing() -> Iterator[Array]:
    yield ones(2)
    raise ModelNotCreatable("the source is broken")


@pytest.mark.parametrize(
    "broken",
    [
        OutputTensor(name="a", type=GgmlType.F32, shape=(4,), blocks=failing),
        tensor("a", ones(3), shape=(4,)),
        tensor("a", ones(5), shape=(4,)),
        tensor("a" * 64, ones(4), shape=(4,)),
    ],
    ids=["source_fails", "too_few", "too_many", "name_too_long"],
)
def test_a_failure_leaves_no_file_and_the_old_one_untouched(
    broken: OutputTensor, tmp_path: Path
) -> None:
    target = tmp_path / "x.gguf"
    target.write_bytes(b"old")
    with pytest.raises(ModelNotCreatable):
        write_gguf(target, METADATA, [broken])
    assert [path.name for path in tmp_path.iterdir()] == ["x.gguf"]
    assert target.read_bytes() == b"old"


def test_what_the_progress_callback_raises_ends_the_work_and_leaves_no_file(
    tmp_path: Path,
) -> None:
    def stop(completed: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gguf(tmp_path / "x.gguf", {}, [tensor("a", ones(4), shape=(4,))], on_progress=stop)
    assert list(tmp_path.iterdir()) == []
