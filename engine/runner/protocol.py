"""The messages between the daemon and a runner.

One tagged struct a frame (`engine/framing.py`). Requests carry an `id` chosen by the daemon; every
reply repeats it, so requests are multiplexed over one stream. Both ends run the same olm version,
so the format has no version of its own. Nothing here knows of sockets, asyncio or llama.cpp.
"""

import enum
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from olmkit.engine.framing import decode_payload
from olmkit.engine.runner.layouts import Layout
from olmkit.engine.runner.loadoptions import AdapterUse as AdapterUse
from olmkit.engine.runner.loadoptions import LoadOptions as LoadOptions
from olmkit.engine.runner.loadoptions import ModelFiles as ModelFiles
from olmkit.engine.runner.loadoptions import SafeMode as SafeMode
from olmkit.engine.runner.samplingoptions import Sampling as Sampling

EXIT_NO_ENGINE: Final = 3
"""Exit status of a process that needs llama.cpp: its libraries cannot be loaded, or are not those
that its bindings describe. The last line of its output that begins with `error ` says why."""


class _Message(msgspec.Struct, frozen=True, array_like=True, tag=True, kw_only=True):
    id: int


# --- requests: daemon to runner -------------------------------------------------------------


class LoadOperation(enum.StrEnum):
    """What a load request asks for, from the cheapest to the dearest."""

    FIT = "fit"
    """Dry run: report the bytes that the model would take; allocate nothing."""
    ALLOC = "alloc"
    """Take the memory of `Load.proof` from its devices and give it back at once, without the model:
    shows that it can be had now."""
    COMMIT = "commit"
    """Load the weights and create the context; the runner is ready afterwards."""
    VOCABULARY = "vocabulary"
    """Read the vocabulary alone: the runner tokenizes and detokenizes, and can do nothing else."""


class UnreadVocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """All that sizes need of a vocabulary."""

    architecture: str
    tokens: int


class Load(_Message, frozen=True):
    """Load a model. Answered by `Loaded`, with `LoadProgress` frames before it, or `Failed`."""

    operation: LoadOperation
    files: ModelFiles
    options: LoadOptions
    mode: SafeMode = SafeMode()
    layout: Layout | None = None
    """None: llama.cpp decides, by the memory that it finds free."""
    proof: list["Buffer"] = []
    """What ALLOC takes."""
    unread: UnreadVocabulary | None = None
    """Of a FIT that is for its bytes only: the vocabulary, which is not read then. None: it is
    read, and must be one that llama.cpp knows."""


class ConstraintKind(enum.StrEnum):
    """The kinds of constraints."""

    JSON = "json"
    """Any JSON object; `Constraint.text` is empty."""
    SCHEMA = "schema"
    """A JSON schema."""
    REGEX = "regex"
    """A regular expression that the whole answer matches, in the syntax of Rust's crate regex."""
    LARK = "lark"
    """A grammar in llguidance's dialect of Lark."""
    GBNF = "gbnf"
    """A grammar in llama.cpp's notation."""


class Constraint(msgspec.Struct, frozen=True, kw_only=True):
    """A form that an answer must have, from its first token on."""

    kind: ConstraintKind
    text: str = ""
    marks: dict[str, str] = {}
    """Rules for a LARK grammar, by name: texts that the model writes as control tokens, where its
    vocabulary has them."""


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What a completion may have of the context, and what goes when that is full."""

    context_tokens: int = 0
    """Most tokens of prompt and answer at a time; 0 or more than are loaded: as many as are."""
    truncate: bool = False
    """A prompt that is too long loses its middle: the first `keep_tokens` stay, and so much of
    its end that half of the rest of the context is free."""
    shift: bool = False
    """When the context is full, half of what comes after the first `keep_tokens` is forgotten
    and generation goes on; without it the answer ends with LENGTH."""
    keep_tokens: int = 4
    """Besides BOS; -1: the whole prompt, as far as that leaves room."""


class Completion(_Message, frozen=True):
    """Complete a prompt.

    Answered by `PromptProgress`*, `PromptRead`, `Piece`*, then `Completed`, or by `Failed`.

    `prompt` is text, tokenized with special tokens recognised and BOS/EOS added as the model
    asks, or token ids taken as they are. A prompt (plus one token) longer than the context is
    cut where `room` says so, or fails with `FailureKind.CONTEXT_EXCEEDED`.
    """

    prompt: str | list[int]
    adapters: Sequence[AdapterUse] | None = None
    """What the answer is computed with; None: the adapters of the load, at full strength."""
    sampling: Sampling = Sampling()
    max_tokens: int = -1
    """-1: until the context is full, or ten times that where `room` shifts; 0: the prompt is read
    and nothing sampled."""
    room: Room = Room()
    reproducible: bool = False
    """The same request gives the same bits, whatever ran before or waits beside it: it runs
    alone, from an empty cache, in batches of the same shapes and on the same threads."""
    batch_tokens: int = 0
    """Most tokens of the prompt in one step; 0 or more than the model was loaded for: as many as
    it was loaded for."""
    stop: Sequence[str] = ()
    """The text ends before the first of these; they are never part of it."""
    top_logprobs: int | None = None
    """Number of likeliest tokens to report beside each sampled one; None: no log-probabilities."""
    marks: Sequence[str] = ()
    """Texts that mean something to who reads the answer: control tokens that occur in one of them
    are part of the text, which they are not otherwise."""
    tells_prompt: bool = False
    """`PromptRead` tells the tokens of the prompt."""
    ignore_eos: bool = False
    """Benchmarks only: generate past the end-of-generation token."""
    is_batch: bool = False
    """Nobody waits for it: its prompt is read after those of others."""
    draft_tokens: int = -1
    """Most next tokens that are guessed from the text before and checked in one step; -1: as many
    as pay, 0: none. The answer is the same; a `reproducible` one is never drafted."""
    logit_bias: Mapping[int, float] = {}
    """What is added to the logits of tokens before anything else looks at them; log-probabilities
    are told without it."""
    constraint: Constraint | None = None
    """Ends with STOP once nothing may follow; LENGTH and stop strings may end it before, with a
    text that is not whole. One that cannot be kept fails with `FailureKind.BAD_REQUEST`."""


class Embedding(_Message, frozen=True):
    """Embed texts. Answered by `Embedded` or `Failed`; one vector an input, in order,
    L2-normalised."""

    inputs: list[str]
    truncate: bool = True
    """False: an input over the limit fails with `FailureKind.CONTEXT_EXCEEDED`."""
    context_tokens: int = 0
    """The longest input; 0 or more than are loaded: as many as are."""


class Ranking(_Message, frozen=True):
    """Score how well documents answer a query. Answered by `Ranked` or `Failed`."""

    query: str
    documents: list[str]
    truncate: bool = False
    """A document that is too long loses its end; else the request fails with
    `FailureKind.CONTEXT_EXCEEDED`."""
    context_tokens: int = 0
    """The longest pair of query and document; 0 or more than are loaded: as many as are."""


class Tokenize(_Message, frozen=True):
    """Tokenize a text. Answered by `Tokens`."""

    text: str
    add_special: bool = True
    parse_special: bool = True


class Detokenize(_Message, frozen=True):
    """Turn tokens into text. Answered by `Text`."""

    tokens: list[int]


class Health(_Message, frozen=True):
    """Ask for the decode loop's state. Answered by `Healthy` by the next decode step."""


class Cancel(_Message, frozen=True):
    """End request `id` by the next decode step, with `Completed` or `Failed` (CANCELLED).

    Cancelling an unknown or finished id does nothing.
    """


Request = Load | Completion | Embedding | Ranking | Tokenize | Detokenize | Health | Cancel


# --- replies: runner to daemon --------------------------------------------------------------


class EndReason(enum.StrEnum):
    """Why a completion ended well."""

    STOP = "stop"
    """End-of-generation token or stop string."""
    LENGTH = "length"
    """`max_tokens` reached, or the context is full."""
    CANCELLED = "cancelled"
    REPEAT_LIMIT = "repeat_limit"
    """The same over and over, far past what any text does: one token, or a phrase that has filled
    half of the context when it had to shift."""


class FailureKind(enum.StrEnum):
    """Why a request failed; each becomes an exception of its own in the daemon."""

    BAD_MODEL = "bad_model"
    """The file is corrupt, truncated or of an unknown architecture."""
    OUT_OF_MEMORY = "out_of_memory"
    DEVICE_LOST = "device_lost"
    """A device that the layout names is not there, or does not answer."""
    CONTEXT_EXCEEDED = "context_exceeded"
    """The prompt does not fit; `Failed` carries both numbers."""
    UNSUPPORTED = "unsupported"
    """The loaded model cannot do this (embeddings from a model without, and the like)."""
    BAD_REQUEST = "bad_request"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class Failed(_Message, frozen=True):
    """The request ended in an error; the runner itself lives on."""

    kind: FailureKind
    message: str
    """One sentence for the user, lower case, no full stop."""
    given_tokens: int | None = None
    limit_tokens: int | None = None
    device: str = ""
    """The one that has too little memory, where that is known."""
    input_index: int | None = None
    """Which of several inputs is at fault, counted from 0; None: there is one, or it is none."""


class LoadProgress(_Message, frozen=True):
    """Fraction of the weights read, 0.0 to 1.0."""

    fraction: float


class Buffer(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that one model takes on one device, by use."""

    device: str
    """llama.cpp's device name: `CPU`, `CUDA0` …"""
    weights_bytes: int = 0
    kv_bytes: int = 0
    compute_bytes: int = 0
    repacked_bytes: int = 0
    """The part of the weights that is kept in another order than the file's."""


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """How next tokens are drawn: what was measured to be fastest when the model was loaded."""

    shortlist_from: int | None = None
    """So many requests in one step, or more, whose samplers look at few tokens in the end, get
    those from one search in the logits of all; None: never."""
    threads_from: int | None = None
    """So many others in one step, or more, draw in threads; None: one after the other, always."""


class Loaded(_Message, frozen=True):
    """The model is ready (COMMIT) or measured (FIT)."""

    buffers: list[Buffer]
    context_tokens: int
    """Tokens that the context holds: at most what was asked for and what the model was trained
    on."""
    trained_context_tokens: int
    vocabulary_tokens: int
    embedding_length: int
    has_encoder_only: bool
    """The model computes embeddings and cannot generate."""
    adds_bos: bool
    adds_eos: bool
    bos_token: str
    eos_token: str
    threads: int
    load_ns: int
    notes: list[str] = []
    """One sentence for each thing of the model that is left out."""
    drawing: Drawing | None = None
    """None: no tokens are drawn, or none were yet when it was measured (FIT)."""


class PromptProgress(_Message, frozen=True):
    """Sent after each chunk of a long prompt."""

    processed_tokens: int
    total_tokens: int


class PromptRead(_Message, frozen=True):
    """The prompt of a completion is read; comes with its first token, before the `Piece`."""

    prompt_tokens: int
    cached_tokens: int
    """As in `Completed`, both."""
    tokens: list[int] = []
    """The prompt as it came, where `Completion.tells_prompt` asks for it."""


class TokenLogprob(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Log-probability of one token under the model's own distribution, before sampling."""

    token: str
    raw: bytes
    logprob: float
    top: list["TokenLogprob"] = []


class Piece(_Message, frozen=True):
    """Text that one decode step added, valid UTF-8; may be empty when only `tokens` grew.

    Bytes of an unfinished character and a possible start of a stop string are held back.
    """

    text: str
    tokens: list[int]
    logprobs: list[TokenLogprob] = []


class Completed(_Message, frozen=True):
    """The last frame of a completion; `text` is what was still held back."""

    text: str
    reason: EndReason
    stop_string: str | None
    prompt_tokens: int
    """All tokens of the prompt, cached ones included, those that were cut out not."""
    cached_tokens: int
    """Tokens of the prompt that were cached and needed no work."""
    prompt_ns: int
    completion_tokens: int
    """Tokens that were sampled, an end-of-generation token included."""
    completion_ns: int
    dropped_tokens: int = 0
    """Tokens that were cut out of the prompt."""
    shifted_tokens: int = 0
    """Tokens that were forgotten while the answer was written."""
    drafted_tokens: int = 0
    """Tokens that were guessed from the text before."""
    accepted_tokens: int = 0
    """Those of them that the model said as well."""
    room_wait_ns: int = 0
    """How long it waited for room in the KV pool, before its prompt was read or after."""


class Embedded(_Message, frozen=True):
    """Vectors as packed little-endian float32, and which inputs lost their end."""

    vectors: list[bytes]
    dimensions: int
    prompt_tokens: int
    truncated: list[int] = []
    """Their places among the inputs, counted from 0."""


class Ranked(_Message, frozen=True):
    """One score a document, in order: the first output of the model's classifier as it is."""

    scores: list[float]
    prompt_tokens: int


class Tokens(_Message, frozen=True):
    """Token ids of a `Tokenize`."""

    tokens: list[int]


class Text(_Message, frozen=True):
    """Text of a `Detokenize`; broken bytes become U+FFFD."""

    text: str


class Healthy(_Message, frozen=True):
    """The state of the decode loop."""

    active_sequences: int
    queued_requests: int
    """Requests that wait, whatever for."""
    cached_tokens: int
    steps: int
    """Decode steps since the start: what a watchdog compares."""
    prompt_tokens: int = 0
    """Tokens of prompts, and of texts to embed, that were computed since the start."""
    completion_tokens: int = 0
    """Tokens that were written since the start."""
    short_requests: int = 0
    """Those of `queued_requests` that wait for room in the KV pool."""


class StepOutput(msgspec.Struct, frozen=True, array_like=True, tag=True, kw_only=True):
    """Every reply that one decode step produced, for all sequences, in one frame."""

    replies: list[
        Failed
        | LoadProgress
        | Loaded
        | PromptProgress
        | PromptRead
        | Piece
        | Completed
        | Embedded
        | Ranked
        | Tokens
        | Text
        | Healthy
    ]


Reply = (
    Failed
    | LoadProgress
    | Loaded
    | PromptProgress
    | PromptRead
    | Piece
    | Completed
    | Embedded
    | Ranked
    | Tokens
    | Text
    | Healthy
)


_request_decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_reply_decoder: msgspec.msgpack.Decoder[StepOutput] = msgspec.msgpack.Decoder(StepOutput)


def decode_request(payload: bytes) -> Request:
    """The request in a payload.

    Raises:
        ProtocolViolation: the payload is no request.
    """
    return decode_payload(_request_decoder, payload)


def decode_replies(payload: bytes) -> list[Reply]:
    """The replies in a payload, in the order in which the runner made them.

    Raises:
        ProtocolViolation: the payload is no reply.
    """
    return decode_payload(_reply_decoder, payload).replies
