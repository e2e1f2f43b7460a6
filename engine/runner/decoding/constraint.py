"""Answers held to a grammar: any JSON object, or what a JSON schema describes (llguidance).

A token is sampled as always and only then checked; the mask over the whole vocabulary is computed
when it does not fit, and another one sampled under it: most tokens fit.
The end of an answer fits only where the grammar is satisfied.

llguidance and numpy are imported when the first such request comes. Its tokenizer (once a model,
0.3 to 2 s by the size of the vocabulary) and every grammar are made in a thread, so that other
requests go on; llguidance keeps Python's lock while it builds the tokenizer, and they stand still
for 0.1 to 0.6 s.

Knows nothing of batches and slots.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from olmkit.engine.runner.bindings import Candidates, Context, Model, Sampler
from olmkit.engine.runner.failures import RequestFailed
from olmkit.engine.runner.protocol import Constraint, ConstraintKind, FailureKind

if TYPE_CHECKING:
    from queue import SimpleQueue

    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions  # named nowhere else

MAX_SCHEMA_BYTES: Final = 128 * 1024
"""Of a schema's text: far more than people write."""
MAX_MULTIPLE: Final = 20_000
"""Least common multiple of all `multipleOf` of a schema, numerators and denominators."""

_STACK_BYTES: Final = 256 << 20
"""Of the thread: llguidance follows references by recursion, and a chain of a thousand of them
ended the process on the usual 8 MiB. Only what is used takes memory."""

_MOST_REASON_CHARACTERS: Final = 400

_ANY_OBJECT: Final = '{"type":"object"}'

LAYOUT: Final["JsonCompileOptions"] = {
    "item_separator": ",",
    "key_separator": ":",
    "whitespace_flexible": True,
    "whitespace_pattern": r"\x20?",
    "lenient": False,
}
"""At most one blank between two tokens of JSON: where line breaks are free, small models write
nothing else. All of it is said here, for a schema could change the defaults (`x-guidance`)."""

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

    def sample(self, sampler: Sampler, context: Context, index: int) -> int:
        """Samples a token that fits from the output at a batch index, and accepts it.

        A token that was refused leaves no trace in the sampler but a draw of its random numbers.

        Raises:
            RequestFailed: no token fits, or the grammar grew over the limits.
        """
        token = self._desk.pick(sampler, context, index)
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
        self._candidates = Candidates(self._size)
        fields = [("id", np.int32), ("logit", np.float32), ("probability", np.float32)]
        self._rows = np.frombuffer(self._candidates.memory, dtype=fields)
        self._every = np.arange(self._size, dtype=np.int32)

    def pick(self, sampler: Sampler, context: Context, index: int) -> int:
        """A token out of all, without accepting it."""
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

    def __init__(self, schema: str) -> None:
        from threading import Event

        self.schema = schema
        self._done = Event()
        self._guide: Guide | None = None
        self._error: Exception | None = None

    @property
    def is_done(self) -> bool:
        """`guide` does not wait."""
        return self._done.is_set()

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

    def run(self, make: Callable[[str], Guide]) -> None:
        """Makes it, in the thread."""
        try:
            self._guide = make(self.schema)
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

    def prepare(self, constraint: Constraint) -> Preparation:
        """Starts to make a guide.

        Raises:
            RequestFailed: BAD_REQUEST, the schema is none or costs too much.
        """
        schema = _ANY_OBJECT
        if constraint.kind is ConstraintKind.SCHEMA:
            schema = constraint.text
            check_schema(schema)
        if self._queue is None:
            self._queue = self._start()
        preparation = Preparation(schema)
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

    def _guide(self, schema: str) -> Guide:
        if self._tokenizer is None:
            self._tokenizer = _tokenizer(self._model)
        if self._desk is None:
            self._desk = _Desk(self._model)
        return Guide(_matcher(self._tokenizer, schema), self._desk)


def check_schema(text: str) -> None:
    """Refuses what is no JSON object, and what llguidance's own limits do not stop.

    A `multipleOf` becomes an automaton with a state a remainder, several together one with a
    state a remainder of their least common multiple: a million take seconds and 300 MB.

    Raises:
        RequestFailed: BAD_REQUEST.
    """
    import json
    import math
    from decimal import Decimal

    size_bytes = len(text.encode())
    if size_bytes > MAX_SCHEMA_BYTES:
        raise _invalid(f"it has {size_bytes} bytes, at most {MAX_SCHEMA_BYTES} are taken")
    multiples: list[int] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, value in pairs:
            if key == "multipleOf" and isinstance(value, int | float) and value:
                multiples.extend(abs(part) for part in Decimal(str(value)).as_integer_ratio())
        return dict(pairs)

    try:
        schema = json.loads(text, object_pairs_hook=collect)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise _invalid("it cannot be read") from error
    if not isinstance(schema, dict):
        raise _invalid("it is no object")
    if math.lcm(*multiples) > MAX_MULTIPLE:
        raise _invalid(f"multipleOf is taken up to {MAX_MULTIPLE}, all of them together")


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


def _matcher(tokenizer: "LLTokenizer", schema: str) -> "LLMatcher":
    """A matcher at the beginning of an answer, which has at least one token to begin with.

    Raises:
        RequestFailed: BAD_REQUEST, with llguidance's reason.
    """
    from llguidance import LLMatcher, LLParserLimits

    try:
        grammar = LLMatcher.grammar_from_json_schema(schema, overrides=LAYOUT)
    except ValueError as error:
        raise _invalid(str(error)) from error
    limits = LLParserLimits(
        max_grammar_size=_MOST_SYMBOLS, max_lexer_states=_MOST_STATES, verbose_errors=False
    )
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=limits)
    if matcher.is_error():
        raise _invalid(_reason(matcher))
    matcher.compute_bitmask()
    if matcher.is_error():
        reason = _reason(matcher)
        raise _invalid("no text fits it" if reason.startswith("NoExtension") else reason)
    return matcher


def _reason(matcher: "LLMatcher") -> str:
    """What llguidance says, in one line."""
    text = matcher.get_error().replace("<non-verbose/>", "")
    return " ".join(text.split())[:_MOST_REASON_CHARACTERS]


def _invalid(reason: str) -> RequestFailed:
    return RequestFailed(FailureKind.BAD_REQUEST, f"invalid JSON schema in format: {reason}")


def _stuck(matcher: "LLMatcher") -> RequestFailed:
    reason = _reason(matcher) or matcher.stop_reason()
    return RequestFailed(
        FailureKind.BAD_REQUEST, f"the answer cannot go on within the format: {reason}"
    )
