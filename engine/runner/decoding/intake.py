"""A request for a completion, checked and made into a `Sequence`."""

from collections.abc import Iterable
from typing import Final

from olmkit.engine.runner.bindings import Model
from olmkit.engine.runner.decoding.adaptersets import AS_LOADED, AdapterSets
from olmkit.engine.runner.decoding.sampling import check_logit_bias, check_sampling
from olmkit.engine.runner.decoding.sequences import Sequence, without_middle
from olmkit.engine.runner.decoding.text.detokenizer import Detokenizer, visible_piece
from olmkit.engine.runner.decoding.text.settled import SettledTokens
from olmkit.engine.runner.decoding.text.stops import StopScanner
from olmkit.engine.runner.failures import RequestFailed, context_exceeded
from olmkit.engine.runner.protocol import Completion, FailureKind
from olmkit.engine.runner.speculation.promptlookup import PromptLookup

_LEAST_CUT_TOKENS: Final = 4
"""A context below cannot hold what is left of a prompt that is cut."""

_MOST_CONTEXTS: Final = 10
"""An answer without a limit of its own ends after so many times the context (Ollama's figure)."""


class Intake:
    """Makes sequences of the requests to one model."""

    def __init__(self, model: Model, *, limit_tokens: int, adapters: AdapterSets | None) -> None:
        """`limit_tokens`: what the context holds; `adapters` None: there are none to choose."""
        self._adapters = adapters
        self._model = model
        self._limit_tokens = limit_tokens

    def sequence(self, request: Completion, others: Iterable[Sequence]) -> Sequence:
        """The sequence of a request, its prompt tokenized and, where it may be, cut.

        `others`: all that have not ended yet, whose adapters must stay.

        Raises:
            RequestFailed: its options or its prompt are wrong, or the prompt is too long.
        """
        check_sampling(request.sampling)
        check_logit_bias(self._model, request.logit_bias)
        given = self._prompt_tokens(request.prompt)
        room = request.room
        limit = min(room.context_tokens or self._limit_tokens, self._limit_tokens)
        kept = len(given) if room.keep_tokens < 0 else room.keep_tokens + self._model.adds_bos
        kept = max(0, min(kept, limit - 2))
        tokens = given
        if len(given) + 1 > limit:
            if not room.truncate or limit < _LEAST_CUT_TOKENS:
                raise context_exceeded(len(given), limit)
            tokens = without_middle(given, kept=kept, limit=limit)
        most = _MOST_CONTEXTS * limit if request.max_tokens < 0 else request.max_tokens
        return Sequence(
            request=request,
            tokens=tokens,
            limit_tokens=limit,
            most_tokens=most,
            kept_tokens=kept,
            prompt_tokens=len(tokens),
            told_tokens=list(given) if request.tells_prompt else [],
            dropped_tokens=len(given) - len(tokens),
            detokenizer=Detokenizer(visible_piece(self._model, request.marks)),
            stops=StopScanner(request.stop),
            settled=SettledTokens(),
            stop_tokens=self._stop_tokens(request.stop),
            variant=self._variant(request, others),
            lookup=PromptLookup() if self._may_draft(request) else None,
        )

    def _variant(self, request: Completion, others: Iterable[Sequence]) -> int:
        if self._adapters is None:
            return AS_LOADED
        return self._adapters.variant(request.adapters, in_use={one.variant for one in others})

    def _may_draft(self, request: Completion) -> bool:
        """A wrong guess must be taken back, which a recurrent state cannot."""
        is_wanted = request.draft_tokens != 0 and not request.reproducible
        return is_wanted and not self._model.has_recurrent_state

    def _prompt_tokens(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, str):
            tokens = self._model.tokenize(prompt, add_special=True, parse_special=True)
        else:
            tokens = list(prompt)
            size = self._model.vocabulary_tokens
            if not all(0 <= token < size for token in tokens):
                raise RequestFailed(
                    FailureKind.BAD_REQUEST, f"a token of the prompt is not in 0 to {size - 1}"
                )
        if not tokens:
            raise RequestFailed(FailureKind.BAD_REQUEST, "the prompt is empty")
        return tokens

    def _stop_tokens(self, stops: Iterable[str]) -> dict[int, str]:
        found = {}
        for stop in stops:
            tokens = self._model.tokenize(stop, add_special=False, parse_special=True)
            if len(tokens) == 1 and self._model.is_control(tokens[0]):
                found[tokens[0]] = stop
        return found
