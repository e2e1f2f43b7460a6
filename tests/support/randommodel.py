"""Tiny GGUFs with random weights, for kinds of model that no small real one is had of.

Their text means nothing, but the same tokens give the same text: enough to tell a state that was
kept rightly from one that was not.
"""

from pathlib import Path

import gguf
import numpy as np

VOCABULARY = 259
"""Unknown, BOS, EOS, and one token a byte."""


class TensorWriter:
    """A GGUF of float32 tensors with normally distributed values, the same each time."""

    def __init__(
        self,
        path: Path,
        architecture: str,
        *,
        layers: int,
        width: int,
        rows: int = VOCABULARY,
        like: Path | None = None,
        context: int = 512,
        follows: bool = False,
    ) -> None:
        """`like`: a model whose vocabulary and context length it has; None: bytes and `context`.

        `follows`: with layers that do nothing, each token is followed by the next.
        """
        self.gguf = gguf.GGUFWriter(path, architecture)
        self.gguf.add_block_count(layers)
        self.gguf.add_embedding_length(width)
        self._random = np.random.default_rng(7)
        if like is not None:
            self.add("token_embd.weight", self._copy_vocabulary(like), width)
        else:
            self.gguf.add_context_length(context)
            self._add_byte_vocabulary()
            self._embedding = self.add("token_embd.weight", rows, width)
            if follows:
                self.add_following("output.weight", 1)
            else:
                self.add("output.weight", VOCABULARY, width)
        self.fill("output_norm.weight", width)

    def _copy_vocabulary(self, model: Path) -> int:
        """The number of its tokens."""
        fields = gguf.GGUFReader(model).fields
        architecture = fields["general.architecture"].contents()
        self.gguf.add_context_length(fields[f"{architecture}.context_length"].contents())
        for name, field in fields.items():
            if name.startswith("tokenizer."):
                inside = field.types[1] if len(field.types) > 1 else None
                self.gguf.add_key_value(name, field.contents(), field.types[0], sub_type=inside)
        return len(fields["tokenizer.ggml.tokens"].data)

    def _add_byte_vocabulary(self) -> None:
        kinds = gguf.TokenType
        byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
        self.gguf.add_tokenizer_model("llama")
        self.gguf.add_token_list(["<unk>", "<s>", "</s>", *byte_tokens])
        self.gguf.add_token_scores([0.0] * VOCABULARY)
        self.gguf.add_token_types(
            [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL] + [kinds.BYTE] * 256
        )
        self.gguf.add_bos_token_id(1)
        self.gguf.add_eos_token_id(2)
        self.gguf.add_add_bos_token(False)

    def add(self, name: str, *shape: int, scale: float = 1.0) -> np.ndarray:
        drawn = self._random.normal(scale=2 * shape[-1] ** -0.5, size=shape)
        values = (scale * drawn).astype(np.float32)
        self.gguf.add_tensor(name, values)
        return values

    def add_following(self, name: str, ahead: int) -> None:
        """An output layer for which each byte is followed by the one so far behind it."""
        directions = np.roll(self._embedding, ahead, axis=0)
        directions[3 : 3 + ahead] = self._embedding[-ahead:]
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        self.gguf.add_tensor(name, directions)

    def fill(self, name: str, *shape: int, value: float = 1) -> None:
        self.gguf.add_tensor(name, np.full(shape, value, np.float32))

    def close(self) -> None:
        self.gguf.write_header_to_file()
        self.gguf.write_kv_data_to_file()
        self.gguf.write_tensors_to_file()
        self.gguf.close()


def write_llama(path: Path, *, layers: int = 2, width: int = 128, rows: int = VOCABULARY) -> Path:
    """An ordinary transformer: a step takes some tens of microseconds.

    `rows`: of the embedding; llama.cpp loads it with as many as there are tokens only.
    """
    writer = TensorWriter(path, "llama", layers=layers, width=width, rows=rows)
    _add_transformer(writer, layers=layers, width=width)
    return path


def write_chat(path: Path, model: Path, *, layers: int = 2, width: int = 64) -> Path:
    """A transformer with the vocabulary, chat template and context length of `model`."""
    writer = TensorWriter(path, "llama", layers=layers, width=width, like=model)
    writer.gguf.add_name("Tiny Chat")
    _add_transformer(writer, layers=layers, width=width)
    return path


def write_window(
    path: Path, *, layers: int = 6, width: int = 64, window: int = 512, context: int = 2048
) -> Path:
    """A transformer of Gemma 3's kind: all layers but each sixth see `window` tokens back only."""
    heads, inner, head_size = 4, 2 * width, width // 4
    writer = TensorWriter(path, "gemma3", layers=layers, width=width, context=context)
    writer.gguf.add_feed_forward_length(inner)
    writer.gguf.add_head_count(heads)
    writer.gguf.add_head_count_kv(1)
    writer.gguf.add_key_length(head_size)
    writer.gguf.add_value_length(head_size)
    writer.gguf.add_layer_norm_rms_eps(1e-6)
    writer.gguf.add_sliding_window(window)
    for block in (f"blk.{index}." for index in range(layers)):
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            writer.fill(f"{block}{name}.weight", width)
        # Attention that picks a few tokens out, so that each that is lost or old changes the text.
        writer.fill(block + "attn_q_norm.weight", head_size, value=8)
        writer.fill(block + "attn_k_norm.weight", head_size)
        writer.add(block + "attn_q.weight", width, width)
        writer.add(block + "attn_k.weight", head_size, width)
        writer.add(block + "attn_v.weight", head_size, width)
        writer.add(block + "attn_output.weight", width, width)
        writer.add(block + "ffn_gate.weight", inner, width)
        writer.add(block + "ffn_up.weight", inner, width)
        writer.add(block + "ffn_down.weight", width, inner)
    writer.close()
    return path


def _add_transformer(writer: TensorWriter, *, layers: int, width: int) -> None:
    """All layers and the end of the file."""
    heads, inner = 4, 2 * width
    writer.gguf.add_feed_forward_length(inner)
    writer.gguf.add_head_count(heads)
    writer.gguf.add_layer_norm_rms_eps(1e-5)
    for block in (f"blk.{index}." for index in range(layers)):
        writer.fill(block + "attn_norm.weight", width)
        writer.fill(block + "ffn_norm.weight", width)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add(f"{block}{name}.weight", width, width)
        writer.add(block + "ffn_gate.weight", inner, width)
        writer.add(block + "ffn_up.weight", inner, width)
        writer.add(block + "ffn_down.weight", width, inner)
    writer.close()


def write_mixture(path: Path, *, layers: int = 3, width: int = 128, experts: int = 4) -> Path:
    """A mixture of experts, of which each token uses two."""
    heads, inner = 4, 4 * width
    writer = TensorWriter(path, "llama", layers=layers, width=width)
    writer.gguf.add_feed_forward_length(inner)
    writer.gguf.add_head_count(heads)
    writer.gguf.add_layer_norm_rms_eps(1e-5)
    writer.gguf.add_expert_count(experts)
    writer.gguf.add_expert_used_count(2)
    for block in (f"blk.{index}." for index in range(layers)):
        writer.fill(block + "attn_norm.weight", width)
        writer.fill(block + "ffn_norm.weight", width)
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            writer.add(f"{block}{name}.weight", width, width)
        writer.add(block + "ffn_gate_inp.weight", experts, width)
        writer.add(block + "ffn_gate_exps.weight", experts, inner, width)
        writer.add(block + "ffn_up_exps.weight", experts, inner, width)
        writer.add(block + "ffn_down_exps.weight", experts, width, inner)
    writer.close()
    return path


def write_mamba(path: Path, *, layers: int = 2, width: int = 64) -> Path:
    """A recurrent model: its state cannot go back to an earlier token."""
    inner, state, kernel, rank = 2 * width, 8, 4, 4
    writer = TensorWriter(path, "mamba", layers=layers, width=width)
    writer.gguf.add_feed_forward_length(0)
    writer.gguf.add_head_count(0)
    writer.gguf.add_ssm_conv_kernel(kernel)
    writer.gguf.add_ssm_inner_size(inner)
    writer.gguf.add_ssm_state_size(state)
    writer.gguf.add_ssm_time_step_rank(rank)
    writer.gguf.add_layer_norm_rms_eps(1e-5)
    for block in (f"blk.{index}." for index in range(layers)):
        writer.fill(block + "attn_norm.weight", width)
        writer.add(block + "ssm_in.weight", 2 * inner, width)
        writer.add(block + "ssm_conv1d.weight", inner, kernel)
        writer.add(block + "ssm_conv1d.bias", inner)
        writer.add(block + "ssm_x.weight", rank + 2 * state, inner)
        writer.add(block + "ssm_dt.weight", inner, rank)
        writer.add(block + "ssm_dt.bias", inner)
        decay = -np.tile(np.arange(1, state + 1, dtype=np.float32), (inner, 1))
        writer.gguf.add_tensor(block + "ssm_a", decay)
        writer.fill(block + "ssm_d", inner)
        writer.add(block + "ssm_out.weight", width, inner)
    writer.close()
    return path
