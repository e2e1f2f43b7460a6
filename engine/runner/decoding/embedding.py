"""Embeddings and rankings: inputs of all waiting requests packed into batches, one pooled vector an
input. That of a reranking model holds the scores of a query and a document instead.

How tokens are pooled is the model's own setting; a model without one gets the mean of all tokens
where each token sees all others, and the last token where it sees only those before it. Only a
causal model that pools by the last token can decode an input in several steps; for all others the
input must fit one batch, which is made as large as the context, up to `MOST_POOLED_TOKENS`.

A model loaded for generation embeds too, in a second context that lives as long as there are
inputs and is as large as they need.
"""

import array
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from olmkit.engine.framing import MAX_FRAME_BYTES
from olmkit.engine.runner import log
from olmkit.engine.runner.bindings import Batch, Context, LogLevel, Model, NativeError, Pooling
from olmkit.engine.runner.decoding.pairs import PairReader
from olmkit.engine.runner.failures import RequestFailed, context_exceeded
from olmkit.engine.runner.protocol import (
    Embedded,
    Embedding,
    FailureKind,
    Ranked,
    Ranking,
    Reply,
)

MOST_POOLED_TOKENS: Final = 2048
"""Longest input of a model that must see all of it in one batch, unless a larger batch is set."""

_READING_NS: Final = 10_000_000
"""Of one step, for tokenizing."""

_MOST_TOKEN_CHARACTERS: Final = 256
"""Of one token: the longest of known vocabularies are runs of 128 blanks or dashes."""

_MOST_LOGITS_BYTES: Final = 256 << 20
"""llama.cpp computes and keeps logits for every token of an embedding batch of a decoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingPlan:
    """How a model embeds."""

    pooling: Pooling
    limit_tokens: int
    """The longest input."""
    batch_tokens: int
    can_split: bool
    """Whether an input may be decoded in several steps."""


def plan_embedding(
    model: Model, *, is_causal: bool, context_tokens: int, batch_tokens: int
) -> EmbeddingPlan:
    """The model's pooling, and the sizes that go with it."""
    architecture = model.metadata("general.architecture")
    named = model.metadata(f"{architecture}.pooling_type")
    pooling = Pooling(int(named)) if named in {str(one.value) for one in Pooling} else Pooling.NONE
    if pooling is Pooling.NONE:
        pooling = Pooling.LAST if is_causal else Pooling.MEAN
    if is_causal and pooling is Pooling.LAST:
        affordable = _MOST_LOGITS_BYTES // (8 * max(1, model.vocabulary_tokens))
        batch_tokens = min(batch_tokens, max(64, affordable), context_tokens)
        return EmbeddingPlan(
            pooling=pooling,
            limit_tokens=context_tokens,
            batch_tokens=batch_tokens,
            can_split=True,
        )
    limit_tokens = min(context_tokens, max(batch_tokens, MOST_POOLED_TOKENS))
    return EmbeddingPlan(
        pooling=pooling, limit_tokens=limit_tokens, batch_tokens=limit_tokens, can_split=False
    )


@dataclass(slots=True, eq=False)
class _Job:
    """One request: its vectors as they come."""

    request: Embedding | Ranking
    vectors: list[bytes]
    missing: int
    prompt_tokens: int
    truncated: list[int]
    """Which of its texts lost their end."""


@dataclass(slots=True, eq=False)
class _Input:
    """One text of a request."""

    job: _Job
    index: int
    tokens: list[int]
    decoded: int = 0


@dataclass(slots=True, eq=False)
class _Unread:
    """A request whose inputs are being tokenized, some a step."""

    request: Embedding | Ranking
    texts: list[list[int]] = field(default_factory=list)
    truncated: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Step:
    """The inputs of one batch, by sequence id."""

    inputs: list[_Input] = field(default_factory=list)


class Embedder:
    """All embedding requests of one loaded model."""

    def __init__(
        self,
        model: Model,
        plan: EmbeddingPlan,
        make_context: Callable[[int], Context],
        *,
        context: Context | None = None,
    ) -> None:
        """`make_context` gets the size in tokens; `context`, when given, stays for good."""
        self._model = model
        self._plan = plan
        self._make_context = make_context
        self._context = context
        self._is_resident = context is not None
        self._batch = Batch(plan.batch_tokens)
        self._pairs = PairReader(model)
        self._ranks = plan.pooling is Pooling.RANK
        self._inputs: deque[_Input] = deque()
        self._unread: deque[_Unread] = deque()
        self.steps = 0

    @property
    def waiting_inputs(self) -> int:
        """Inputs still to be embedded."""
        return len(self._inputs) + len(self._unread)

    def submit(self, request: Embedding | Ranking) -> list[Reply]:
        """Queues the inputs of a request; a request without any is answered at once.

        Raises:
            RequestFailed: there are too many inputs, or the model cannot do this.
        """
        if self._ranks is not isinstance(request, Ranking):
            message = (
                "a reranking model gives no embeddings"
                if self._ranks
                else "the model has no classifier to rank documents by"
            )
            raise RequestFailed(FailureKind.UNSUPPORTED, message)
        count = len(_texts(request))
        if count * (4 * self._dimensions + 8) > MAX_FRAME_BYTES // 2:
            raise RequestFailed(FailureKind.BAD_REQUEST, f"{count} inputs are too many at once")
        if not count:
            return [
                self._reply(_Job(request, vectors=[], missing=0, prompt_tokens=0, truncated=[]))
            ]
        self._unread.append(_Unread(request))
        return []

    @property
    def _dimensions(self) -> int:
        """Numbers that come of an input."""
        return self._model.class_count if self._ranks else self._model.embedding_length

    def cancel(self, request_id: int) -> list[Reply]:
        """Ends a request; nothing for an unknown id."""
        for unread in self._unread:
            if unread.request.id == request_id:
                self._unread.remove(unread)
                error = RequestFailed(FailureKind.CANCELLED, "the request was cancelled")
                return [error.reply(request_id)]
        for waiting in self._inputs:
            if waiting.job.request.id == request_id:
                error = RequestFailed(FailureKind.CANCELLED, "the request was cancelled")
                return [self._fail(waiting.job, error)]
        return []

    def step(self) -> list[Reply]:
        """Decodes one batch, if there is work, and returns the requests that it finished."""
        replies = self._read_some()
        if not self._inputs:
            return replies
        try:
            context = self._fitting_context()
            replies += self._decode(context, self._fill_batch())
        except NativeError:
            error = RequestFailed(
                FailureKind.OUT_OF_MEMORY, "there is not enough memory for embeddings"
            )
            replies += [self._fail(job, error) for job in self._jobs(self._inputs)]
        if not self._inputs and not self._is_resident and self._context is not None:
            self._context.close()
            self._context = None
        return replies

    # --- the inputs --------------------------------------------------------------------------

    def _read_some(self) -> list[Reply]:
        """Tokenizes inputs of waiting requests for a moment: other answers of the model go on."""
        until_ns = time.monotonic_ns() + _READING_NS
        while self._unread:
            unread = self._unread[0]
            request, texts = unread.request, unread.texts
            wanted = _texts(request)
            limit = min(request.context_tokens or self._plan.limit_tokens, self._plan.limit_tokens)
            try:
                while len(texts) < len(wanted):
                    texts.append(self._input_tokens(unread, wanted[len(texts)], limit))
                    if time.monotonic_ns() > until_ns:
                        break
            except RequestFailed as error:
                self._unread.popleft()
                if len(wanted) > 1 and not request.truncate:
                    error.input_index = len(texts)
                return [error.reply(request.id)]
            if len(texts) < len(wanted):
                return []
            self._unread.popleft()
            count, total = len(texts), sum(map(len, texts))
            job = _Job(
                request,
                vectors=[b""] * count,
                missing=count,
                prompt_tokens=total,
                truncated=unread.truncated,
            )
            self._inputs += [_Input(job, index, tokens) for index, tokens in enumerate(texts)]
        return []

    def _input_tokens(self, unread: _Unread, text: str, limit: int) -> list[int]:
        request = unread.request
        if isinstance(request, Embedding):
            tokens, is_cut = self._tokens(text, limit, truncate=request.truncate)
            if is_cut:
                unread.truncated.append(len(unread.texts))
            return tokens
        query = _bounded(request.query, limit, truncate=False)
        document = _bounded(text, limit, truncate=request.truncate)
        return self._pairs.tokens(query, document, limit=limit, truncate=request.truncate)

    def _tokens(self, text: str, limit: int, *, truncate: bool) -> tuple[list[int], bool]:
        """An input's tokens, and whether it was cut; it keeps its closing token (SEP, EOS)."""
        bounded = _bounded(text, limit, truncate=truncate)
        is_cut = len(bounded) < len(text)
        tokens = self._model.tokenize(bounded, add_special=True, parse_special=True)
        if len(tokens) > limit:
            if not truncate:
                raise context_exceeded(len(tokens), limit)
            closing = tokens[-1:] if self._model.is_control(tokens[-1]) else []
            return tokens[: limit - len(closing)] + closing, True
        # An empty text of a model that adds no token of its own: something must be decoded.
        return tokens or [max(self._model.eos, self._model.bos, 0)], is_cut

    def _fitting_context(self) -> Context:
        """A context with room for the next input.

        Raises:
            NativeError: there is no memory for one.
        """
        needed = max(len(self._inputs[0].tokens), self._plan.batch_tokens)
        context = self._context
        if context is not None and context.options.context_tokens >= needed:
            return context
        if context is not None:
            context.close()
            self._context = None
        self._context = self._make_context(needed)
        return self._context

    # --- a step ------------------------------------------------------------------------------

    def _fill_batch(self) -> list[_Input]:
        """Puts as many inputs into the batch as it holds; returns them by sequence id.

        One that is longer than a batch goes alone, a chunk a step.
        """
        self._batch.clear()
        taken: list[_Input] = []
        most = self._context.options.sequences if self._context else 1
        for waiting in self._inputs:
            room = self._batch.capacity - self._batch.count
            chunk = waiting.tokens[waiting.decoded :]
            is_split = len(waiting.tokens) > self._batch.capacity
            if taken and (is_split or len(chunk) > room or len(taken) == most):
                break
            chunk = chunk[:room]
            self._batch.add(
                chunk, position=waiting.decoded, sequence=len(taken), outputs=len(chunk)
            )
            waiting.decoded += len(chunk)
            taken.append(waiting)
            if is_split:
                break
        return taken

    def _decode(self, context: Context, taken: list[_Input]) -> list[Reply]:
        status = context.decode(self._batch)
        self.steps += 1
        if status != 0:
            log.write(LogLevel.WARN, f"an embedding step failed: status {status}")
            context.clear_memory()
            error = RequestFailed(FailureKind.INTERNAL, f"decoding failed with status {status}")
            return [self._fail(job, error) for job in self._jobs(taken)]
        replies: list[Reply] = []
        for sequence, waiting in enumerate(taken):
            if waiting.decoded < len(waiting.tokens):
                return []
            replies += self._finish(context, sequence, waiting)
        context.clear_memory()
        return replies

    def _finish(self, context: Context, sequence: int, waiting: _Input) -> list[Reply]:
        """Takes an input's vector out of the context."""
        job = waiting.job
        if waiting not in self._inputs:
            return []  # its request failed on an input before it
        self._inputs.remove(waiting)
        raw = context.pooled_embedding(sequence, self._dimensions)
        vector = raw if self._ranks else _normalized(raw)
        if vector is None:
            message = "embedding contains NaN or Inf values"
            return [self._fail(job, RequestFailed(FailureKind.INTERNAL, message))]
        job.vectors[waiting.index] = vector
        job.missing -= 1
        if job.missing:
            return []
        return [self._reply(job)]

    def _reply(self, job: _Job) -> Reply:
        request_id, tokens = job.request.id, job.prompt_tokens
        if self._ranks:
            scores = [array.array("f", vector)[0] for vector in job.vectors]
            return Ranked(id=request_id, scores=scores, prompt_tokens=tokens)
        return Embedded(
            id=request_id,
            vectors=job.vectors,
            dimensions=self._dimensions,
            prompt_tokens=tokens,
            truncated=job.truncated,
        )

    def _jobs(self, inputs: "deque[_Input] | list[_Input]") -> list[_Job]:
        return list(dict.fromkeys(waiting.job for waiting in inputs))

    def _fail(self, job: _Job, error: RequestFailed) -> Reply:
        self._inputs = deque(waiting for waiting in self._inputs if waiting.job is not job)
        return error.reply(job.request.id)


def _texts(request: Embedding | Ranking) -> list[str]:
    return request.inputs if isinstance(request, Embedding) else request.documents


def _bounded(text: str, limit: int, *, truncate: bool) -> str:
    """The text, or the beginning of one that has over `limit` tokens, whatever it says.

    Raises:
        RequestFailed: CONTEXT_EXCEEDED, it has, and is not to be cut.
    """
    most = limit * _MOST_TOKEN_CHARACTERS
    if len(text) > most and not truncate:
        raise context_exceeded(len(text) // _MOST_TOKEN_CHARACTERS, limit)
    return text[:most]


def _normalized(raw: bytes) -> bytes | None:
    """A float32 vector of length 1; zero stays zero; None when a value is not finite."""
    vector = array.array("f", raw)
    norm = math.hypot(*vector)
    if not math.isfinite(norm):
        return None
    if norm == 0:
        return raw
    return array.array("f", [value / norm for value in vector]).tobytes()
