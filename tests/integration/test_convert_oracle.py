"""Conversion of whole checkpoints, against recorded results of llama.cpp's converter.

`test_convert_oracle.json` says what made it, `support.convert_oracle` how. The files are also
loaded by the real llama.cpp, whose predictions must be those of transformers.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest

from olmkit.engine.create.convert import convert_adapter, convert_directory, directory_files
from olmkit.engine.gguf.header import read_header
from olmkit.engine.runner import bindings, protocol
from support.checkpoints import CHECKPOINTS, lora, write_checkpoint
from support.convert_oracle import GENERATORS, PAIR, TOKENS, describe
from support.models import minilm_directory, minilm_gguf
from support.runner import loaded_runner

RECORDED = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
ORACLE: dict[str, Any] = RECORDED["checkpoints"]
DESCRIPTIVE = ("general.name", "general.version", "general.basename", "general.license")
"""Keys that llama.cpp's converter takes out of the directory's name and README.md."""
COSINE = 0.9999


def converted(name: str, tmp_path: Path) -> Path:
    target = tmp_path / f"{name}.gguf"
    convert_directory(directory_files(write_checkpoint(name, tmp_path / name)), target)
    return target


def assert_same(ours: dict[str, Any], oracle: dict[str, Any]) -> None:
    """The same tensors, the same metadata but for what only describes the model."""
    prefixes = (*DESCRIPTIVE, "general.dataset.", "general.tags", "general.languages")
    metadata = {k: v for k, v in ours["metadata"].items() if not k.startswith(prefixes)}
    expected = {k: v for k, v in oracle["metadata"].items() if not k.startswith(prefixes)}
    assert metadata == expected
    assert ours["tensors"] == oracle["tensors"]


@pytest.mark.parametrize("name", sorted(CHECKPOINTS.keys() - {"bert_classifier"}))
def test_a_checkpoint_converts_to_what_llama_cpp_makes_of_it(name: str, tmp_path: Path) -> None:
    assert_same(describe(converted(name, tmp_path)), ORACLE[name])


def test_minilm_converts_to_what_llama_cpp_makes_of_it() -> None:
    assert_same(describe(minilm_gguf()), ORACLE["minilm"])


def test_the_same_checkpoint_gives_the_same_bytes_whatever_its_directory(tmp_path: Path) -> None:
    files = directory_files(write_checkpoint("llama", tmp_path / "some-name"))
    (tmp_path / "blobs").mkdir()
    blobs = {}
    for name, path in reversed(files.items()):
        blob = tmp_path / "blobs" / f"sha256-{hashlib.sha256(path.read_bytes()).hexdigest()}"
        blobs[name] = path.rename(blob)
    outputs = [tmp_path / "a.gguf", tmp_path / "b.gguf"]
    for output in outputs:
        convert_directory(blobs, output)
    digests = {hashlib.sha256(output.read_bytes()).hexdigest() for output in outputs}
    assert digests == {"318ad33b26e6757d0cddd083f83a156632c24e120dbb925549b798de8d134d00"}


def test_a_lora_converts_to_what_llama_cpp_makes_of_it(tmp_path: Path) -> None:
    base = read_header(converted("llama", tmp_path))
    (tmp_path / "lora").mkdir()
    lora(tmp_path / "lora")
    target = tmp_path / "lora.gguf"
    convert_adapter(directory_files(tmp_path / "lora"), target, base=base)
    assert_same(describe(target), ORACLE["lora"])


@pytest.mark.parametrize("name", GENERATORS)
def test_llama_cpp_predicts_from_the_file_what_transformers_predicts_from_the_checkpoint(
    name: str, tmp_path: Path
) -> None:
    with loaded_runner(converted(name, tmp_path), context_tokens=64) as runner:
        completion = runner.complete(TOKENS, max_tokens=1, top_logprobs=20, ignore_eos=True)
    expected = log_softmax(ORACLE[name]["logits"][: read_vocabulary_size(name)])
    (entry,) = completion.logprobs
    predicted = [choice.logprob for choice in entry.top]
    assert predicted == pytest.approx(sorted(expected, reverse=True)[:20], abs=0.02)
    assert completion.tokens == [expected.index(max(expected))]


def read_vocabulary_size(name: str) -> int:
    """Rows of the embedding that are converted; Gemma's checkpoint has some more."""
    return int(ORACLE[name]["tensors"]["token_embd.weight"][0][1])


def log_softmax(logits: list[float]) -> list[float]:
    total = math.log(sum(math.exp(value) for value in logits))
    return [value - total for value in logits]


def test_a_cross_encoder_scores_as_transformers_does(tmp_path: Path) -> None:
    bindings.initialize()
    model = bindings.Model(str(converted("bert_classifier", tmp_path)))
    options = bindings.ContextOptions(
        context_tokens=64, batch_tokens=64, sequences=1, threads=1, pooling=bindings.Pooling.RANK
    )
    context = bindings.Context(model, options)
    try:
        batch = bindings.Batch(len(PAIR))
        batch.add(PAIR, position=0, sequence=0, outputs=len(PAIR))
        assert context.decode(batch) == 0
        scores = list(memoryview(context.pooled_embedding(0, 3)).cast("f"))
    finally:
        context.close()
        model.close()
    assert scores == pytest.approx(ORACLE["bert_classifier"]["scores"], abs=1e-4)


def test_minilm_embeds_as_transformers_does() -> None:
    sentences = ORACLE["minilm"]["embeddings"]
    options = {"embedding": True, "context_tokens": 512}
    with loaded_runner(minilm_gguf(), **options) as runner:
        embedded = runner.embed([sentence["text"] for sentence in sentences])
        tokens = [runner.tokenize(sentence["text"]) for sentence in sentences]
    assert tokens == [sentence["tokens"] for sentence in sentences]
    for vector, sentence in zip(vectors(embedded), sentences, strict=True):
        assert cosine(vector, sentence["embedding"]) > COSINE


def vectors(embedded: protocol.Embedded) -> list[list[float]]:
    return [list(memoryview(vector).cast("f")) for vector in embedded.vectors]


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.hypot(*a) / math.hypot(*b)


def test_the_minilm_used_by_other_tests_is_of_this_converter(tmp_path: Path) -> None:
    target = tmp_path / "minilm.gguf"
    convert_directory(directory_files(minilm_directory()), target)
    assert target.read_bytes() == minilm_gguf().read_bytes(), "raise convert.REVISION"
