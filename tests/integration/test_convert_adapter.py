"""LoRA adapters: applied by llama.cpp they do what merging them into the weights does."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from olmkit.engine.create.convert import convert_adapter, convert_directory, directory_files
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.gguf.header import GgufHeader, read_header
from support.checkpoints import HEADS, KV_HEADS, LAYERS, WIDTH, lora, write_checkpoint
from support.models import minilm_gguf, smollm2
from support.runner import RunnerClient
from support.weights import stored, values, write_safetensors

TOKENS = [1, 5, 17, 100, 42, 270, 7]
RANK, ALPHA = 4, 16
SCALE = 400.0
"""Made-up factors are small; larger ones move the predictions visibly."""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The GGUF of a model whose checkpoint lies in `llama` beside it."""
    target = tmp_path / "base.gguf"
    convert_directory(directory_files(write_checkpoint("llama", tmp_path / "llama")), target)
    return target


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A PEFT directory."""
    directory = tmp_path / "lora"
    directory.mkdir()
    lora(directory, rank=RANK)
    return directory


def convert(adapter: Path, base: Path, target: Path) -> GgufHeader:
    convert_adapter(directory_files(adapter), target, base=read_header(base))
    return read_header(target)


def edit(adapter: Path, **changes: object) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def logprobs(model: Path, adapters: list[Path]) -> list[float]:
    with RunnerClient() as runner:
        runner.load(model, adapters=adapters, context_tokens=64)
        completion = runner.complete(TOKENS, max_tokens=1, top_logprobs=20, ignore_eos=True)
    return [choice.logprob for choice in completion.logprobs[0].top]


def read_checkpoint(checkpoint: Path) -> dict[str, "np.ndarray"]:
    """The tensors of a checkpoint in bfloat16, as float32."""
    tensors = {}
    for part in sorted(checkpoint.glob("model-*.safetensors")):
        raw = part.read_bytes()
        length = int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8 : 8 + length]).items():
            if name != "__metadata__":
                begin, end = (8 + length + offset for offset in entry["data_offsets"])
                bits = np.frombuffer(raw[begin:end], "<u2").astype(np.uint32) << 16
                tensors[name] = bits.view(np.float32).reshape(entry["shape"]).copy()
    return tensors


def write_merged(checkpoint: Path, tensors: dict[str, "np.ndarray"]) -> None:
    """Put the tensors in the place of the checkpoint's, as float32 in one part."""
    for part in checkpoint.glob("model-*.safetensors"):
        part.unlink()
    (checkpoint / "model.safetensors.index.json").unlink()
    write_safetensors(
        checkpoint / "model.safetensors",
        {name: ("F32", stored(array, "F32")) for name, array in tensors.items()},
    )


def merge(checkpoint: Path) -> None:
    """Add the adapter's matrices to the checkpoint's weights."""
    tensors = read_checkpoint(checkpoint)
    head = WIDTH // HEADS
    for layer in range(LAYERS):
        for part_name, width, rows in (
            ("self_attn.q_proj", WIDTH, HEADS * head),
            ("self_attn.k_proj", WIDTH, KV_HEADS * head),
            ("self_attn.v_proj", WIDTH, KV_HEADS * head),
            ("mlp.down_proj", 2 * WIDTH, WIDTH),
        ):
            at = f"model.layers.{layer}.{part_name}"
            a = values(f"base_model.model.{at}.lora_A.weight", (RANK, width))
            b = values(f"base_model.model.{at}.lora_B.weight", (rows, RANK))
            tensors[f"{at}.weight"] += (ALPHA * SCALE / RANK) * (b @ a)
    write_merged(checkpoint, tensors)


def test_an_adapter_does_what_merging_it_does(base: Path, adapter: Path, tmp_path: Path) -> None:
    edit(adapter, lora_alpha=ALPHA * SCALE)
    convert(adapter, base, tmp_path / "lora.gguf")
    merge(tmp_path / "llama")
    convert_directory(directory_files(tmp_path / "llama"), tmp_path / "merged.gguf")
    applied = logprobs(base, [tmp_path / "lora.gguf"])
    assert applied == pytest.approx(logprobs(tmp_path / "merged.gguf", []), abs=0.05)
    assert applied != pytest.approx(logprobs(base, []), abs=0.1)


def test_an_adapter_of_the_embedding_does_what_merging_it_does(base: Path, tmp_path: Path) -> None:
    """In PEFT's own shapes: `[rank, tokens]` and `[width, rank]`."""
    directory = tmp_path / "embedding"
    directory.mkdir()
    (directory / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA})
    )
    (embedding,) = (t for t in read_header(base).tensors if t.name == "token_embd.weight")
    tokens = embedding.shape[1]
    at = "base_model.model.model.embed_tokens"
    a, b = values("a", (RANK, tokens)), values("b", (WIDTH, RANK))
    tensors = {f"{at}.lora_embedding_A": ("F32", a), f"{at}.lora_embedding_B": ("F32", b)}
    write_safetensors(directory / "adapter_model.safetensors", tensors)
    target = tmp_path / "embedding.gguf"
    convert(directory, base, target)

    shapes = {tensor.name: tensor.shape for tensor in read_header(target).tensors}
    assert shapes == {
        "token_embd.weight.lora_a": (RANK, tokens),
        "token_embd.weight.lora_b": (RANK, WIDTH),
    }
    checkpoint = tmp_path / "llama"
    merged = read_checkpoint(checkpoint)
    merged["model.embed_tokens.weight"] += ALPHA / RANK * (b @ a).T
    write_merged(checkpoint, merged)
    convert_directory(directory_files(checkpoint), tmp_path / "merged.gguf")
    applied = logprobs(base, [target])
    assert applied == pytest.approx(logprobs(tmp_path / "merged.gguf", []), abs=0.05)


def test_flipped_factors_of_an_embedding_are_refused(base: Path, tmp_path: Path) -> None:
    directory = tmp_path / "flipped"
    directory.mkdir()
    (directory / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA})
    )
    (embedding,) = (t for t in read_header(base).tensors if t.name == "token_embd.weight")
    at = "base_model.model.model.embed_tokens"
    tensors = {
        f"{at}.lora_embedding_A": ("F32", values("a", (RANK, WIDTH))),
        f"{at}.lora_embedding_B": ("F32", values("b", (embedding.shape[1], RANK))),
    }
    write_safetensors(directory / "adapter_model.safetensors", tensors)
    with pytest.raises(ModelNotCreatable, match="do not fit"):
        convert(directory, base, tmp_path / "x.gguf")


def test_rank_stabilised_adapters_get_the_alpha_that_makes_up_for_it(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    target = tmp_path / "x.gguf"
    assert convert(adapter, base, target).metadata["adapter.lora.alpha"] == ALPHA
    edit(adapter, use_rslora=True)
    stabilised = convert(adapter, base, target).metadata["adapter.lora.alpha"]
    assert stabilised == ALPHA * math.sqrt(RANK)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peft_type": "IA3"}, "only plain LoRA"),
        ({"use_dora": True}, "only plain LoRA"),
        ({"alpha_pattern": {"q_proj": 3}}, "only plain LoRA"),
        ({"lora_alpha": None}, "lacks lora_alpha"),
        ({"lora_alpha": "16"}, "lora_alpha must be a number"),
        ({"use_rslora": True, "rank_pattern": {"q_proj": 3}}, "not supported"),
    ],
)
def test_an_adapter_that_gguf_cannot_say_is_refused(
    changes: dict[str, object], reason: str, base: Path, adapter: Path, tmp_path: Path
) -> None:
    edit(adapter, **changes)
    with pytest.raises(ModelNotCreatable, match=reason):
        convert(adapter, base, tmp_path / "x.gguf")


def test_a_factor_without_its_partner_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    write_safetensors(adapter / "adapter_model.safetensors", {name: ("F32", values("a", (4, 32)))})
    with pytest.raises(ModelNotCreatable, match="only one of two factors"):
        convert(adapter, base, tmp_path / "x.gguf")


def test_factors_of_different_rank_are_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    at = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {
        f"{at}.lora_A.weight": ("F32", values("a", (4, 32))),
        f"{at}.lora_B.weight": ("F32", values("b", (32, 5))),
    }
    write_safetensors(adapter / "adapter_model.safetensors", tensors)
    with pytest.raises(ModelNotCreatable, match="do not fit"):
        convert(adapter, base, tmp_path / "x.gguf")


def test_an_adapter_that_replaces_a_whole_weight_is_refused(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    tensors = {"base_model.model.lm_head.weight": ("F32", values("a", (4, 32)))}
    write_safetensors(adapter / "adapter_model.safetensors", tensors)
    with pytest.raises(ModelNotCreatable, match="is no part of a LoRA"):
        convert(adapter, base, tmp_path / "x.gguf")


def test_an_adapter_for_another_architecture_is_refused(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotCreatable, match="has no place in a bert model"):
        convert(adapter, minilm_gguf(), tmp_path / "x.gguf")


def test_an_adapter_for_another_size_of_model_is_refused(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotCreatable, match=r"do not fit the model's .*which is \["):
        convert(adapter, smollm2(), tmp_path / "x.gguf")


def test_a_directory_without_the_adapters_configuration_is_refused(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    (adapter / "adapter_config.json").unlink()
    with pytest.raises(ModelNotCreatable, match=r"adapter_config\.json is missing"):
        convert(adapter, base, tmp_path / "x.gguf")
