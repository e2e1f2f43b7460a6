"""Tiny Hugging Face checkpoints with made-up weights: the same bytes on every machine.

`python -m support.checkpoints DIRECTORY` (with `tests` on the path) writes them all.
"""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from support.tokenizers import added, byte_level_bpe, sentencepiece_model, wordpiece
from support.weights import (
    Array,
    Json,
    Shapes,
    stored,
    values,
    write_json,
    write_safetensors,
    write_weights,
)

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
WIDTH, HIDDEN, LAYERS, HEADS, KV_HEADS, CONTEXT = 32, 64, 2, 4, 2, 512


def _decoder_shapes(
    vocabulary: int, *, head: int = WIDTH // HEADS, prefix: str = "model.", head_name: str = ""
) -> Shapes:
    shapes: Shapes = {f"{prefix}embed_tokens.weight": (vocabulary, WIDTH)}
    for layer in range(LAYERS):
        at = f"{prefix}layers.{layer}."
        shapes |= {
            f"{at}input_layernorm.weight": (WIDTH,),
            f"{at}self_attn.q_proj.weight": (HEADS * head, WIDTH),
            f"{at}self_attn.k_proj.weight": (KV_HEADS * head, WIDTH),
            f"{at}self_attn.v_proj.weight": (KV_HEADS * head, WIDTH),
            f"{at}self_attn.o_proj.weight": (WIDTH, HEADS * head),
            f"{at}post_attention_layernorm.weight": (WIDTH,),
            f"{at}mlp.gate_proj.weight": (HIDDEN, WIDTH),
            f"{at}mlp.up_proj.weight": (HIDDEN, WIDTH),
            f"{at}mlp.down_proj.weight": (WIDTH, HIDDEN),
        }
    shapes[f"{prefix}norm.weight"] = (WIDTH,)
    if head_name:
        shapes[head_name] = (vocabulary, WIDTH)
    return shapes


def _config(kind: str, name: str, size: int, **more: Any) -> Json:
    return {
        "architectures": [name],
        "model_type": kind,
        "vocab_size": size,
        "hidden_size": WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "hidden_act": "silu",
        **more,
    }


def llama(directory: Path) -> None:
    """Llama 3.1's shape: BPE, scaled rotary frequencies, bfloat16 in two parts."""
    size = byte_level_bpe(
        directory,
        _LLAMA3,
        ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"],
        ignore_merges=True,
        bos="<|begin_of_text|>",
        config={
            "bos_token": "<|begin_of_text|>",
            "eos_token": "<|eot_id|>",
            "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
        },
    )
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    more = {"rope_scaling": scaling, "bos_token_id": size - 4, "eos_token_id": [size - 3, size - 2]}
    write_json(
        directory / "config.json",
        _config("llama", "LlamaForCausalLM", size, tie_word_embeddings=False, **more),
    )
    write_json(
        directory / "generation_config.json",
        {"temperature": 0.6, "top_p": 0.9, "top_k": 40, "repetition_penalty": 1.1},
    )
    write_weights(directory, _decoder_shapes(size, head_name="lm_head.weight"), "BF16", parts=2)


def mistral(directory: Path) -> None:
    """Mistral 7B's shape: sentencepiece, float16, padded vocabulary."""
    size = sentencepiece_model(directory / "tokenizer.model") + 5
    write_json(
        directory / "tokenizer_config.json",
        {
            "added_tokens_decoder": {
                str(index): {key: value for key, value in added(index, text).items() if key != "id"}
                for index, text in enumerate(["<unk>", "<s>", "</s>"])
            },
            "add_bos_token": True,
            "add_eos_token": False,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "tokenizer_class": "LlamaTokenizer",
            "chat_template": [
                {"name": "default", "template": "{{ messages[0]['content'] }}"},
                {"name": "tool-use", "template": "{{ tools }}"},
            ],
        },
    )
    more = {"bos_token_id": 1, "eos_token_id": 2, "sliding_window": 256}
    write_json(
        directory / "config.json",
        _config("mistral", "MistralForCausalLM", size, tie_word_embeddings=False, **more),
    )
    write_weights(directory, _decoder_shapes(size, head_name="lm_head.weight"), "F16")


def qwen2(directory: Path) -> None:
    """Qwen 2.5's shape: biases, tied embeddings, YaRN, old form of merges."""
    size = byte_level_bpe(
        directory,
        _QWEN2,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        config={
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "add_bos_token": False,
        },
        old_merges=True,
    )
    (directory / "chat_template.jinja").write_text("{{ messages }}<|im_end|>\n")
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
    more = {"rope_scaling": scaling, "bos_token_id": size - 4, "eos_token_id": size - 2}
    write_json(
        directory / "config.json",
        _config("qwen2", "Qwen2ForCausalLM", size + 3, tie_word_embeddings=True, **more),
    )
    shapes = _decoder_shapes(size + 3)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}.self_attn."
        shapes |= {f"{at}q_proj.bias": (WIDTH,)}
        shapes |= {f"{at}{part}_proj.bias": (KV_HEADS * WIDTH // HEADS,) for part in "kv"}
    write_weights(directory, shapes, "BF16")


def qwen3(directory: Path) -> None:
    """Qwen 3's shape: norms on queries and keys, wide heads, float32."""
    size = byte_level_bpe(
        directory,
        _QWEN2,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        config={"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    )
    more = {"head_dim": 16, "eos_token_id": size - 2, "rope_scaling": None}
    write_json(
        directory / "config.json",
        _config("qwen3", "Qwen3ForCausalLM", size, tie_word_embeddings=True, **more),
    )
    write_weights(directory, _qwen3_shapes(size), "F32")


def _qwen3_shapes(size: int) -> Shapes:
    shapes = _decoder_shapes(size, head=16)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}.self_attn."
        shapes |= {f"{at}q_norm.weight": (16,), f"{at}k_norm.weight": (16,)}
    return shapes


def qwen3_float8(directory: Path) -> None:
    """Qwen 3 in 8-bit floats with a scale per 16 x 12 block, as the FP8 releases are stored."""
    qwen3(directory)
    config = json.loads((directory / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [16, 12],
    }
    write_json(directory / "config.json", config)
    tensors: dict[str, tuple[str, Array]] = {}
    shapes = _qwen3_shapes(config["vocab_size"])
    for name, shape in shapes.items():
        if not name.endswith("_proj.weight"):
            tensors[name] = ("BF16", stored(values(name, shape) + 1.0, "BF16"))
            continue
        raw = np.frombuffer(hashlib.shake_128(name.encode()).digest(shape[0] * shape[1]), "u1")
        finite = np.where(raw & 127 == 127, raw & 128, raw).astype(np.uint8).reshape(shape)
        tensors[name] = ("F8_E4M3", finite)
        grid = (-(-shape[0] // 16), -(-shape[1] // 12))
        scales = np.abs(values(f"{name}_scale_inv", grid, 0.01)).astype("<f4")
        tensors[f"{name}_scale_inv"] = ("F32", scales)
    write_safetensors(directory / "model.safetensors", tensors)


def gemma3(directory: Path) -> None:
    """Gemma 3's multimodal shape: nested configuration, vision weights to leave out."""
    size = sentencepiece_model(directory / "tokenizer.model")
    write_json(
        directory / "tokenizer_config.json",
        {
            "added_tokens_decoder": {
                "1": {key: value for key, value in added(1, "<s>").items() if key != "id"},
                str(size): {"content": "<image_soft_token>", "special": True},
                str(size - 1): {"content": "\u2581\u2581", "special": False},
            },
            "add_bos_token": True,
            "bos_token": "<s>",
            "eos_token": "</s>",
            "tokenizer_class": "GemmaTokenizer",
        },
    )
    text = _config(
        "gemma3_text",
        "Gemma3ForCausalLM",
        size,
        head_dim=16,
        sliding_window=64,
        query_pre_attn_scalar=16,
    )
    del text["architectures"], text["rope_theta"], text["max_position_embeddings"]
    text["rope_scaling"] = {"factor": 8.0, "rope_type": "linear"}
    write_json(
        directory / "config.json",
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "bos_token_id": 1,
            "eos_token_id": [2],
            "text_config": text,
        },
    )
    prefix = "language_model.model."
    shapes = _decoder_shapes(size + 7, head=16, prefix=prefix)
    for layer in range(LAYERS):
        at = f"{prefix}layers.{layer}."
        shapes |= {
            f"{at}self_attn.q_norm.weight": (16,),
            f"{at}self_attn.k_norm.weight": (16,),
            f"{at}pre_feedforward_layernorm.weight": (WIDTH,),
            f"{at}post_feedforward_layernorm.weight": (WIDTH,),
        }
    shapes |= {
        "multi_modal_projector.mm_input_projection_weight": (8, WIDTH),
        "vision_tower.vision_model.encoder.layers.0.layer_norm1.weight": (8,),
    }
    write_weights(directory, shapes, "BF16")


def phi3(directory: Path) -> None:
    """Phi 3's shape: fused matrices, sentencepiece with added tokens, long rotary factors."""
    pieces = sentencepiece_model(directory / "tokenizer.model")
    texts = ["<|endoftext|>", "<|assistant|>", "<|end|>"]
    tokens = [added(pieces + i, text, special=i != 1) for i, text in enumerate(texts)]
    write_json(
        directory / "tokenizer_config.json",
        {
            "added_tokens_decoder": {
                str(token["id"]): {key: token[key] for key in token if key != "id"}
                for token in tokens
            },
            "add_bos_token": False,
            "add_eos_token": False,
            "bos_token": "<s>",
            "eos_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "unk_token": "<unk>",
            "tokenizer_class": "LlamaTokenizer",
        },
    )
    write_json(directory / "added_tokens.json", {token["content"]: token["id"] for token in tokens})
    size = pieces + len(texts) + 2
    half = WIDTH // HEADS // 2
    write_json(
        directory / "config.json",
        _config(
            "phi3",
            "Phi3ForCausalLM",
            size,
            original_max_position_embeddings=128,
            sliding_window=64,
            tie_word_embeddings=False,
            bos_token_id=1,
            eos_token_id=pieces,
            pad_token_id=pieces,
            rope_scaling={
                "type": "longrope",
                "long_factor": [1.0 + i / 4 for i in range(half)],
                "short_factor": [1.0 + i / 8 for i in range(half)],
            },
        ),
    )
    shapes = _decoder_shapes(size, head_name="lm_head.weight")
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        for part in ("self_attn.q", "self_attn.k", "self_attn.v", "mlp.gate", "mlp.up"):
            del shapes[f"{at}{part}_proj.weight"]
        rows = (HEADS + 2 * KV_HEADS) * WIDTH // HEADS
        shapes[f"{at}self_attn.qkv_proj.weight"] = (rows, WIDTH)
        shapes[f"{at}mlp.gate_up_proj.weight"] = (2 * HIDDEN, WIDTH)
    write_weights(directory, shapes, "F32")


def bert(directory: Path) -> None:
    """A BERT with a head of pre-training and TensorFlow's names of norms, CLS pooling."""
    size = wordpiece(directory)
    write_json(
        directory / "config.json",
        {
            "_name_or_path": "some-lab/tiny-bert-v1.5",
            "architectures": ["BertForMaskedLM"],
            "model_type": "bert",
            "vocab_size": size,
            "hidden_size": WIDTH,
            "intermediate_size": HIDDEN,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "max_position_embeddings": CONTEXT,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "pad_token_id": 0,
        },
    )
    write_json(
        directory / "modules.json",
        [  # type: ignore[arg-type]
            {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
            {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        ],
    )
    (directory / "1_Pooling").mkdir()
    write_json(
        directory / "1_Pooling" / "config.json",
        {"word_embedding_dimension": WIDTH, "pooling_mode_cls_token": True},
    )
    write_weights(directory, _bert_shapes(size), "F32")


def _bert_shapes(size: int) -> Shapes:
    shapes: Shapes = {
        "bert.embeddings.word_embeddings.weight": (size, WIDTH),
        "bert.embeddings.position_embeddings.weight": (CONTEXT, WIDTH),
        "bert.embeddings.token_type_embeddings.weight": (2, WIDTH),
        "bert.embeddings.LayerNorm.gamma": (WIDTH,),
        "bert.embeddings.LayerNorm.beta": (WIDTH,),
        "bert.pooler.dense.weight": (WIDTH, WIDTH),
        "bert.pooler.dense.bias": (WIDTH,),
        "cls.predictions.bias": (size,),
        "cls.predictions.transform.dense.weight": (WIDTH, WIDTH),
    }
    for layer in range(LAYERS):
        at = f"bert.encoder.layer.{layer}."
        for part in ("attention.self.query", "attention.self.key", "attention.self.value"):
            shapes |= {f"{at}{part}.weight": (WIDTH, WIDTH), f"{at}{part}.bias": (WIDTH,)}
        shapes |= {
            f"{at}attention.output.dense.weight": (WIDTH, WIDTH),
            f"{at}attention.output.dense.bias": (WIDTH,),
            f"{at}attention.output.LayerNorm.gamma": (WIDTH,),
            f"{at}attention.output.LayerNorm.beta": (WIDTH,),
            f"{at}intermediate.dense.weight": (HIDDEN, WIDTH),
            f"{at}intermediate.dense.bias": (HIDDEN,),
            f"{at}output.dense.weight": (WIDTH, HIDDEN),
            f"{at}output.dense.bias": (WIDTH,),
            f"{at}output.LayerNorm.gamma": (WIDTH,),
            f"{at}output.LayerNorm.beta": (WIDTH,),
        }
    return shapes


def lora(directory: Path, *, rank: int = 4) -> None:
    """A PEFT adapter for `llama`: queries, keys, values and one feed-forward matrix."""
    write_json(
        directory / "adapter_config.json",
        {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "target_modules": ["q_proj"]},
    )
    head = WIDTH // HEADS
    shapes: Shapes = {}
    for layer in range(LAYERS):
        for part, width, rows in (
            ("self_attn.q_proj", WIDTH, HEADS * head),
            ("self_attn.k_proj", WIDTH, KV_HEADS * head),
            ("self_attn.v_proj", WIDTH, KV_HEADS * head),
            ("mlp.down_proj", HIDDEN, WIDTH),
        ):
            at = f"base_model.model.model.layers.{layer}.{part}"
            shapes |= {f"{at}.lora_A.weight": (rank, width), f"{at}.lora_B.weight": (rows, rank)}
    tensors = {
        name: ("BF16", stored(values(name, shape), "BF16")) for name, shape in shapes.items()
    }
    write_safetensors(directory / "adapter_model.safetensors", tensors)


def bert_classifier(directory: Path) -> None:
    """A cross-encoder: BERT with a pooler and a classifier of three classes."""
    bert(directory)
    config = json.loads((directory / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    config["id2label"] = {"0": "no", "1": "perhaps", "2": "yes"}
    config["label2id"] = {"no": 0, "perhaps": 1, "yes": 2}
    write_json(directory / "config.json", config)
    (directory / "modules.json").unlink()
    shapes = _bert_shapes(config["vocab_size"]) | {
        "classifier.weight": (3, WIDTH),
        "classifier.bias": (3,),
    }
    write_weights(directory, {k: v for k, v in shapes.items() if k[:4] != "cls."}, "F32")


CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    "bert": bert,
    "bert_classifier": bert_classifier,
    "gemma3": gemma3,
    "llama": llama,
    "mistral": mistral,
    "phi3": phi3,
    "qwen2": qwen2,
    "qwen3": qwen3,
    "qwen3_float8": qwen3_float8,
}
"""A writer per architecture; it fills an empty directory."""

PRE_TOKENIZERS = {"llama": "llama-bpe", "qwen2": "qwen2", "qwen3": "qwen2", "qwen3_float8": "qwen2"}
"""llama.cpp's name where the tokenizer is a byte-level BPE."""


def write_checkpoint(name: str, directory: Path) -> Path:
    """The checkpoint `name` in a new directory."""
    directory.mkdir(parents=True)
    CHECKPOINTS[name](directory)
    return directory


if __name__ == "__main__":
    for each in CHECKPOINTS:
        write_checkpoint(each, Path(sys.argv[1]) / each)
    (Path(sys.argv[1]) / "lora").mkdir()
    lora(Path(sys.argv[1]) / "lora")
