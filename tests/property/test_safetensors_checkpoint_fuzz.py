"""Checkpoints with anything in their JSON: a GGUF or `ModelNotCreatable`, never anything else."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olmkit.engine.create.convert import convert_directory, directory_files
from olmkit.engine.create.convert.tokenizers.sentencepiece import read_pieces
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.header import read_header
from support.checkpoints import CHECKPOINTS, write_checkpoint

JSON_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "added_tokens.json")
LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-2, 40)
    | st.sampled_from([2**31, 2**32, 2**64, 1e300, -1e300, 0.0, 1e-300, float("nan"), 0.5])
    | st.text(max_size=5)
    | st.sampled_from([[], {}, [1], {"a": 1}, "yarn", "llama3", "longrope", "default", "BPE"])
)
Place = list[str | int]


def places(value: Any, at: Place) -> list[Place]:
    """Paths to every value within one."""
    found = [at] if at else []
    items: Any = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))[:3]
    for key, inner in items[:60]:
        found += places(inner, [*at, key])
    return found


def put(value: Any, at: Place, new: Any) -> None:
    for key in at[:-1]:
        value = value[key]
    value[at[-1]] = new


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {name: directory_files(write_checkpoint(name, root / name)) for name in CHECKPOINTS}


@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_any_value_anywhere_is_converted_or_refused(
    originals: dict[str, dict[str, Path]], tmp_path_factory: Any, data: st.DataObject
) -> None:
    files = dict(originals[data.draw(st.sampled_from(sorted(originals)), "checkpoint")])
    name = data.draw(st.sampled_from([name for name in JSON_FILES if name in files]), "file")
    content = copy.deepcopy(json.loads(files[name].read_text()))
    for _ in range(data.draw(st.integers(1, 2), "changes")):
        at = data.draw(st.sampled_from(places(content, [])), "place")
        try:
            put(content, at, data.draw(LEAF, "value"))
        except (KeyError, IndexError, TypeError):
            continue  # the first change took the second's place away
    changed = tmp_path_factory.getbasetemp() / "changed.json"
    changed.write_text(json.dumps(content))
    files[name] = changed
    target = tmp_path_factory.getbasetemp() / "fuzz.gguf"
    try:
        convert_directory(files, target)
    except ModelNotCreatable:
        return
    assert read_header(target).architecture == read_header(target).metadata["general.architecture"]


def test_a_number_that_no_model_has_is_refused(
    originals: dict[str, dict[str, Path]], tmp_path: Path
) -> None:
    changed = tmp_path / "config.json"
    content = json.loads(originals["bert"]["config.json"].read_text())
    changed.write_text(json.dumps(content | {"hidden_size": 2**31}))
    with pytest.raises(ModelNotCreatable, match=r"bert\.embedding_length is 2147483648, over"):
        convert_directory(originals["bert"] | {"config.json": changed}, tmp_path / "m.gguf")


@given(content=st.binary(max_size=120))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_sentencepiece_model_or_refused(content: bytes) -> None:
    try:
        pieces = read_pieces(content)
    except ModelNotCreatable:
        return
    assert pieces


@given(position=st.integers(0, 5000), byte=st.integers(0, 255), cut=st.integers(0, 20))
@settings(max_examples=200, deadline=None)
def test_a_damaged_sentencepiece_model_is_read_or_refused(
    originals: dict[str, dict[str, Path]], position: int, byte: int, cut: int
) -> None:
    content = bytearray(originals["mistral"]["tokenizer.model"].read_bytes())
    content[position % len(content)] = byte
    try:
        read_pieces(bytes(content[: len(content) - cut]))
    except ModelNotCreatable:
        return
