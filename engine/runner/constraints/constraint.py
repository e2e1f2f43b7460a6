"""Answers held to a grammar (llguidance).

A token is sampled as always and only then checked; the mask over the whole vocabulary is computed
when it does not fit, and another one sampled under it: most tokens fit.
The end of an answer fits only where the grammar is satisfied.

llguidance and numpy are imported when the first such request comes. Its tokenizer (once a model,
0.3 to 2 s by the size of the vocabulary) and every grammar are made in a thread, so that other
requests go on, each grammar in a fork with limits first (`rehearsal`) and once for all requests of
the same schema; llguidance keeps Python's lock while it builds the tokenizer, and they stand still
for 0.1 to 0.6 s.

Knows nothing of batches and slots.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from olmkit.engine.runner.bindings import Candidates, Context, Model, Sampler, Shortlist
from olmkit.engine.runner.constraints.grammars import check_constraint, grammar_of, invalid, refused
from olmkit.engine.runner.constraints.rehearsal import (
    RehearsalCancelled,
    RehearsalFailed,
    rehearse,
)
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.protocol import Constraint, ConstraintKind, FailureKind

if TYPE_CHECKING:
    from queue import SimpleQueue

    from llguidance import LLMatcher, LLTokenizer

_STACK_BYTES: Final = 256 << 20
"""Of the thread: llguidance follows references by recursion, and a chain of a thousand of them
ended the process on the usual 8 MiB. Only what is used takes memory."""

_MOST_REASON_CHARACTERS: Final = 400

_KNOWN_CONSTRAINTS: Final = 32
"""So many compiled grammars are kept, some kilobytes each."""

_MOST_SYMBOLS: Final = 100_000
"""Of a grammar: a fifth of llguidance's own limit."""
_MOST_STATES: Final = 30_000
"""Of its lexer, 1 to 2 kB each: an eighth of llguidance's own limit."""


class Guide:
    """Where one answer is in its grammar."""

    def __init__(self, matcher: "LLMatcher", desk: "_Desk") -> None:
        self._matcher = matcher
        self._desk = desk

    @property
    def is_complete(self) -> bool:
        """Nothing can follow any more but the end."""
        return bool(self._matcher.is_stopped())

    def sample(
        self, sampler: Sampler, context: Context, index: int, *, picked: int | None = None
    ) -> int:
        """Samples a token that fits from the output at a batch index, and accepts it.

        `picked`: the token that the sampler drew there already, without accepting it.

        A token that was refused leaves no trace in the sampler but a draw of its random numbers,
        and, as in llama.cpp, what mirostat learned of its surprise.

        Raises:
            RequestFailed: no token fits, or the grammar grew over the limits.
        """
        token = self._desk.pick(sampler, context, index) if picked is None else picked
        if not self._matcher.validate_tokens([token]):
            mask = self._matcher.compute_bitmask()
            if self._matcher.is_error() or not mask.strip(b"\0"):
                raise _stuck(self._matcher)
            token = self._desk.pick_allowed(sampler, context, index, mask)
        if not self._matcher.consume_token(token):
            raise _stuck(self._matcher)
        sampler.accept(token)
        return token


class _Desk:
    """The candidates of one choice, as arrays over memory that the samplers work on."""

    def __init__(self, model: Model) -> None:
        import numpy as np

        self._size = model.vocabulary_tokens
        self._shortlist = Shortlist(self._size)
        self._candidates = Candidates(self._size)
        self._rows = self._candidates.table()
        self._every = np.arange(self._size, dtype=np.int32)

    def pick(self, sampler: Sampler, context: Context, index: int) -> int:
        """A token out of all, without accepting it."""
        token = self._shortlist.choose(sampler, context, index, threads=context.threads)
        if token is not None:
            return token
        self._rows["id"] = self._every
        self._rows["logit"] = self._logits(context, index)
        return sampler.choose(self._candidates, self._size)

    def pick_allowed(self, sampler: Sampler, context: Context, index: int, mask: bytes) -> int:
        """A token out of those whose bit is set, without accepting it."""
        import numpy as np

        bits = np.unpackbits(np.frombuffer(mask, dtype=np.uint8), bitorder="little")
        allowed = np.flatnonzero(bits[: self._size])
        rows = self._rows[: len(allowed)]
        rows["id"] = allowed
        rows["logit"] = self._logits(context, index)[allowed]
        return sampler.choose(self._candidates, len(allowed))

    def _logits(self, context: Context, index: int) -> Any:
        import numpy as np

        return np.frombuffer(context.logits(index), dtype=np.float32)


class Preparation:
    """A guide that is being made, or waits for that, in the maker's thread."""

    def __init__(self, constraint: Constraint) -> None:
        from threading import Event

        self.constraint = constraint
        self._done = Event()
        self._cancelled = Event()
        self._guide: Guide | None = None
        self._error: Exception | None = None

    @property
    def is_done(self) -> bool:
        """`guide` does not wait."""
        return self._done.is_set()

    @property
    def is_cancelled(self) -> bool:
        """Nobody waits for it any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Nobody wants it any more: it is not made, and given up where it is being made."""
        self._cancelled.set()

    def wait(self, timeout_s: float) -> None:
        """Waits until it is done, or the time is over."""
        self._done.wait(timeout_s)

    def guide(self) -> Guide:
        """The guide, once it is made.

        Raises:
            RequestFailed: BAD_REQUEST, the schema cannot be kept.
        """
        self._done.wait()
        if self._error is not None:
            raise self._error
        assert self._guide is not None
        return self._guide

    def run(self, make: "Callable[[Preparation], Guide]") -> None:
        """Makes it, in the thread."""
        try:
            self._guide = make(self)
        except Exception as error:
            self._error = error
        self._done.set()


class GuideMaker:
    """Makes the guides of one model's completions, one after the other.

    In one thread, however many wait; it starts with the first and blocks when there is none.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._tokenizer: LLTokenizer | None = None
        self._desk: _Desk | None = None
        self._queue: SimpleQueue[Preparation] | None = None
        self._known: dict[object, LLMatcher | RequestFailed] = {}
        """By schema, the one used last at the end: a matcher to copy, or why there is none."""

    def prepare(self, constraint: Constraint) -> Preparation:
        """Starts to make a guide.

        Raises:
            RequestFailed: BAD_REQUEST, the constraint is none or costs too much.
        """
        check_constraint(constraint)
        if self._queue is None:
            self._queue = self._start()
        preparation = Preparation(constraint)
        self._queue.put(preparation)
        return preparation

    def _start(self) -> "SimpleQueue[Preparation]":
        from queue import SimpleQueue
        from threading import Thread, stack_size

        queue: SimpleQueue[Preparation] = SimpleQueue()

        def work() -> None:
            while True:
                queue.get().run(self._guide)

        usual = stack_size(_STACK_BYTES)
        try:
            Thread(target=work, name="constraint", daemon=True).start()
        finally:
            stack_size(usual)
        return queue

    def _guide(self, preparation: Preparation) -> Guide:
        if preparation.is_cancelled:
            raise RequestFailed(FailureKind.CANCELLED, "the request was cancelled")
        if self._tokenizer is None:
            self._tokenizer = _tokenizer(self._model)
        if self._desk is None:
            self._desk = _Desk(self._model)
        constraint = preparation.constraint
        key = (constraint.kind, constraint.text, tuple(constraint.marks.items()))
        found = self._known.pop(key, None)
        if found is None:
            found = self._compile(self._tokenizer, preparation)
        self._known[key] = found
        while len(self._known) > _KNOWN_CONSTRAINTS:
            self._known.pop(next(iter(self._known)))
        if isinstance(found, RequestFailed):
            raise found
        return Guide(found.deep_copy(), self._desk)

    def _compile(
        self, tokenizer: "LLTokenizer", preparation: Preparation
    ) -> "LLMatcher | RequestFailed":
        """A matcher at the beginning of an answer, or why there is none.

        Raises:
            RequestFailed: CANCELLED, nobody waits any more.
        """
        constraint = preparation.constraint

        def compile_grammar() -> "LLMatcher":
            return _matcher(tokenizer, grammar_of(constraint, self._model), constraint.kind)

        try:
            rehearse(compile_grammar, is_cancelled=lambda: preparation.is_cancelled)
            return compile_grammar()
        except RehearsalCancelled as error:
            raise RequestFailed(FailureKind.CANCELLED, "the request was cancelled") from error
        except RehearsalFailed as error:
            return refused(constraint.kind, str(error))


def _tokenizer(model: Model) -> "LLTokenizer":
    """The model's vocabulary as llguidance wants it; every end-of-generation token is an end."""
    from llguidance import LLTokenizer
    from llguidance.llamacpp import lltokenizer_from_vocab

    tokens = range(model.vocabulary_tokens)
    ends = [token for token in tokens if model.is_end_of_generation(token)]
    # In two steps, for each keeps Python's lock; the slices make masks within strings 25 times
    # as fast.
    plain = lltokenizer_from_vocab(model.vocabulary, eos_token=ends, slices=[])
    return plain.with_slices(LLTokenizer.general_slices())


def _matcher(tokenizer: "LLTokenizer", grammar: str, kind: ConstraintKind) -> "LLMatcher":
    """A matcher at the beginning of an answer, which has at least one token to begin with.

    Raises:
        RequestFailed: BAD_REQUEST, with llguidance's reason.
    """
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(
        max_grammar_size=_MOST_SYMBOLS, max_lexer_states=_MOST_STATES, verbose_errors=False
    )
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    if matcher.is_error():
        raise invalid(kind, _reason(matcher))
    matcher.compute_bitmask()
    if matcher.is_error():
        reason = _reason(matcher)
        raise invalid(kind, "no text fits it" if reason.startswith("NoExtension") else reason)
    return matcher


def _reason(matcher: "LLMatcher") -> str:
    """What llguidance says, in one line."""
    text = matcher.get_error().replace("<non-verbose/>", "")
    return " ".join(text.split())[:_MOST_REASON_CHARACTERS]


def _stuck(matcher: "LLMatcher") -> RequestFailed:
    reason = _reason(matcher) or matcher.stop_reason()
    return RequestFailed(
        FailureKind.BAD_REQUEST, f"the answer cannot go on within the format: {reason}"
    )
