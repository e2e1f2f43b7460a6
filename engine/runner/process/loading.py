"""From a load request to a model that is ready, or to the bytes that it would take.

Every failure becomes one sentence and a kind. Options are checked here, before llama.cpp sees
them: what it cannot take, it may answer by ending the process.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from olmkit.engine.framing import path_of, printable
from olmkit.engine.kvcachetypes import KV_CACHE_TYPES
from olmkit.engine.runner import log
from olmkit.engine.runner.bindings import (
    CARD_STREAMS,
    MOST_SEQUENCES,
    PROCESSOR_STREAMS,
    Adapter,
    Context,
    ContextOptions,
    DeviceBytes,
    LogLevel,
    Model,
    NativeError,
    Streams,
    free_adapter,
    memory_by_device,
    take_errors,
)
from olmkit.engine.runner.decoding.adaptersets import AdapterSets
from olmkit.engine.runner.decoding.drawing.drawing import DrawingPool
from olmkit.engine.runner.decoding.drawing.drawingtimes import fastest_drawing
from olmkit.engine.runner.decoding.embedding import Embedder, EmbeddingPlan, plan_embedding
from olmkit.engine.runner.decoding.generation import Generator
from olmkit.engine.runner.decoding.governor import ThreadGovernor
from olmkit.engine.runner.decoding.threads import default_threads
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.layouts import Layout, SplitMode
from olmkit.engine.runner.process.adapterloading import load_adapter
from olmkit.engine.runner.process.draftloading import LoadedDraft, load_draft, wants_head
from olmkit.engine.runner.process.offloading import (
    connect,
    device_names,
    is_remote,
    offload_of,
)
from olmkit.engine.runner.process.promptstore import stored_states
from olmkit.engine.runner.process.reasons import check_kind, context_failure, model_failure
from olmkit.engine.runner.protocol import (
    Buffer,
    Drawing,
    FailureKind,
    Load,
    Loaded,
    LoadOperation,
    LoadOptions,
)
from olmkit.engine.runner.speculation.promptlookup import MOST_DEPTH

_MAGIC: Final = b"GGUF"
_PROBE_TOKENS: Final = 32
_FLOAT_BYTES: Final = 4
_CARD_THREADS: Final = 4
"""Threads that look up the vectors of tokens where cards compute the rest. They spin for
milliseconds after it: as many as there are cores take those from all others."""
_MANY_STREAMS: Final = 8
"""Requests side by side from which on a processor looks at their cells one by one with profit."""
_ENCODER_SEQUENCES: Final = 32
"""Inputs that an encoder embeds side by side: it keeps nothing of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A model that is ready."""

    model: Model
    generator: Generator | None
    """The model's completions; None where it was loaded only to embed."""
    embedder: Embedder
    loaded: Loaded


def load(request: Load, on_progress: Callable[[float], bool]) -> Instance:
    """Carries out a COMMIT; `on_progress` gets fractions of the weights, False gives up.

    Raises:
        RequestFailed: the file, the options or the memory are not what it takes.
    """
    check_files(request)
    loading = _Loading(request)
    loading.load_model(on_progress)
    try:
        return loading.instance()
    except RequestFailed:
        loading.close()
        raise


def fit(request: Load) -> Loaded:
    """Carries out a FIT: the same answer as a COMMIT gives, with nothing allocated.

    Weights that llama.cpp repacks for the CPU count once here and twice when they are loaded from
    a mapped file, which counts from its first tensor in main memory to its last. Where the
    vocabulary is left unread, what the answer says of tokens means nothing.

    Raises:
        RequestFailed: as `load`; out of memory only where the plan itself has no room.
    """
    check_files(request)
    loading = _Loading(request)
    loading.load_model(lambda _: True)
    try:
        return loading.instance().loaded
    finally:
        loading.close()


def load_vocabulary(request: Load) -> tuple[Model, Loaded]:
    """Carries out a VOCABULARY: a model that only tokenizes, in some ten milliseconds.

    Raises:
        RequestFailed: the file cannot be read, or has no vocabulary that llama.cpp knows.
    """
    check_files(request)
    started_ns = time.monotonic_ns()
    take_errors()
    try:
        model = Model(
            path_of(request.files.weights_path),
            vocabulary_only=True,
            plain_buffers=request.mode.plain_buffers,
            cpu_only=request.mode.cpu_only,
        )
    except NativeError as error:
        raise model_failure(take_errors()) from error
    return model, Loaded(
        id=request.id,
        buffers=[],
        context_tokens=0,
        trained_context_tokens=0,
        vocabulary_tokens=model.vocabulary_tokens,
        embedding_length=0,
        has_encoder_only=False,
        adds_bos=model.adds_bos,
        adds_eos=model.adds_eos,
        bos_token=model.token_name(model.bos),
        eos_token=model.token_name(model.eos),
        threads=0,
        load_ns=time.monotonic_ns() - started_ns,
    )


def check_files(request: Load) -> None:
    """Refuses files and options of which llama.cpp would make nonsense.

    Raises:
        RequestFailed: BAD_MODEL for files, BAD_REQUEST for options.
    """
    path, options = path_of(request.files.weights_path), request.options
    try:
        with open(path, "rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        raise RequestFailed(
            FailureKind.BAD_MODEL, f"the model file {printable(path)} cannot be read: {reason}"
        ) from error
    if magic != _MAGIC:
        size = os.path.getsize(path)
        problem = "is no GGUF file" if size else "is empty"
        raise RequestFailed(FailureKind.BAD_MODEL, f"the model file {problem}")
    _check_options(options)


def _check_options(options: LoadOptions) -> None:
    problems = (
        (options.context_tokens < 1, "the context needs at least 1 token"),
        (options.batch_tokens < 1, "a batch needs at least 1 token"),
        (
            not 1 <= options.sequences <= MOST_SEQUENCES,
            f"sequences must be 1 to {MOST_SEQUENCES}, not {options.sequences}",
        ),
        (
            not 1 <= options.contexts <= options.sequences,
            f"contexts must be 1 to {options.sequences}, not {options.contexts}",
        ),
        (options.threads < 0, "threads must not be negative"),
        (
            options.kv_cache_type not in KV_CACHE_TYPES,
            f"unknown KV cache type '{options.kv_cache_type}': one of {', '.join(KV_CACHE_TYPES)}",
        ),
    )
    for is_wrong, message in problems:
        if is_wrong:
            raise RequestFailed(FailureKind.BAD_REQUEST, message)


class _Loading:
    """One load request on its way; owns what it made until `instance` has returned."""

    def __init__(self, request: Load) -> None:
        self._request = request
        self._options = request.options
        self._is_dry = request.operation is LoadOperation.FIT
        self._threads = _affordable(self._options.threads) or default_threads()
        self._adapters: list[tuple[str, Adapter]] = []
        self._contexts: list[Context] = []
        self._started_ns = time.monotonic_ns()
        self._model: Model | None = None
        self._draft = LoadedDraft()

    @property
    def _is_cpu_only(self) -> bool:
        """Cards without layers would get prompts all the same, and hold memory for them."""
        return self._request.mode.cpu_only or self._options.gpu_layers == 0

    @property
    def _has_kv_on_host(self) -> bool:
        return (self._request.layout or Layout()).kv_on_host

    @property
    def _is_on_cards(self) -> bool:
        """All layers are on cards of this machine, and their KV cache with them."""
        layout = self._request.layout
        if layout is None or self._is_cpu_only or layout.kv_on_host:
            return False
        is_here = not any(map(is_remote, layout.devices))
        return is_here and layout.layers > self.model.layer_count

    @property
    def _streams(self) -> Streams | None:
        """Each request has a stream of its own where it has a context of its own, and all layers
        are on cards or the requests are many.

        A recurrent state does not forget the token of a slot that only fills a gap. A sliding
        window takes room for a whole batch in each stream. Copies between streams were not tried
        on devices of other machines, nor with tensors that are split.
        """
        options, model = self._options, self.model
        layout = self._request.layout or Layout()
        has_own = options.contexts == options.sequences > 1
        pays = self._is_on_cards or options.sequences >= _MANY_STREAMS
        is_plain = not model.has_recurrent_state and not model.window_tokens
        is_known = layout.split_mode is SplitMode.LAYER and not any(map(is_remote, layout.devices))
        if not (has_own and pays and is_plain and is_known):
            return None
        return CARD_STREAMS if self._is_on_cards else PROCESSOR_STREAMS

    @property
    def model(self) -> Model:
        """The model, once it is loaded."""
        assert self._model is not None
        return self._model

    def close(self) -> None:
        """Frees all that was made."""
        if self._draft.drafter is not None:
            self._draft.drafter.close()
        for context in self._contexts:
            context.close()
        if self._model is not None:
            self._model.close()

    def load_model(self, on_progress: Callable[[float], bool]) -> None:
        """Reads the file.

        Raises:
            RequestFailed: it cannot be loaded.
        """
        layout = self._request.layout
        if layout is not None and not self._is_cpu_only:
            connect(device_names(layout))
        # A draft model is held against the vocabulary.
        unread = self._request.unread if self._request.files.draft_path is None else None
        take_errors()
        try:
            self._model = Model(
                path_of(self._request.files.weights_path),
                gpu_layers=self._options.gpu_layers,
                main_gpu=self._options.main_gpu,
                use_mmap=self._options.use_mmap,
                dry_run=self._is_dry,
                plain_buffers=self._request.mode.plain_buffers,
                cpu_only=self._is_cpu_only,
                with_head=wants_head(self._request),
                offload=offload_of(layout),
                unread_vocabulary=(unread.architecture, unread.tokens) if unread else None,
                on_progress=on_progress,
            )
        except NativeError as error:
            raise model_failure(take_errors()) from error

    def instance(self) -> Instance:
        """The contexts over the model, and what all of it takes.

        Raises:
            RequestFailed: the model is of a kind that cannot be run, or there is no memory.
        """
        model, options = self.model, self._options
        check_kind(model)
        if not options.threads and self._is_on_cards:
            self._threads = min(self._threads, _CARD_THREADS)
        if not self._is_dry:
            self._load_adapters()
        limit = min(options.context_tokens, model.trained_context_tokens or options.context_tokens)
        pool_tokens = limit * options.contexts
        context = self._first_context(pool_tokens)
        is_causal = context.is_causal and model.has_decoder
        plan = plan_embedding(
            model, is_causal=is_causal, context_tokens=limit, batch_tokens=options.batch_tokens
        )

        def embedding_context(tokens: int) -> Context:
            return self._embedding_context(plan, tokens, is_causal=is_causal)

        if is_causal and not options.embedding:
            self._draft = draft = load_draft(self._request, model, context)
            # Those of a step spin on their cores for a while after it.
            threads = max(1, 1 + default_threads() - self._threads)
            drawing = None if self._is_dry else fastest_drawing(model, threads=threads)
            loaded = self._loaded(context, limit, is_encoder=False, drawing=drawing)
            uses_card = any(one.weights_bytes for one in loaded.buffers if one.device != "CPU")
            # A step of a card's is only queued here: its time says nothing of the threads.
            is_on_card = uses_card and not any(
                one.kv_bytes for one in loaded.buffers if one.device == "CPU"
            )
            is_free = not self._options.threads and not is_on_card
            governor = ThreadGovernor(self._threads) if is_free else None
            generator = Generator(
                model,
                context,
                limit_tokens=limit,
                pool_tokens=pool_tokens,
                drawing=DrawingPool(model.vocabulary_tokens, drawing, threads=threads),
                governor=governor,
                prompt_cache_bytes=options.prompt_cache_bytes,
                stored=None if self._is_dry else stored_states(self._request),
                drafter=draft.drafter,
                adapters=AdapterSets(
                    context,
                    loaded=self._adapters,
                    load=lambda path: load_adapter(model, path_of(path)),
                    free=free_adapter,
                ),
            )
            embedder = Embedder(model, plan, embedding_context)
        else:
            context.close()
            limit = plan.limit_tokens
            context = self._reported(lambda: embedding_context(limit))
            generator = None
            embedder = Embedder(model, plan, embedding_context, context=context)
            outputs = self._outputs(plan.batch_tokens)
            loaded = self._loaded(context, limit, is_encoder=not is_causal, outputs=outputs)
        return Instance(model=model, generator=generator, embedder=embedder, loaded=loaded)

    def _load_adapters(self) -> None:
        for path in self._request.files.adapter_paths:
            self._adapters.append((path, load_adapter(self.model, path_of(path))))

    # --- contexts ----------------------------------------------------------------------------

    def _first_context(self, pool_tokens: int) -> Context:
        """The context for generation; only a small one to look at, when it is for embeddings."""
        options = self._options
        batch = max(options.batch_tokens, options.sequences)
        if options.embedding:
            pool_tokens, batch = _PROBE_TOKENS, _PROBE_TOKENS
        context_options = ContextOptions(
            context_tokens=pool_tokens,
            batch_tokens=batch,
            sequences=1 if options.embedding else options.sequences,
            draft_tokens=0 if options.embedding else MOST_DEPTH,
            threads=self._threads,
            kv_cache_type=options.kv_cache_type,
            flash_attention=options.flash_attention,
            kv_on_host=self._has_kv_on_host,
            streams=self._streams,
        )
        return self._reported(lambda: self._context(context_options))

    def _embedding_context(self, plan: EmbeddingPlan, tokens: int, *, is_causal: bool) -> Context:
        options = self._options
        sequences = options.sequences if is_causal else _ENCODER_SEQUENCES
        return self._context(
            ContextOptions(
                context_tokens=tokens,
                batch_tokens=plan.batch_tokens,
                # llama.cpp plans a step with a token a sequence, and ends the process where the
                # step has not so many.
                sequences=min(sequences, plan.batch_tokens),
                threads=self._threads,
                kv_cache_type=options.kv_cache_type,
                flash_attention=options.flash_attention,
                kv_on_host=self._has_kv_on_host,
                pooling=plan.pooling,
            )
        )

    def _context(self, options: ContextOptions) -> Context:
        context = Context(self.model, options)
        self._contexts.append(context)
        if self._adapters:
            context.apply_adapters([(adapter, 1.0) for _, adapter in self._adapters])
        return context

    def _reported(self, make: Callable[[], Context]) -> Context:
        """Makes a context; its failure is that of the load."""
        take_errors()
        try:
            return make()
        except NativeError as error:
            raise context_failure(take_errors()) from error

    # --- the answer --------------------------------------------------------------------------

    def _outputs(self, batch_tokens: int) -> list[DeviceBytes]:
        """What results take when every token of a batch has one, as in embedding.

        llama.cpp makes room for them when the first such batch comes, for logits too, which no
        encoder has. It reports none of it.

        Source: llama.cpp, src/llama-context.cpp, output_reserve.
        """
        model = self.model
        row_bytes = _FLOAT_BYTES * (model.vocabulary_tokens + model.embedding_length)
        return [
            DeviceBytes(
                device="CPU", weights_bytes=0, kv_bytes=0, compute_bytes=batch_tokens * row_bytes
            )
        ]

    def _loaded(
        self,
        context: Context,
        limit_tokens: int,
        *,
        is_encoder: bool,
        outputs: Sequence[DeviceBytes] = (),
        drawing: Drawing | None = None,
    ) -> Loaded:
        model = self.model
        return Loaded(
            id=self._request.id,
            buffers=buffers_of(
                memory_by_device(model, context, split_over=device_names(self._request.layout)),
                self._draft.taken,
                outputs,
            ),
            context_tokens=limit_tokens,
            trained_context_tokens=model.trained_context_tokens,
            vocabulary_tokens=model.vocabulary_tokens,
            embedding_length=model.embedding_length,
            has_encoder_only=is_encoder,
            adds_bos=model.adds_bos,
            adds_eos=model.adds_eos,
            bos_token=model.token_name(model.bos),
            eos_token=model.token_name(model.eos),
            threads=self._threads,
            load_ns=time.monotonic_ns() - self._started_ns,
            notes=[self._draft.problem] if self._draft.problem else [],
            drawing=drawing,
        )


def buffers_of(*parts: Sequence[DeviceBytes]) -> list[Buffer]:
    """What all of these take together, by device."""
    by_device: dict[str, list[DeviceBytes]] = {}
    for one in chain.from_iterable(parts):
        by_device.setdefault(one.device, []).append(one)
    return [
        Buffer(
            device=device,
            weights_bytes=sum(one.weights_bytes for one in taken),
            kv_bytes=sum(one.kv_bytes for one in taken),
            compute_bytes=sum(one.compute_bytes for one in taken),
            repacked_bytes=sum(one.repacked_bytes for one in taken),
        )
        for device, taken in sorted(by_device.items())
    ]


def _affordable(threads: int) -> int:
    """As many threads as asked for, up to twice what can run at once; a line in the log else."""
    most = 2 * (os.cpu_count() or 1)
    if threads > most:
        log.write(LogLevel.WARN, f"num_thread {threads} is over twice the processors: {most} it is")
    return min(threads, most)
