"""Models in several GGUF files put together."""

import hashlib
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from olmkit.engine.errors import ModelNotCreatable, ModelUnloadable
from olmkit.engine.gguf.header import read_header
from olmkit.engine.gguf.shards import merge, require_whole, sets_of
from olmkit.registry.shardnames import parse_shard_name
from support.gguffile import UINT32, GgufFile, Row, number, string
from support.ggufsplit import split
from support.models import minilm_gguf


def shard(no: int, count: int, names: Sequence[str], total: int | None = None) -> GgufFile:
    metadata = {"split.no": number(UINT32, no), "split.count": number(UINT32, count)}
    if no == 0:
        metadata = {"general.architecture": string("llama"), **metadata}
    if total is not None:
        metadata["split.tensors.count"] = number(UINT32, total)
    rows = [Row(name=name, offset=128 * i) for i, name in enumerate(names)]
    return GgufFile(metadata=metadata, tensors=rows, data=bytes(128 * len(names)))


def written(folder: Path, *files: GgufFile) -> dict[str, Path]:
    names = [f"m-{i + 1:05d}-of-{len(files):05d}.gguf" for i in range(len(files))]
    return {name: file.write(folder / name) for name, file in zip(names, files, strict=True)}


@pytest.mark.parametrize("count", [2, 5])
def test_the_merged_file_is_the_one_that_was_split(tmp_path: Path, count: int) -> None:
    parts = split(minilm_gguf(), tmp_path, "minilm", count)
    merged = merge({path.name: path for path in parts})
    digest = hashlib.sha256()
    for block in merged.blocks():
        digest.update(block)
    original = minilm_gguf().read_bytes()
    assert merged.size_bytes == len(original)
    assert digest.hexdigest() == hashlib.sha256(original).hexdigest()


def test_merging_holds_no_weights_in_memory(tmp_path: Path) -> None:
    parts = {path.name: path for path in split(minilm_gguf(), tmp_path, "minilm", 2)}
    tracemalloc.start()
    try:
        for _ in merge(parts).blocks():
            pass
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 12 << 20, peak_bytes


@pytest.mark.parametrize(
    ("name", "stem", "no", "count"),
    [
        ("a/m-00002-of-00003.gguf", "a/m", 2, 3),
        ("m-00001-of-00001-00001-of-00002.gguf", "m-00001-of-00001", 1, 2),
    ],
)
def test_the_name_of_a_shard(name: str, stem: str, no: int, count: int) -> None:
    found = parse_shard_name(name)
    assert found is not None
    assert (found.stem, found.number, found.count) == (stem, no, count)
    assert name in found.siblings


@pytest.mark.parametrize(
    "name", ["m.gguf", "m-00001-of-00001.gguf", "m-1-of-2.gguf", "m-00001-of-00002.bin"]
)
def test_other_names_are_no_shards(name: str) -> None:
    assert parse_shard_name(name) is None


def test_a_missing_shard_is_named() -> None:
    with pytest.raises(ModelNotCreatable, match=r"m-00002-of-00003\.gguf missing"):
        sets_of(["m-00001-of-00003.gguf", "m-00003-of-00003.gguf", "mmproj.gguf"])
    with pytest.raises(ModelNotCreatable, match=r"m-00001-of-00003\.gguf and 1 more missing"):
        sets_of(["m-00003-of-00003.gguf"])


def test_sets_are_found_among_other_files() -> None:
    shards = ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf")
    assert sets_of(["mmproj.gguf", *reversed(shards)]) == {"m.gguf": shards}


def test_shards_that_contradict_their_names_are_refused(tmp_path: Path) -> None:
    cases = {
        "split.no is 0, not 1": (shard(0, 2, ["a"]), shard(0, 2, ["b"])),
        "split.count is 3, not 2": (shard(0, 3, ["a"]), shard(1, 3, ["b"])),
        "split.tensors.count is 9": (shard(0, 2, ["a"], 9), shard(1, 2, ["b"], 9)),
        "split.no is None": (GgufFile(), GgufFile()),
        "the same tensor": (shard(0, 2, ["a"]), shard(1, 2, ["a"])),
    }
    for complaint, files in cases.items():
        with pytest.raises(ModelNotCreatable, match=complaint):
            merge(written(tmp_path, *files))


def test_an_absurd_alignment_takes_no_memory(tmp_path: Path) -> None:
    first = shard(0, 2, [])
    first.metadata["general.alignment"] = number(UINT32, 1 << 31)
    with pytest.raises(ModelNotCreatable, match="aligns its tensors"):
        merge(written(tmp_path, first, shard(1, 2, ["a"])))


def test_a_shard_cut_short_is_refused(tmp_path: Path) -> None:
    cut = shard(1, 2, ["b"])
    cut.data = b""
    with pytest.raises(ModelUnloadable, match="truncated"):
        merge(written(tmp_path, shard(0, 2, ["a"]), cut))


def test_a_shard_under_another_name_is_refused(tmp_path: Path) -> None:
    path = shard(0, 2, ["a"]).write(tmp_path / "model.gguf")
    with pytest.raises(ModelNotCreatable, match="is part 1 of 2"):
        require_whole(read_header(path, name="model.gguf"))
