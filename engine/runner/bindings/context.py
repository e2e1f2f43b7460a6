"""The context of llama.cpp, in which tokens are decoded: KV cache, compute buffers, batches."""

import ctypes
import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from olmkit.engine.kvcachetypes import DEFAULT_KV_CACHE_TYPE, KV_CACHE_TYPES
from olmkit.engine.runner.bindings import innerstates
from olmkit.engine.runner.bindings.adapters import Adapter, ControlVector, LoraAdapter, summed
from olmkit.engine.runner.bindings.library import NativeError, api
from olmkit.engine.runner.bindings.model import Model

MOST_SEQUENCES: Final = 256
"""llama.cpp's own limit (LLAMA_MAX_SEQ)."""

_int32_pointer: Final = ctypes.POINTER(ctypes.c_int32)


class Pooling(enum.IntEnum):
    """How the embeddings of a sequence's tokens become one vector."""

    NONE = 0
    MEAN = 1
    CLS = 2
    LAST = 3
    RANK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Parts of the KV cache that one sequence each has for itself, all of them equally large."""

    filled_gap: int
    """Sequences that are computed in vain where they lie between others of a step, so that those
    are computed at once.
    """
    are_on_cards: bool
    """A card copies a whole stream at once; in main memory that takes longer than a copy of what a
    sequence holds.
    """


CARD_STREAMS: Final = Streams(filled_gap=8, are_on_cards=True)
"""A row more costs a card a hundredth of another step."""
PROCESSOR_STREAMS: Final = Streams(filled_gap=2, are_on_cards=False)
"""A row more costs a processor a quarter of another step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions:
    """What a context is made with; fixed for its life."""

    context_tokens: int
    batch_tokens: int
    sequences: int
    threads: int
    kv_cache_type: str = DEFAULT_KV_CACHE_TYPE
    flash_attention: bool | None = None
    draft_tokens: int = 0
    """Outputs that a step may compute beside one a sequence."""
    kv_on_host: bool = False
    """The KV cache, and attention with it, stay in main memory."""
    streams: Streams | None = None
    """None: all sequences share one pool of cells."""
    pooling: Pooling | None = None
    """None: the context computes logits; else pooled embeddings."""
    is_of_head: bool = False
    """The context computes the head that guesses further tokens, and not the model."""


class Batch:
    """Tokens of one decode step, with their positions and sequences."""

    def __init__(self, capacity: int, *, state_bytes: int = 0) -> None:
        """`state_bytes`: of the state that goes with each token; 0: none does."""
        self._tokens: Any = (ctypes.c_int32 * capacity)()
        self._positions = (ctypes.c_int32 * capacity)()
        self._outputs: Any = (ctypes.c_int8 * capacity)()
        self._sequences = (ctypes.c_int32 * capacity)()
        self._counts = (ctypes.c_int32 * capacity)(*[1] * capacity)
        first = ctypes.addressof(self._sequences)
        self._pointers = (_int32_pointer * capacity)(
            *[ctypes.cast(first + 4 * index, _int32_pointer) for index in range(capacity)]
        )
        self._state_bytes = state_bytes
        self._states: Any = (ctypes.c_float * (capacity * state_bytes // 4))()
        self.raw = api.llama_batch(
            n_tokens=0,
            token=self._tokens,
            embd=self._states if state_bytes else None,
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

    def add(
        self,
        tokens: list[int],
        *,
        position: int,
        sequence: int,
        outputs: int,
        states: bytes = b"",
    ) -> int:
        """Appends consecutive tokens; the last `outputs` of them compute an output.

        `states`: one for each token, where the batch has any.

        Returns:
            The index of the last one, by which its output is fetched.
        """
        start, length = self.count, len(tokens)
        end = start + length
        self._tokens[start:end] = tokens
        self._positions[start:end] = list(range(position, position + length))
        self._sequences[start:end] = [sequence] * length
        self._outputs[start:end] = [0] * (length - outputs) + [1] * outputs
        if self._state_bytes:
            first = ctypes.addressof(self._states) + start * self._state_bytes
            ctypes.memmove(first, states, length * self._state_bytes)
        self.count = end
        return end - 1


class Context:
    """KV cache and compute buffers of a model, in which tokens are decoded."""

    def __init__(self, model: Model, options: ContextOptions) -> None:
        """Creates the context.

        Raises:
            NativeError: no memory, or the options do not go with the model.
        """
        parameters = api.llama_context_default_params()
        batch_tokens = _batch_tokens(options)
        parameters.n_ctx = max(options.context_tokens, batch_tokens)
        parameters.n_batch = parameters.n_ubatch = batch_tokens
        parameters.n_seq_max = options.sequences
        parameters.n_threads = parameters.n_threads_batch = options.threads
        parameters.type_k = parameters.type_v = KV_CACHE_TYPES[options.kv_cache_type].number
        if options.flash_attention is not None:
            parameters.flash_attn_type = int(options.flash_attention)
        parameters.offload_kqv = not options.kv_on_host
        parameters.kv_unified, parameters.swa_full = options.streams is None, False
        if options.pooling is None:
            # Few outputs: the buffer of logits for a whole batch is not needed.
            most = max(options.sequences, options.batch_tokens)
            parameters.n_outputs_max = min(most, options.sequences + options.draft_tokens)
        else:
            parameters.embeddings, parameters.pooling_type = True, int(options.pooling)
        if options.is_of_head:
            parameters.ctx_type = innerstates.CONTEXT_OF_HEAD
        self.options = options
        self.threads = options.threads
        """How many compute a step."""
        self._vocabulary_tokens = model.vocabulary_tokens
        self._width, self._layer_count = model.width, model.layer_count
        self.head_state_bytes: int = ctypes.sizeof(ctypes.c_float) * model.embedding_length
        """Of the state that a head takes from a token."""
        self._vectors: list[tuple[ControlVector, float]] = []
        self.handle = api.llama_init_from_model(model.handle, parameters)
        if not self.handle:
            raise NativeError("the context was not created")
        self._memory = api.llama_get_memory(self.handle)
        self.spare_outputs: int = max(0, parameters.n_outputs_max - options.sequences)
        """Outputs that a step may compute beside one a sequence."""
        self.batch_tokens: int = api.llama_n_batch(self.handle)
        self.is_causal: bool = api.llama_get_causal_attn(self.handle)

    def close(self) -> None:
        """Frees the context."""
        if self.handle:
            api.llama_free(self.handle)
            self.handle = None

    def apply_adapters(self, adapters: Sequence[tuple[Adapter, float]]) -> None:
        """Computes all further steps with these adapters, each at a strength, and with no others.

        Raises:
            NativeError: they do not fit the model.
        """
        loras = [(one.handle, scale) for one, scale in adapters if isinstance(one, LoraAdapter)]
        count = len(loras)
        handles = (api.llama_adapter_lora_p_ctypes * count)(*[handle for handle, _ in loras])
        scales = (ctypes.c_float * count)(*[scale for _, scale in loras])
        if api.llama_set_adapters_lora(self.handle, handles, count, scales) != 0:
            raise NativeError("the adapters were not applied")
        self._apply_vectors([(x, scale) for x, scale in adapters if isinstance(x, ControlVector)])

    def _apply_vectors(self, vectors: list[tuple[ControlVector, float]]) -> None:
        """Adds the sum of these to what the layers put out, all but the first.

        llama.cpp plans its graphs anew at each call, so there is none for nothing.
        Source: llama.cpp, src/llama-adapter.cpp, llama_adapter_cvec::apply.
        """
        if vectors == self._vectors:
            return
        numbers = summed(vectors) if vectors else None
        length, last = len(numbers or ()), self._layer_count
        if api.llama_set_adapter_cvec(self.handle, numbers, length, self._width, 1, last) != 0:
            raise NativeError("the control vectors were not applied")
        self._vectors = vectors

    def use_threads(self, threads: int) -> None:
        """Sets how many threads compute from the next step on.

        llama.cpp writes a line to its log at each call, which costs more than the call.
        """
        if threads != self.threads:
            api.llama_set_n_threads(self.handle, threads, threads)
            self.threads = threads

    def decode(self, batch: Batch) -> int:
        """Computes a batch; llama.cpp's status: 0 done, 1 no room, 2 aborted, below 0 failed."""
        batch.raw.n_tokens = batch.count
        return int(api.llama_decode(self.handle, batch.raw))

    def logits(self, index: int) -> Any:
        """The logits of an output as a ctypes array, one a token; valid until the next decode."""
        return (ctypes.c_float * self._vocabulary_tokens).from_address(self.logits_address(index))

    def logits_address(self, index: int) -> int:
        """Where the logits of an output lie; those of all outputs lie one after the other.

        Raises:
            NativeError: there are none.
        """
        pointer = api.llama_get_logits_ith(self.handle, index)
        address = ctypes.cast(pointer, ctypes.c_void_p).value
        if not address:
            raise NativeError("no logits were computed")
        return address

    def keep_states(self) -> None:
        """Keeps the states of all tokens of a step from now on; a head's context keeps those of its
        outputs.
        """
        innerstates.keep(self.handle, of_outputs_only=self.options.is_of_head)

    def states(self, index: int, count: int) -> memoryview:
        """The bytes of the states of so many tokens of the last step, from one of its batch on;
        valid until the next step.

        Raises:
            NativeError: none were kept.
        """
        first = innerstates.first_address(self.handle) + index * self.head_state_bytes
        size_bytes = count * self.head_state_bytes
        return memoryview((ctypes.c_uint8 * size_bytes).from_address(first)).cast("B")

    def output_state(self, index: int) -> bytes:
        """The state of an output of a head's last step.

        Raises:
            NativeError: there is none.
        """
        return ctypes.string_at(innerstates.address(self.handle, index), self.head_state_bytes)

    def pooled_embedding(self, sequence: int, length: int) -> bytes:
        """The pooled embedding of a sequence, as `length` native float32.

        Raises:
            NativeError: there is none.
        """
        pointer = api.llama_get_embeddings_seq(self.handle, sequence)
        if not pointer:
            raise NativeError("no embedding was computed")
        return ctypes.string_at(pointer, 4 * length)

    def clear_memory(self) -> None:
        """Forgets all sequences."""
        if self._memory:
            api.llama_memory_clear(self._memory, False)

    def truncate(self, sequence: int, position: int) -> bool:
        """Forgets a sequence's tokens from `position` on; False: not possible, nothing changed.

        From position 0 it always succeeds.
        """
        return bool(api.llama_memory_seq_rm(self._memory, sequence, position, -1))

    @property
    def can_shift(self) -> bool:
        """Positions can be moved without computing their tokens again; not with sliding windows."""
        return bool(self._memory and api.llama_memory_can_shift(self._memory))

    def share(self, source: int, target: int, length: int) -> None:
        """Lets an empty sequence have the first `length` tokens of another, in the same cells.

        With separate streams it is a copy, which the next decode makes before anything else: until
        then the state of neither sequence can be taken or restored.
        """
        if self.options.streams:
            # llama.cpp copies whole streams only.
            api.llama_memory_seq_cp(self._memory, source, target, -1, -1)
            api.llama_memory_seq_rm(self._memory, target, length, -1)
        else:
            api.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def remove_span(self, sequence: int, start: int, count: int) -> None:
        """Forgets `count` tokens from `start` on; those behind them move up. See `can_shift`."""
        end = start + count
        api.llama_memory_seq_rm(self._memory, sequence, start, end)
        api.llama_memory_seq_add(self._memory, sequence, end, -1, -count)

    def state_bytes(self, sequence: int) -> int:
        """Size of what `sequence_state` returns."""
        return int(api.llama_state_seq_get_size(self.handle, sequence))

    def sequence_state(self, sequence: int) -> Any:
        """A copy of all that the caches hold of a sequence, as a ctypes array of bytes.

        Raises:
            NativeError: llama.cpp cannot give it.
        """
        size = self.state_bytes(sequence)
        state = (ctypes.c_uint8 * size)()
        if not size or api.llama_state_seq_get_data(self.handle, state, size, sequence) != size:
            raise NativeError("the state of a sequence was not saved")
        return state

    def restore_sequence(self, sequence: int, state: Any) -> bool:
        """Puts a `sequence_state` in place of a sequence; False: no room, it is empty then.

        A state that was kept outside of memory may come as a bytearray.
        """
        size = len(state)
        if isinstance(state, bytearray):
            state = (ctypes.c_uint8 * size).from_buffer(state)
        return bool(api.llama_state_seq_set_data(self.handle, state, size, sequence) == size)

    def first_position(self, sequence: int) -> int:
        """The first position that a sequence still has in all its caches; -1 when empty."""
        return int(api.llama_memory_seq_pos_min(self._memory, sequence))


def _batch_tokens(options: ContextOptions) -> int:
    """Tokens of a step as llama.cpp can plan it.

    A step that is pooled it plans with equally many tokens a sequence, and ends the process where
    they do not come to the whole.

    Source: llama.cpp, src/llama-context.cpp, graph_reserve, and src/llama-graph.cpp, build_pooling.
    """
    if options.pooling is None:
        return options.batch_tokens
    return -(-options.batch_tokens // options.sequences) * options.sequences
