"""The daemon's metrics; docs/observability.md says what each means.

Used from the event loop. What is counted for every token is found once a request.
Source of the bounds: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
"""

import re
from collections.abc import Iterable
from typing import Final

from olmkit.engine.telemetry.series import OTHER, Counter, Histogram

MOST_MODELS: Final = 100
"""Names of models that have series of their own; what comes later is `other`."""
METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

_FIRST_TOKEN_S: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 30, 60),
)
_BETWEEN_TOKENS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1),
    *(0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5),
)
_WAIT_S: Final = (0.001, 0.01, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """All that is counted while the daemon runs."""

    def __init__(self) -> None:
        self._models: set[str] = set()
        self.in_progress = 0
        """Requests that are being answered."""
        model = ("model",)
        self.requests = Counter(
            "olm_http_requests_total",
            "Requests that were answered, or whose client left.",
            ("route", "method", "status"),
        )
        self.request_s = Histogram(
            "olm_http_request_duration_seconds",
            "From a request's head to the last byte of its answer.",
            ("route",),
            bounds=_WAIT_S,
        )
        self.completions = Counter(
            "olm_completions_total",
            "Answers of models, by how they ended.",
            ("model", "end"),
        )
        self.queue_s = Histogram(
            "olm_queue_seconds",
            "How long requests waited for their turn, loading aside.",
            model,
            bounds=_WAIT_S,
        )
        self.room_wait_s = Histogram(
            "olm_room_wait_seconds",
            "How long requests waited for room in the KV cache that they share, those that did.",
            model,
            bounds=_WAIT_S,
        )
        self.load_s = Histogram(
            "olm_load_seconds", "How long models took to load.", model, bounds=_WAIT_S
        )
        self.loads = Counter(
            "olm_loads_total", "Loads of models, by how they ended.", ("model", "end")
        )
        self.first_token_s = Histogram(
            "olm_time_to_first_token_seconds",
            "From a request's arrival to the first token of its answer.",
            model,
            bounds=_FIRST_TOKEN_S,
        )
        self.between_tokens_s = Histogram(
            "olm_inter_token_seconds",
            "Between one token of an answer and the next.",
            model,
            bounds=_BETWEEN_TOKENS_S,
        )
        self.prompt_tokens = Counter(
            "olm_prompt_tokens_total", "Tokens of prompts, cached ones included.", model
        )
        self.cached_tokens = Counter(
            "olm_prompt_cached_tokens_total", "Tokens of prompts that needed no work.", model
        )
        self.cache_hits = Counter(
            "olm_prompt_cache_hits_total", "Prompts of which a part was cached.", model
        )
        self.completion_tokens = Counter(
            "olm_completion_tokens_total", "Tokens that models wrote.", model
        )
        self.embeddings = Counter("olm_embeddings_total", "Texts that were made vectors.", model)
        self.truncations = Counter(
            "olm_truncations_total",
            "Requests that lost something to a full context: turns or prompt tokens before the"
            " answer, or tokens while it was written.",
            ("model", "lost"),
        )

    def model(self, name: str) -> str:
        """The label of a model: its name, as long as there are not too many."""
        if name in self._models or len(self._models) < MOST_MODELS:
            self._models.add(name)
            return name
        return OTHER

    def method(self, name: str) -> str:
        """The label of a request's method."""
        return name if name in METHODS else OTHER

    def text(self, read_now: Iterable[str] = ()) -> str:
        """A scrape; `read_now`: texts of families whose values are read when asked for."""
        families = [each for each in vars(self).values() if isinstance(each, Counter | Histogram)]
        return "".join((*(family.text() for family in families), *read_now))


def end_of(error: BaseException) -> str:
    """The label of an end that is a failure: the error's name, of which the code has a few."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).lower()
