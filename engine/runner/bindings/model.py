"""Weights and vocabulary."""

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from olmkit.engine.runner.bindings.devices import cpu_buffer_type, find_devices
from olmkit.engine.runner.bindings.library import NativeError, api

_LOAD_MODE_NONE: Final = 0
_LOAD_MODE_MMAP: Final = 1
_SPLIT_MODE_NONE: Final = 0
_MOST_ARCHITECTURE: Final = 64
"""Characters of the longest name of an architecture; llama.cpp's keys have room for 127."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offload:
    """Which device gets which layers."""

    layers: tuple[tuple[str, int], ...]
    """Device names with the number of consecutive layers each takes, the last layers of the model
    in all; the output layer counts as one behind the others."""
    cpu_expert_layers: int = 0
    """The experts of so many of the first layers stay in main memory."""
    split_mode: int = 1
    """A number of llama.cpp's `enum llama_split_mode`: 1 by layers, 2 by rows, 3 by tensors."""


class _BufferOverride(ctypes.Structure):
    """`struct llama_model_tensor_buft_override`."""

    _fields_ = [("pattern", ctypes.c_char_p), ("buffer_type", ctypes.c_void_p)]


def _without_vocabulary(architecture: str, tokens: int) -> Any:
    """Values in the place of the file's, ended by an empty one: a vocabulary without words.

    Source: llama.cpp, src/llama-vocab.cpp, llama_vocab::impl::load.
    """
    values = (api.llama_model_kv_override * 3)()
    values[0].key, values[0].tag = b"tokenizer.ggml.model", api.LLAMA_KV_OVERRIDE_TYPE_STR
    values[0].value.val_str = b"no_vocab"
    values[1].key = f"{architecture}.vocab_size".encode()
    values[1].tag = api.LLAMA_KV_OVERRIDE_TYPE_INT
    values[1].value.val_i64 = tokens
    return values


class Model:
    """Weights and vocabulary of one GGUF file."""

    def __init__(
        self,
        path: str,
        *,
        gpu_layers: int = -1,
        main_gpu: int | None = None,
        use_mmap: bool | None = None,
        dry_run: bool = False,
        vocabulary_only: bool = False,
        unread_vocabulary: tuple[str, int] | None = None,
        plain_buffers: bool = False,
        cpu_only: bool = False,
        with_head: bool = False,
        offload: Offload | None = None,
        on_progress: Callable[[float], bool] = lambda _: True,
    ) -> None:
        """Loads the file; `on_progress` gets fractions and returns False to give up.

        `dry_run` reads the header and the vocabulary and allocates no weights;
        `vocabulary_only` makes a model that tokenizes and has no sizes; an `unread_vocabulary`,
        the architecture and how many tokens it has, leaves the sizes. `plain_buffers` leaves
        weights as the file has them, neither repacked nor tiled for AMX; `cpu_only` uses no
        other device, `offload` those that it names and no others. `with_head` loads the layers
        that guess further tokens, too.

        Raises:
            NativeError: it could not be loaded, a device is not there, or `on_progress` said no.
        """
        parameters = api.llama_model_default_params()
        parameters.n_gpu_layers = gpu_layers
        if main_gpu is not None:
            parameters.split_mode, parameters.main_gpu = _SPLIT_MODE_NONE, main_gpu
        if dry_run:
            # With mmap llama.cpp ends the process on an assertion.
            parameters.no_alloc, parameters.load_mode = True, _LOAD_MODE_NONE
        elif use_mmap is not None:
            parameters.load_mode = _LOAD_MODE_MMAP if use_mmap else _LOAD_MODE_NONE
        parameters.vocab_only = vocabulary_only
        if unread_vocabulary is not None and len(unread_vocabulary[0]) <= _MOST_ARCHITECTURE:
            parameters.kv_overrides = _without_vocabulary(*unread_vocabulary)
        if with_head:
            parameters.load_mtp = True
        if plain_buffers:
            parameters.use_extra_bufts = False
        named = [] if offload is None or cpu_only else [name for name, _ in offload.layers]
        chosen = (ctypes.c_void_p * (len(named) + 1))(*find_devices(named), None)
        if cpu_only or (offload is not None and not named):
            parameters.devices = ctypes.cast(chosen, ctypes.c_void_p)
            parameters.n_gpu_layers, parameters.main_gpu = 0, -1
        elif offload is not None:
            parameters.devices = ctypes.cast(chosen, ctypes.c_void_p)
            parameters.split_mode, parameters.main_gpu = offload.split_mode, 0
            counts = [count for _, count in offload.layers]
            parameters.n_gpu_layers = sum(counts)
            # The layers of a device are those whose share of the way lies in its part of the sum.
            split = (ctypes.c_float * max(len(counts), api.llama_max_devices()))(*counts)
            parameters.tensor_split = split
            overrides = _expert_overrides(offload.cpu_expert_layers)
            if offload.cpu_expert_layers:
                parameters.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
        callback = api.llama_progress_callback(lambda fraction, _: on_progress(fraction))
        parameters.progress_callback = callback
        self.handle = api.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self.handle:
            raise NativeError("the model was not loaded")
        self._vocabulary = api.llama_model_get_vocab(self.handle)
        self.vocabulary_tokens: int = api.llama_vocab_n_tokens(self._vocabulary)
        self.bos: int = api.llama_vocab_bos(self._vocabulary)
        self.eos: int = api.llama_vocab_eos(self._vocabulary)
        self.adds_bos: bool = api.llama_vocab_get_add_bos(self._vocabulary)
        self.adds_eos: bool = api.llama_vocab_get_add_eos(self._vocabulary)
        self.separator: int = api.llama_vocab_sep(self._vocabulary)
        self.adds_separator: bool = api.llama_vocab_get_add_sep(self._vocabulary)
        self._piece = ctypes.create_string_buffer(256)

    def close(self) -> None:
        """Frees the weights; contexts of the model must be closed before."""
        if self.handle:
            api.llama_model_free(self.handle)
            self.handle = None

    @property
    def vocabulary(self) -> Any:
        """llama.cpp's handle of the vocabulary, for other native code; valid until `close`."""
        return self._vocabulary

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return int(api.llama_model_size(self.handle))

    @property
    def trained_context_tokens(self) -> int:
        """Context length of the training; 0 when the file does not tell."""
        return int(api.llama_model_n_ctx_train(self.handle))

    @property
    def width(self) -> int:
        """Numbers that a layer puts out for a token."""
        return int(api.llama_model_n_embd(self.handle))

    @property
    def layer_count(self) -> int:
        """Layers, without those that guess further tokens."""
        return int(api.llama_model_n_layer(self.handle))

    @property
    def embedding_length(self) -> int:
        """Length of an embedding that comes out."""
        return int(api.llama_model_n_embd_out(self.handle))

    @property
    def class_count(self) -> int:
        """Scores that a classifier gives a text."""
        return int(api.llama_model_n_cls_out(self.handle))

    def chat_template(self, name: str) -> str:
        """The template of this name; empty for none."""
        raw: bytes | None = api.llama_model_chat_template(self.handle, name.encode())
        return (raw or b"").decode(errors="replace")

    @property
    def window_tokens(self) -> int:
        """Width of the sliding attention window; 0 for none."""
        return int(api.llama_model_n_swa(self.handle))

    @property
    def has_recurrent_state(self) -> bool:
        """Some layers keep a state that cannot go back to an earlier token (Mamba, RWKV)."""
        return bool(
            api.llama_model_is_recurrent(self.handle) or api.llama_model_is_hybrid(self.handle)
        )

    @property
    def is_encoder_decoder(self) -> bool:
        """An encoder feeds a decoder (T5)."""
        return bool(
            api.llama_model_has_encoder(self.handle) and api.llama_model_has_decoder(self.handle)
        )

    @property
    def has_decoder(self) -> bool:
        """The model has a decoder; T5 encoders have none (BERT counts as having one)."""
        return bool(api.llama_model_has_decoder(self.handle))

    @property
    def is_diffusion(self) -> bool:
        """Text comes out by diffusion, not token by token."""
        return bool(api.llama_model_is_diffusion(self.handle))

    def metadata(self, key: str) -> str | None:
        """A scalar of the GGUF header as text, at most 255 bytes of it; None when absent."""
        buffer = ctypes.create_string_buffer(256)
        length = api.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return None if length < 0 else buffer.value.decode(errors="replace")

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of a text, with BOS/EOS as the model asks when `add_special`.

        Raises:
            NativeError: there would be more tokens than llama.cpp can count.
        """
        raw = text.encode()
        capacity = len(raw) + 16
        while True:
            tokens = (ctypes.c_int32 * capacity)()
            count = api.llama_tokenize(
                self._vocabulary, raw, len(raw), tokens, capacity, add_special, parse_special
            )
            if count >= 0:
                return tokens[:count]
            if -count <= capacity:
                raise NativeError("the text has too many tokens")
            capacity = -count

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Bytes of one token; those of control tokens only when `special`."""
        length = api.llama_token_to_piece(
            self._vocabulary, token, self._piece, len(self._piece), 0, special
        )
        if length < 0:
            self._piece = ctypes.create_string_buffer(-length)
            return self.piece(token, special=special)
        return self._piece.raw[:length]

    def token_name(self, token: int) -> str:
        """The token as the vocabulary spells it; empty for none (-1)."""
        if token < 0:
            return ""
        raw: bytes | None = api.llama_vocab_get_text(self._vocabulary, token)
        return (raw or b"").decode(errors="replace")

    def is_end_of_generation(self, token: int) -> bool:
        """The token ends an answer (EOS, EOT and the like)."""
        return bool(api.llama_vocab_is_eog(self._vocabulary, token))

    def is_control(self, token: int) -> bool:
        """The token steers the model and has no text of its own."""
        return bool(api.llama_vocab_is_control(self._vocabulary, token))

    def is_added(self, token: int) -> bool:
        """The token was added to the vocabulary by hand and looks like a tag, `<tool_call>`."""
        attributes = api.llama_vocab_get_attr(self._vocabulary, token)
        text = self.piece(token)
        return bool(attributes & api.LLAMA_TOKEN_ATTR_USER_DEFINED) and (
            text.startswith(b"<") and text.endswith(b">")
        )

    def suppressed_tokens(self) -> list[int]:
        """Tokens that the model's file says must never be sampled."""
        count = ctypes.c_int32()
        tokens = api.llama_vocab_get_suppress_tokens(self._vocabulary, ctypes.byref(count))
        return list(tokens[: count.value]) if tokens else []


def _expert_overrides(layers: int) -> Any:
    """The experts of the first layers in main memory, as llama.cpp's `--n-cpu-moe` puts them.

    Source: llama.cpp, common/common.h, LLM_FFN_EXPS_REGEX.
    """
    experts = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
    main_memory = cpu_buffer_type()
    rows = [
        _BufferOverride(rf"blk\.{layer}{experts}".encode(), main_memory) for layer in range(layers)
    ]
    return (_BufferOverride * (layers + 1))(*rows, _BufferOverride())
