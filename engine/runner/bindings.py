"""llama.cpp's C API, as much of it as the runner uses; the only module that imports llama_cpp.

Thin classes over handles: no policy, no protocol. Everything here belongs to the one thread of
the runner. Failures raise `NativeError`; the reason stands in llama.cpp's log lines, which
`take_errors` returns. An assertion inside llama.cpp ends the process: callers keep arguments
in range.

Only the low-level module of llama-cpp-python is imported: its package would bring numpy, jinja2
and diskcache along (three times the start-up time, twice the memory).
"""

import ctypes
import enum
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NewType


class NativeError(Exception):
    """llama.cpp refused something; the log lines of the call tell why."""


def _import_low_level() -> Any:
    """The module `llama_cpp.llama_cpp`, with an empty package in front of it."""
    if "llama_cpp" not in sys.modules:
        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or spec.submodule_search_locations is None:
            raise NativeError("llama-cpp-python is not installed")
        package = types.ModuleType("llama_cpp")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["llama_cpp"] = package
    return importlib.import_module("llama_cpp.llama_cpp")


_api: Final = _import_low_level()
_int32_pointer: Final = ctypes.POINTER(ctypes.c_int32)
_LOAD_MODE_AUTO, _LOAD_MODE_NONE, _LOAD_MODE_MMAP = -1, 0, 1
_SPLIT_MODE_NONE = 0
_MOST_ERRORS: Final = 100
"""Error lines kept for `take_errors`: the first ones tell the cause."""
MOST_SEQUENCES: Final = 256
"""llama.cpp's own limit (LLAMA_MAX_SEQ)."""


Adapter = NewType("Adapter", object)
"""A LoRA adapter that was loaded for a model."""


class Pooling(enum.IntEnum):
    """How the embeddings of a sequence's tokens become one vector."""

    NONE = 0
    MEAN = 1
    CLS = 2
    LAST = 3
    RANK = 4


class LogLevel(enum.IntEnum):
    """ggml's log levels."""

    DEBUG = 1
    INFO = 2
    WARN = 3
    ERROR = 4


KV_TYPES: Final = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "iq4_nl": 20,
    "bf16": 30,
}
"""Element types of the KV cache by name, as ggml numbers them."""


# --- start and log ---------------------------------------------------------------------------


def initialize() -> None:
    """Starts llama.cpp; to be called once, before anything else here.

    Raises:
        NativeError: the library's structures are not those that the bindings describe: calls
            would pass garbage.
    """
    model, context = _api.llama_model_default_params(), _api.llama_context_default_params()
    known = (
        model.n_gpu_layers == -1,
        model.load_mode == _LOAD_MODE_AUTO,
        model.progress_callback_user_data is None,
        model.use_extra_bufts and not model.vocab_only and not model.no_alloc,
        (context.n_ctx, context.n_batch, context.n_ubatch, context.n_seq_max)
        == (512, 2048, 512, 1),
        (context.pooling_type, context.flash_attn_type) == (-1, -1),
        (context.type_k, context.type_v) == (KV_TYPES["f16"], KV_TYPES["f16"]),
        context.offload_kqv and not context.embeddings and not context.kv_unified,
        (context.n_samplers, context.ctx_other) == (0, None),
    )
    if not all(known):
        version = _api.llama_version().decode()
        raise NativeError(f"llama.cpp {version} does not match its Python bindings")
    _api.llama_backend_init()


class _Log:
    """Puts llama.cpp's log pieces together to lines and hands them on."""

    def __init__(self) -> None:
        self.sink: Callable[[LogLevel, str], None] | None = None
        self.errors: list[str] = []
        self._level = LogLevel.DEBUG
        self._text = b""
        # llama.cpp keeps only the pointer: without this reference the next line would crash.
        self.callback = _api.llama_log_callback(self._on_piece)

    def _on_piece(self, level: int, text: bytes, _: object) -> None:
        if level in LogLevel._value2member_map_:
            self._end_line()  # the quantizer's lines are several messages, the last with the end
            self._level = LogLevel(level)
        self._text += text
        if self._text.endswith(b"\n"):
            self._end_line()

    def _end_line(self) -> None:
        line, self._text = self._text.decode(errors="replace").strip(), b""
        if not line or self._level is LogLevel.DEBUG:
            return
        if self._level is LogLevel.ERROR:
            self.errors.append(line)
        if self.sink is not None and line.strip("."):
            self.sink(self._level, line)


_log: Final = _Log()
_api.llama_log_set(_log.callback, None)


def set_log_sink(sink: Callable[[LogLevel, str], None]) -> None:
    """Hands each line that llama.cpp logs above DEBUG to `sink`, without its line end."""
    _log.sink = sink


def take_errors() -> list[str]:
    """The error lines that llama.cpp logged since the last call."""
    errors, _log.errors = _log.errors, []
    return errors


# --- model and vocabulary --------------------------------------------------------------------


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
        on_progress: Callable[[float], bool] = lambda _: True,
    ) -> None:
        """Loads the file; `on_progress` gets fractions and returns False to give up.

        `dry_run` reads the header and the vocabulary and allocates no weights.

        Raises:
            NativeError: it could not be loaded, or `on_progress` said no.
        """
        parameters = _api.llama_model_default_params()
        parameters.n_gpu_layers = gpu_layers
        if main_gpu is not None:
            parameters.split_mode, parameters.main_gpu = _SPLIT_MODE_NONE, main_gpu
        if dry_run:
            # With mmap llama.cpp ends the process on an assertion.
            parameters.no_alloc, parameters.load_mode = True, _LOAD_MODE_NONE
        elif use_mmap is not None:
            parameters.load_mode = _LOAD_MODE_MMAP if use_mmap else _LOAD_MODE_NONE
        callback = _api.llama_progress_callback(lambda fraction, _: on_progress(fraction))
        parameters.progress_callback = callback
        self.handle = _api.llama_model_load_from_file(path.encode(), parameters)
        if not self.handle:
            raise NativeError("the model was not loaded")
        self._vocabulary = _api.llama_model_get_vocab(self.handle)
        self.vocabulary_tokens: int = _api.llama_vocab_n_tokens(self._vocabulary)
        self.bos: int = _api.llama_vocab_bos(self._vocabulary)
        self.eos: int = _api.llama_vocab_eos(self._vocabulary)
        self.adds_bos: bool = _api.llama_vocab_get_add_bos(self._vocabulary)
        self.adds_eos: bool = _api.llama_vocab_get_add_eos(self._vocabulary)
        self._piece = ctypes.create_string_buffer(256)

    def close(self) -> None:
        """Frees the weights; contexts of the model must be closed before."""
        if self.handle:
            _api.llama_model_free(self.handle)
            self.handle = None

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return int(_api.llama_model_size(self.handle))

    @property
    def trained_context_tokens(self) -> int:
        """Context length of the training; 0 when the file does not tell."""
        return int(_api.llama_model_n_ctx_train(self.handle))

    @property
    def embedding_length(self) -> int:
        """Length of an embedding that comes out."""
        return int(_api.llama_model_n_embd_out(self.handle))

    @property
    def window_tokens(self) -> int:
        """Width of the sliding attention window; 0 for none."""
        return int(_api.llama_model_n_swa(self.handle))

    @property
    def is_encoder_decoder(self) -> bool:
        """An encoder feeds a decoder (T5)."""
        return bool(
            _api.llama_model_has_encoder(self.handle) and _api.llama_model_has_decoder(self.handle)
        )

    @property
    def has_decoder(self) -> bool:
        """The model has a decoder; T5 encoders have none (BERT counts as having one)."""
        return bool(_api.llama_model_has_decoder(self.handle))

    @property
    def is_diffusion(self) -> bool:
        """Text comes out by diffusion, not token by token."""
        return bool(_api.llama_model_is_diffusion(self.handle))

    def metadata(self, key: str) -> str | None:
        """A scalar of the GGUF header as text, at most 255 bytes of it; None when absent."""
        buffer = ctypes.create_string_buffer(256)
        length = _api.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
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
            count = _api.llama_tokenize(
                self._vocabulary, raw, len(raw), tokens, capacity, add_special, parse_special
            )
            if count >= 0:
                return tokens[:count]
            if -count <= capacity:
                raise NativeError("the text has too many tokens")
            capacity = -count

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """Bytes of one token; those of control tokens only when `special`."""
        length = _api.llama_token_to_piece(
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
        raw: bytes | None = _api.llama_vocab_get_text(self._vocabulary, token)
        return (raw or b"").decode(errors="replace")

    def is_end_of_generation(self, token: int) -> bool:
        """The token ends an answer (EOS, EOT and the like)."""
        return bool(_api.llama_vocab_is_eog(self._vocabulary, token))

    def is_control(self, token: int) -> bool:
        """The token steers the model and has no text of its own."""
        return bool(_api.llama_vocab_is_control(self._vocabulary, token))

    def suppressed_tokens(self) -> list[int]:
        """Tokens that the model's file says must never be sampled."""
        count = ctypes.c_int32()
        tokens = _api.llama_vocab_get_suppress_tokens(self._vocabulary, ctypes.byref(count))
        return list(tokens[: count.value]) if tokens else []


# --- context ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions:
    """What a context is made with; fixed for its life."""

    context_tokens: int
    batch_tokens: int
    sequences: int
    threads: int
    kv_type: int = KV_TYPES["f16"]
    flash_attention: bool | None = None
    pooling: Pooling | None = None
    """None: the context computes logits; else pooled embeddings."""


class Batch:
    """Tokens of one decode step, with their positions and sequences."""

    def __init__(self, capacity: int) -> None:
        self._tokens: Any = (ctypes.c_int32 * capacity)()
        self._positions = (ctypes.c_int32 * capacity)()
        self._outputs: Any = (ctypes.c_int8 * capacity)()
        self._sequences = (ctypes.c_int32 * capacity)()
        self._counts = (ctypes.c_int32 * capacity)(*[1] * capacity)
        first = ctypes.addressof(self._sequences)
        self._pointers = (_int32_pointer * capacity)(
            *[ctypes.cast(first + 4 * index, _int32_pointer) for index in range(capacity)]
        )
        self.raw = _api.llama_batch(
            n_tokens=0,
            token=self._tokens,
            pos=self._positions,
            n_seq_id=self._counts,
            seq_id=self._pointers,
            logits=self._outputs,
        )
        self.capacity = capacity
        self.count = 0

    def clear(self) -> None:
        """Empties the batch."""
        self.count = 0

    def add(self, tokens: list[int], *, position: int, sequence: int, outputs: int) -> int:
        """Appends consecutive tokens; the last `outputs` of them compute an output.

        Returns:
            The index of the last one, by which its output is fetched.
        """
        start, length = self.count, len(tokens)
        end = start + length
        self._tokens[start:end] = tokens
        self._positions[start:end] = list(range(position, position + length))
        self._sequences[start:end] = [sequence] * length
        self._outputs[start:end] = [0] * (length - outputs) + [1] * outputs
        self.count = end
        return end - 1


class Context:
    """KV cache and compute buffers over a model: where tokens are decoded."""

    def __init__(self, model: Model, options: ContextOptions) -> None:
        """Creates the context.

        Raises:
            NativeError: no memory, or the options do not go with the model.
        """
        parameters = _api.llama_context_default_params()
        parameters.n_ctx = options.context_tokens
        parameters.n_batch = parameters.n_ubatch = options.batch_tokens
        parameters.n_seq_max = options.sequences
        parameters.n_threads = parameters.n_threads_batch = options.threads
        parameters.type_k = parameters.type_v = options.kv_type
        if options.flash_attention is not None:
            parameters.flash_attn_type = int(options.flash_attention)
        parameters.kv_unified, parameters.swa_full = True, False
        if options.pooling is None:
            # One output a sequence: the buffer of logits for a whole batch is not needed.
            parameters.n_outputs_max = options.sequences
        else:
            parameters.embeddings, parameters.pooling_type = True, int(options.pooling)
        self.options = options
        self._vocabulary_tokens = model.vocabulary_tokens
        self.handle = _api.llama_init_from_model(model.handle, parameters)
        if not self.handle:
            raise NativeError("the context was not created")
        self._memory = _api.llama_get_memory(self.handle)
        self.batch_tokens: int = _api.llama_n_batch(self.handle)
        self.is_causal: bool = _api.llama_get_causal_attn(self.handle)

    def close(self) -> None:
        """Frees the context."""
        if self.handle:
            _api.llama_free(self.handle)
            self.handle = None

    def apply_adapters(self, adapters: Sequence[Adapter]) -> None:
        """Adds LoRA adapters (`load_adapter`) to all further decoding, at full strength.

        Raises:
            NativeError: they do not fit the model.
        """
        count = len(adapters)
        handles = (_api.llama_adapter_lora_p_ctypes * count)(*adapters)
        scales = (ctypes.c_float * count)(*[1.0] * count)
        if _api.llama_set_adapters_lora(self.handle, handles, count, scales) != 0:
            raise NativeError("the adapters were not applied")

    def use_threads(self, threads: int) -> None:
        """Sets how many threads compute from the next step on."""
        _api.llama_set_n_threads(self.handle, threads, threads)

    def decode(self, batch: Batch) -> int:
        """Computes a batch; llama.cpp's status: 0 done, 1 no room, 2 aborted, below 0 failed."""
        batch.raw.n_tokens = batch.count
        return int(_api.llama_decode(self.handle, batch.raw))

    def logits(self, index: int) -> Any:
        """The logits of an output as a ctypes array, one a token; valid until the next decode."""
        pointer = _api.llama_get_logits_ith(self.handle, index)
        array = ctypes.c_float * self._vocabulary_tokens
        return ctypes.cast(pointer, ctypes.POINTER(array)).contents

    def pooled_embedding(self, sequence: int, length: int) -> bytes:
        """The pooled embedding of a sequence, as `length` native float32.

        Raises:
            NativeError: there is none.
        """
        pointer = _api.llama_get_embeddings_seq(self.handle, sequence)
        if not pointer:
            raise NativeError("no embedding was computed")
        return ctypes.string_at(pointer, 4 * length)

    def clear_memory(self) -> None:
        """Forgets all sequences."""
        if self._memory:
            _api.llama_memory_clear(self._memory, False)

    def truncate(self, sequence: int, position: int) -> bool:
        """Forgets a sequence's tokens from `position` on; False: not possible, nothing changed.

        From position 0 it always succeeds.
        """
        return bool(_api.llama_memory_seq_rm(self._memory, sequence, position, -1))

    def first_position(self, sequence: int) -> int:
        """The first position that a sequence still has in all its caches; -1 when empty."""
        return int(_api.llama_memory_seq_pos_min(self._memory, sequence))


def load_adapter(model: Model, path: str) -> Adapter:
    """Loads a LoRA adapter; freed together with the model.

    Raises:
        NativeError: the file is no adapter of this model.
    """
    handle = _api.llama_adapter_lora_init(model.handle, path.encode())
    if not handle:
        raise NativeError("the adapter was not loaded")
    return Adapter(handle)


# --- sampling --------------------------------------------------------------------------------


class Sampler:
    """A chain of llama.cpp's samplers, applied in the order of the `add_…` calls."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._chain = _api.llama_sampler_chain_init(_api.llama_sampler_chain_default_params())

    def close(self) -> None:
        """Frees the chain."""
        if self._chain:
            _api.llama_sampler_free(self._chain)
            self._chain = None

    def _add(self, sampler: object) -> None:
        _api.llama_sampler_chain_add(self._chain, sampler)

    def add_suppression(self, tokens: Sequence[int]) -> None:
        """Takes tokens out of the choice."""
        biases = (_api.llama_logit_bias * len(tokens))()
        for bias, token in zip(biases, tokens, strict=True):
            bias.token, bias.bias = token, float("-inf")
        size = self._model.vocabulary_tokens
        self._add(_api.llama_sampler_init_logit_bias(size, len(tokens), biases))

    def add_penalties(
        self, *, last_tokens: int, repeat: float, frequency: float, presence: float
    ) -> None:
        """Lowers tokens that stand among the last ones."""
        size = self._model.vocabulary_tokens
        self._add(_api.llama_sampler_init_penalties(size, last_tokens, repeat, frequency, presence))

    def add_top_k(self, count: int) -> None:
        """Keeps the likeliest tokens."""
        self._add(_api.llama_sampler_init_top_k(count))

    def add_typical(self, probability: float) -> None:
        """Keeps locally typical tokens."""
        self._add(_api.llama_sampler_init_typical(probability, 1))

    def add_top_p(self, probability: float) -> None:
        """Keeps the smallest set of tokens that has this probability."""
        self._add(_api.llama_sampler_init_top_p(probability, 1))

    def add_min_p(self, ratio: float) -> None:
        """Keeps tokens at least `ratio` times as likely as the likeliest."""
        self._add(_api.llama_sampler_init_min_p(ratio, 1))

    def add_temperature(self, temperature: float) -> None:
        """Divides the logits."""
        self._add(_api.llama_sampler_init_temp(temperature))

    def add_choice(self, seed: int) -> None:
        """Ends the chain: draws from the distribution that is left; `seed` is an uint32."""
        self._add(_api.llama_sampler_init_dist(seed))

    def add_greedy(self) -> None:
        """Ends the chain: takes the likeliest token."""
        self._add(_api.llama_sampler_init_greedy())

    def accept(self, token: int) -> None:
        """Tells the penalties of a token that was not sampled here."""
        _api.llama_sampler_accept(self._chain, token)

    def sample(self, context: Context, index: int) -> int:
        """Samples from the output at a batch index, and accepts the token."""
        return int(_api.llama_sampler_sample(self._chain, context.handle, index))


# --- memory ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBytes:
    """What a context and its model take on one device."""

    device: str
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int


class _Tree(ctypes.Structure):
    """A `std::map` of libstdc++: comparator, header node, count."""

    _fields_ = [
        ("comparator", ctypes.c_void_p),
        ("color", ctypes.c_size_t),
        ("root", ctypes.c_void_p),
        ("leftmost", ctypes.c_void_p),
        ("rightmost", ctypes.c_void_p),
        ("count", ctypes.c_size_t),
    ]


class _Node(ctypes.Structure):
    """A node of that map: `{buffer type: {model, context, compute}}`."""

    _fields_ = [
        ("color", ctypes.c_size_t),
        ("parent", ctypes.c_void_p),
        ("left", ctypes.c_void_p),
        ("right", ctypes.c_void_p),
        ("buffer_type", ctypes.c_void_p),
        ("model", ctypes.c_size_t),
        ("context", ctypes.c_size_t),
        ("compute", ctypes.c_size_t),
    ]


def memory_by_device(model: Model, context: Context) -> list[DeviceBytes]:
    """Bytes by device, of dry runs too; host buffers of a card count as `CPU`.

    Asks llama.cpp's own breakdown, a C++ function outside of the C API: its tree is walked as
    libstdc++ lays it out (a few nodes leak). Where the library lacks the symbol only the weights
    are known, as `CPU`.

    Source: llama.cpp, src/llama-ext.h, `llama_get_memory_breakdown`.
    """
    breakdown = getattr(_api._lib, "_Z26llama_get_memory_breakdownPK13llama_context", None)
    if breakdown is None or not sys.platform.startswith("linux"):
        weights = model.size_bytes
        return [DeviceBytes(device="CPU", weights_bytes=weights, kv_bytes=0, compute_bytes=0)]
    breakdown.argtypes, breakdown.restype = [ctypes.c_void_p], _Tree
    sums: dict[str, list[int]] = {}
    pending = [breakdown(context.handle).root]
    while pending:
        address = pending.pop()
        if not address:
            continue
        node = _Node.from_address(address)
        pending += [node.left, node.right]
        device = sums.setdefault(_device_name(node.buffer_type), [0, 0, 0])
        for index, size in enumerate((node.model, node.context, node.compute)):
            device[index] += size
    return [
        DeviceBytes(
            device=device, weights_bytes=sizes[0], kv_bytes=sizes[1], compute_bytes=sizes[2]
        )
        for device, sizes in sorted(sums.items())
    ]


def _device_name(buffer_type: int) -> str:
    lib = _api._lib
    lib.ggml_backend_buft_is_host.argtypes = [ctypes.c_void_p]
    lib.ggml_backend_buft_is_host.restype = ctypes.c_bool
    lib.ggml_backend_buft_get_device.argtypes = [ctypes.c_void_p]
    lib.ggml_backend_buft_get_device.restype = ctypes.c_void_p
    lib.ggml_backend_dev_name.argtypes = [ctypes.c_void_p]
    lib.ggml_backend_dev_name.restype = ctypes.c_char_p
    if lib.ggml_backend_buft_is_host(buffer_type):
        return "CPU"
    device = lib.ggml_backend_buft_get_device(buffer_type)
    name: bytes = lib.ggml_backend_dev_name(device) if device else b"CPU"
    return name.decode()


# --- quantization ----------------------------------------------------------------------------

_DEFAULT_FILE_TYPE = 7


def quantize(source: str, target: str, *, file_type: int, threads: int) -> None:
    """Write the model `source` to `target` with its matrices in another type.

    Blocks, logging a line a tensor. The log lines of a failure are in its message.

    Raises:
        NativeError: llama.cpp cannot read the source, write the target or make that type of it.
    Source: llama.cpp, include/llama.h, `llama_model_quantize`.
    """
    options = _api.llama_model_quantize_default_params()
    if (options.ftype, options.quantize_output_tensor) != (_DEFAULT_FILE_TYPE, True):
        raise NativeError("llama.cpp's quantizer does not match its Python bindings")
    options.ftype, options.nthread = file_type, threads
    if _api.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(options)):
        raise NativeError("; ".join(take_errors()) or "llama.cpp gave no reason")
