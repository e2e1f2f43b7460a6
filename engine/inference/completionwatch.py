"""What is measured of one answer, however many completions it takes."""

import asyncio
import time
from types import TracebackType

from olmkit.engine.errors import EngineError
from olmkit.engine.inference.completionevents import Finished
from olmkit.engine.scheduling.leases import Lease
from olmkit.engine.telemetry.metrics import Metrics, end_of
from olmkit.engine.telemetry.requestrecord import current_record
from olmkit.registry.errors import Cancelled, RegistryError


class CompletionWatch:
    """A context manager around the making of an answer, told of what happens in it."""

    def __init__(self, metrics: Metrics, *, model: str, began_ns: int) -> None:
        """`began_ns`: `time.perf_counter_ns()` when the request came in."""
        self._metrics = metrics
        self._model = metrics.model(model)
        self._began_ns = began_ns
        self._last_ns = 0
        """When the last token came; 0: none yet."""
        self._between = metrics.between_tokens_s.of(self._model)
        self._record = current_record()
        self._is_leased = False
        self._end: Finished | None = None

    def leased(self, lease: Lease, *, context_tokens: int) -> None:
        """The model is there; the request may use `context_tokens` of its context, 0: all."""
        if self._is_leased:
            return
        self._is_leased = True
        self._metrics.queue_s.of(self._model).observe(lease.queued_ns / 1e9)
        if self._record is not None:
            loaded = lease.loaded.context_tokens
            self._record.device = lease.device
            self._record.context_tokens = min(context_tokens or loaded, loaded)

    def shortened(self, dropped_turns: int) -> None:
        """Turns were left out of the prompt."""
        if self._record is not None:
            self._record.lost["messages"] = dropped_turns

    def token(self) -> None:
        """A token came."""
        now_ns = time.perf_counter_ns()
        if self._last_ns:
            self._between.observe((now_ns - self._last_ns) / 1e9)
        else:
            first_s = (now_ns - self._began_ns) / 1e9
            self._metrics.first_token_s.of(self._model).observe(first_s)
        self._last_ns = now_ns

    def finished(self, end: Finished) -> None:
        """The answer has ended as it should."""
        self._end = end
        record = self._record
        if record is None:
            return
        record.used_tokens = (record.used_tokens or 0) + end.completion_tokens
        if record.cached_tokens is None:  # several answers have one prompt
            record.cached_tokens = end.cached_tokens
            record.used_tokens += end.prompt_tokens
        lost = {"prompt-tokens": end.dropped_tokens, "answer-tokens": end.shifted_tokens}
        for what, count in lost.items():
            if count:
                record.lost[what] = max(count, record.lost.get(what, 0))

    def __enter__(self) -> "CompletionWatch":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._metrics.completions.of(self._model, self._how(error)).add()
        if self._end is not None:
            self._count(self._end)

    def _how(self, error: BaseException | None) -> str:
        if self._end is not None:
            return str(self._end.reason)
        if isinstance(error, Cancelled | GeneratorExit | asyncio.CancelledError):
            return "cancelled"
        return end_of(error) if isinstance(error, EngineError | RegistryError) else "internal"

    def _count(self, end: Finished) -> None:
        metrics, model = self._metrics, self._model
        metrics.prompt_tokens.of(model).add(end.prompt_tokens)
        metrics.cached_tokens.of(model).add(end.cached_tokens)
        metrics.cache_hits.of(model).add(end.cached_tokens > 0)
        metrics.completion_tokens.of(model).add(end.completion_tokens)
        for lost, count in (
            ("messages", end.dropped_turns),
            ("prompt_tokens", end.dropped_tokens),
            ("answer_tokens", end.shifted_tokens),
        ):
            if count:
                metrics.truncations.of(model, lost).add()
