"""What is measured of one answer, however many completions it takes."""

import asyncio
import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final

from olmkit.engine.errors import EngineError
from olmkit.engine.inference.completionevents import Finished
from olmkit.engine.models.options import Options
from olmkit.engine.scheduling.leases import Lease
from olmkit.engine.telemetry.metrics import Metrics, end_of
from olmkit.engine.telemetry.requestrecord import current_record
from olmkit.engine.telemetry.tracing import AnswerTrace
from olmkit.registry.errors import Cancelled, RegistryError

_LONG_WAIT_S: Final = 1.0
"""For room in the KV cache, of which the log tells."""

log = logging.getLogger(__name__)


class CompletionWatch:
    """A context manager around the making of an answer, told of what happens in it."""

    def __init__(
        self, metrics: Metrics, *, model: str, began_ns: int, options: Options | None = None
    ) -> None:
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
        self._first_s = 0.0
        self._trace: AnswerTrace | None = None
        self._texts: list[str] | None = None
        """What the model wrote, where traces are to tell it."""
        if self._record is not None and self._record.trace is not None:
            asked = _asked(options) if options is not None else {}
            self._trace = self._record.trace.answer(self._record.route, model, asked)
            self._texts = [] if self._trace.with_content else None

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

    def prompted(self, prompt: str) -> None:
        """The model gets this prompt."""
        if self._trace is not None and self._trace.with_content:
            self._trace.asked(prompt)

    def reading(self, processed_tokens: int, total_tokens: int) -> None:
        """So much of a long prompt has been read."""
        if self._record is not None and self._record.progress is not None:
            self._record.progress.reading(processed_tokens, total_tokens)

    def tokens(self, texts: Sequence[str]) -> None:
        """Tokens came together, and with each a text, which may be empty.

        Each took its part of the time since those before.
        """
        if self._texts is not None:
            self._texts += texts
        now_ns = time.perf_counter_ns()
        if self._last_ns:
            gap_s = (now_ns - self._last_ns) / len(texts) / 1e9
            self._between.observe(gap_s, count=len(texts))
        else:
            self._first_s = (now_ns - self._began_ns) / 1e9
            self._metrics.first_token_s.of(self._model).observe(self._first_s)
        self._last_ns = now_ns

    def finished(self, end: Finished) -> None:
        """The answer has ended as it should."""
        self._end = end
        record = self._record
        if record is None:
            return
        record.used_tokens = (record.used_tokens or 0) + end.completion_tokens
        record.completion_tokens += end.completion_tokens
        if record.cached_tokens is None:  # several answers have one prompt
            record.prompt_tokens = end.prompt_tokens
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
        how = self._how(error)
        self._metrics.completions.of(self._model, how).add()
        if self._record is not None:
            self._record.end = how
        if self._trace is not None:
            self._tell(self._trace, how, error)
        if self._end is not None:
            self._count(self._end)

    def _how(self, error: BaseException | None) -> str:
        if self._end is not None:
            return str(self._end.reason)
        if isinstance(error, Cancelled | GeneratorExit | asyncio.CancelledError):
            return "cancelled"
        return end_of(error) if isinstance(error, EngineError | RegistryError) else "internal"

    def _tell(self, trace: AnswerTrace, how: str, error: BaseException | None) -> None:
        end, facts = self._end, dict[str, Any]()
        if self._first_s:
            facts["gen_ai.response.time_to_first_chunk"] = self._first_s
        if self._record is not None and self._record.device:
            facts["olm.device"] = self._record.device
        if end is None:
            trace.end(facts, how, str(error) if isinstance(error, EngineError) else "")
            return
        facts |= {
            "gen_ai.response.finish_reasons": [how],
            "gen_ai.usage.input_tokens": end.prompt_tokens,
            "gen_ai.usage.cache_read.input_tokens": end.cached_tokens,
            "gen_ai.usage.output_tokens": end.completion_tokens,
        }
        if self._texts is not None:
            trace.answered("".join(self._texts), how)
        trace.end(facts)

    def _count(self, end: Finished) -> None:
        metrics, model = self._metrics, self._model
        metrics.prompt_tokens.of(model).add(end.prompt_tokens)
        metrics.cached_tokens.of(model).add(end.cached_tokens)
        metrics.cache_hits.of(model).add(end.cached_tokens > 0)
        metrics.completion_tokens.of(model).add(end.completion_tokens)
        if end.room_wait_ns:
            waited_s = end.room_wait_ns / 1e9
            metrics.room_wait_s.of(model).observe(waited_s)
            if waited_s >= _LONG_WAIT_S:
                facts = {"model": model, "waited_s": round(waited_s, 3)}
                log.info("a request waited for room in the KV cache", extra=facts)
        for lost, count in (
            ("messages", end.dropped_turns),
            ("prompt_tokens", end.dropped_tokens),
            ("answer_tokens", end.shifted_tokens),
        ):
            if count:
                metrics.truncations.of(model, lost).add()


def _asked(options: Options) -> dict[str, Any]:
    """A request's parameters by the names of the conventions."""
    sampling = options.sampling
    asked: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
    }
    if options.max_tokens > 0:
        asked["max_tokens"] = options.max_tokens
    if sampling.seed >= 0:
        asked["seed"] = sampling.seed
    if options.stop:
        asked["stop_sequences"] = list(options.stop)
    return asked
