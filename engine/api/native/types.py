"""The JSON of olm's own API (Ollama's native one): requests and replies as msgspec structs.

Requests: every field may be absent or null, as in Go. Replies: what has its default is left out
where Ollama has `omitempty`, and never elsewhere.
Source: https://github.com/ollama/ollama/blob/v0.17.4/api/types.go
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from olmkit.engine.telemetry.requestprogress import RequestProgress


class Request(msgspec.Struct, kw_only=True, frozen=True):
    """What all request bodies are."""


class Function(msgspec.Struct, kw_only=True, frozen=True):
    """The function that a tool call calls."""

    name: str | None = None
    arguments: dict[str, Any] | None = None
    index: int | None = None


class ToolCall(msgspec.Struct, kw_only=True, frozen=True):
    """One call of a tool, by the model."""

    function: Function | None = None
    id: str | None = None


class Message(msgspec.Struct, kw_only=True, frozen=True):
    """One turn of a conversation, as requests carry it."""

    role: str | None = None
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class CommonRequest(Request, kw_only=True, frozen=True):
    """The fields that /api/generate and /api/chat share."""

    model: str | None = None
    stream: bool | None = None
    format: Any = None
    options: dict[str, Any] | None = None
    keep_alive: Any = None
    think: Any = None
    thinking_budget: int | None = None
    """Most tokens of the thought, which is closed then; olm's own."""
    truncate: bool | None = None
    shift: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    debug_render_only: bool | None = msgspec.field(default=None, name="_debug_render_only")


class GenerateRequest(CommonRequest, kw_only=True, frozen=True):
    """POST /api/generate."""

    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    context: list[int] | None = None
    raw: bool | None = None
    images: list[str] | None = None


class ChatRequest(CommonRequest, kw_only=True, frozen=True):
    """POST /api/chat."""

    messages: list[Message] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    """As OpenAI's API has it; olm's own."""


class EmbedRequest(Request, kw_only=True, frozen=True):
    """POST /api/embed."""

    model: str | None = None
    input: Any = None
    truncate: bool | None = None
    dimensions: int | None = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None


class EmbeddingsRequest(Request, kw_only=True, frozen=True):
    """POST /api/embeddings, the older form."""

    model: str | None = None
    prompt: str | None = None
    keep_alive: Any = None
    options: dict[str, Any] | None = None


class TokenizeRequest(Request, kw_only=True, frozen=True):
    """POST /api/tokenize."""

    model: str | None = None
    prompt: str | None = None
    add_special: bool | None = None
    """Whether BOS and EOS are added as the model asks; true unless said otherwise."""


class PlanRequest(Request, kw_only=True, frozen=True):
    """POST /api/plan; olm's own."""

    model: str | None = None
    options: dict[str, Any] | None = None
    parallel: int | None = None
    kv_cache_type: str | None = None
    devices: list[str] | None = None
    quantization: str | None = None
    insecure: bool | None = None


class DetokenizeRequest(Request, kw_only=True, frozen=True):
    """POST /api/detokenize."""

    model: str | None = None
    tokens: list[int] | None = None


class ParseRequest(Request, kw_only=True, frozen=True):
    """POST /api/parse: the raw output of a model, or of any of a family."""

    model: str | None = None
    family: str | None = None
    text: str | None = None
    tools: list[dict[str, Any]] | None = None
    prompt: str | None = None
    """What came before the output; only what it ends with matters. Absent: the model's template
    says it."""
    chunks: int | None = None
    """Pieces in which the text is read; the result is the same."""
    cut: bool | None = None
    """A token limit ended the output."""


class NamedRequest(Request, kw_only=True, frozen=True):
    """Requests about a stored model; `name` is the older spelling of `model`."""

    model: str | None = None
    name: str | None = None

    @property
    def wanted(self) -> str:
        """The model's name as the client sent it, blanks around it aside; empty for none."""
        return (self.model or self.name or "").strip()


class ShowRequest(NamedRequest, kw_only=True, frozen=True):
    """POST /api/show."""

    verbose: bool | None = None
    system: str | None = None
    options: dict[str, Any] | None = None


class DeleteRequest(NamedRequest, kw_only=True, frozen=True):
    """DELETE /api/delete."""

    force: bool | None = None
    """By an ID, remove all names of the model; olm's own."""


class PullRequest(NamedRequest, kw_only=True, frozen=True):
    """POST /api/pull."""

    insecure: bool | None = None
    quantization: str | None = None
    """The one to take where the name stands for several; olm's own."""
    revision: str | None = None
    """The commit of a repository on Hugging Face; olm's own."""
    signed_by: list[str] = []
    """Public keys, as base64 of their DER: one of them must have signed the model; olm's own."""
    signed_as: list[str] = []
    """Patterns of repositories that it may be signed as; none: its own; olm's own."""
    stream: bool | None = None


class PushRequest(NamedRequest, kw_only=True, frozen=True):
    """POST /api/push."""

    insecure: bool | None = None
    stream: bool | None = None
    format: str | None = None
    """Of the manifest in the registry: `ollama`, `modelpack` or `docker`; olm's own."""
    all_quantizations: bool = False
    """The name is to mean all quantizations in its repository; olm's own."""
    compress: bool = False
    """Weights that shrink are to go compressed; olm's own."""


class CopyRequest(Request, kw_only=True, frozen=True):
    """POST /api/copy."""

    source: str | None = None
    destination: str | None = None


class ImportRequest(Request, kw_only=True, frozen=True):
    """POST /api/import: take a file over that the client linked into `incoming`."""

    file: str | None = None
    name: str | None = None
    """What the user calls the file, for messages."""
    stream: bool | None = None


class CreateRequest(NamedRequest, kw_only=True, frozen=True):
    """POST /api/create."""

    from_: str | None = msgspec.field(default=None, name="from")
    files: dict[str, str] | None = None
    adapters: dict[str, str] | None = None
    draft_files: dict[str, str] | None = None
    template: str | None = None
    system: str | None = None
    license: str | list[str] | None = None
    parameters: dict[str, Any] | None = None
    messages: list[Message] | None = None
    quantize: str | None = None
    quantization: str | None = None
    draft_quantize: str | None = None
    try_load: bool | None = None
    """olm's own: prove by a dry run that it loads; unasked where that costs little."""
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    info: dict[str, Any] | None = None
    remote_host: str | None = None
    stream: bool | None = None


def now() -> datetime:
    """The time for `created_at`: UTC, microseconds, which every client's parser takes."""
    return datetime.now(UTC)


class TokenAlternative(msgspec.Struct, kw_only=True, frozen=True):
    """A token that could have stood there."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TokenAlternative, kw_only=True, frozen=True, omit_defaults=True):
    """A generated token with its log-probability."""

    top_logprobs: list[TokenAlternative] = []


class DebugInfo(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The prompt that a request would have run."""

    rendered_template: str
    image_count: int = 0


class ReplyFunction(msgspec.Struct, kw_only=True, frozen=True):
    """The function that the model calls."""

    index: int
    name: str
    arguments: dict[str, Any]


class ReplyToolCall(msgspec.Struct, kw_only=True, frozen=True):
    """One call of a tool in a chat reply."""

    id: str
    function: ReplyFunction


class ReplyMessage(msgspec.Struct, kw_only=True, frozen=True):
    """The message of a chat reply."""

    role: str = "assistant"
    content: str = ""
    thinking: str | msgspec.UnsetType = msgspec.UNSET
    tool_calls: list[ReplyToolCall] | msgspec.UnsetType = msgspec.UNSET


class ParseReply(msgspec.Struct, kw_only=True, frozen=True):
    """The answer to /api/parse."""

    family: str
    message: ReplyMessage


class Dropped(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What a request lost because its context was too short; olm's own."""

    dropped_messages: int = 0
    """Turns left out of the prompt, the oldest ones; system messages never."""
    dropped_prompt_tokens: int = 0
    """Tokens cut out of the middle of the prompt."""
    shifted_tokens: int = 0
    """Tokens forgotten while the answer was written."""
    truncated_inputs: int = 0
    """Texts to embed that lost their end."""
    truncated_indices: list[int] = []
    """Which of the texts those are, counted from 0."""


class AnswerFacts(Dropped, kw_only=True, frozen=True, omit_defaults=True):
    """What olm tells of an answer beside Ollama's members."""

    progress: RequestProgress | None = None
    """Before the answer begins, where the request's header `X-Olm-Progress` asks for it."""


class GenerateReply(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One object of an answer to /api/generate; durations in nanoseconds."""

    model: str
    created_at: datetime
    response: str
    thinking: str = ""
    done: bool
    done_reason: str = ""
    context: list[int] = []
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    """All tokens of the prompt, cached ones included."""
    prompt_eval_cached_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    logprobs: list[TokenLogprob] = []
    olm: AnswerFacts | None = None


class ChatReply(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One object of an answer to /api/chat; the metrics are those of `GenerateReply`."""

    model: str
    created_at: datetime
    message: ReplyMessage
    done: bool
    done_reason: str = ""
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_cached_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    logprobs: list[TokenLogprob] = []
    olm: AnswerFacts | None = None


class EmbedReply(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The answer to /api/embed."""

    model: str
    embeddings: list[list[float]]
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    olm: Dropped | None = None


class TokenizeReply(msgspec.Struct, kw_only=True, frozen=True):
    """The answer to /api/tokenize."""

    model: str
    tokens: list[int]


class DetokenizeReply(msgspec.Struct, kw_only=True, frozen=True):
    """The answer to /api/detokenize."""

    model: str
    text: str


class Details(msgspec.Struct, kw_only=True, frozen=True):
    """What tags, ps and show say of a model's make."""

    parent_model: str = ""
    format: str = ""
    family: str = ""
    families: list[str] | None = None
    parameter_size: str = ""
    quantization_level: str = ""


class ListedDetails(Details, kw_only=True, frozen=True):
    """The details in /api/tags, which has two more."""

    context_length: int | msgspec.UnsetType = msgspec.UNSET
    embedding_length: int | msgspec.UnsetType = msgspec.UNSET


class ListedModel(msgspec.Struct, kw_only=True, frozen=True):
    """One entry of /api/tags."""

    name: str
    model: str
    modified_at: datetime
    size: int
    digest: str
    details: ListedDetails
    capabilities: list[str]
    remote_model: str | msgspec.UnsetType = msgspec.UNSET
    remote_host: str | msgspec.UnsetType = msgspec.UNSET


class ListedModels(msgspec.Struct, kw_only=True, frozen=True):
    """The answer to /api/tags."""

    models: list[ListedModel]


class Sequences(msgspec.Struct, kw_only=True, frozen=True):
    """Requests that a loaded model decodes side by side."""

    total: int
    busy: int
    contexts: int
    """Full contexts that the KV cache, which they share, has room for."""
    short: int | msgspec.UnsetType = msgspec.UNSET
    """Those of the busy ones that wait for room there; absent while a long step is computed."""


class Drawing(msgspec.Struct, kw_only=True, frozen=True):
    """How the next tokens of requests are drawn, as it was fastest when the model was loaded."""

    shortlist_from: int | None
    """So many requests in one step, or more, get their likeliest tokens from one search in the
    logits of all; null: never."""
    threads_from: int | None
    """So many others in one step, or more, are drawn for in threads; null: never."""


class RunningModel(msgspec.Struct, kw_only=True, frozen=True):
    """One entry of /api/ps."""

    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: datetime
    size_vram: int
    context_length: int
    """Tokens that one request may have."""
    context_by: str | msgspec.UnsetType = msgspec.UNSET
    """What decided how many: `asked` (the request, the model or the settings), `default`, `trained`
    (the model was trained on no more), `memory` (what is free)."""
    devices: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    """Bytes by device, main memory as `CPU`; olm's own, as all below."""
    serves: list[str] | msgspec.UnsetType = msgspec.UNSET
    """Digests of what is loaded; every model of which /api/inspect says the same is answered."""
    state: str | msgspec.UnsetType = msgspec.UNSET
    """`starting`, `ready`, `draining` or `stopping`."""
    sequences: Sequences | msgspec.UnsetType = msgspec.UNSET
    cached_tokens: int | msgspec.UnsetType = msgspec.UNSET
    """Tokens in the KV pool, of running requests and of idle ones; absent while it is computing a
    long step."""
    notes: list[str] | msgspec.UnsetType = msgspec.UNSET
    """One sentence for each way in which the model has less than was asked for."""
    drawing: Drawing | msgspec.UnsetType = msgspec.UNSET
    safe_mode: str | msgspec.UnsetType = msgspec.UNSET
    """What the engine does without on this machine, and why."""


class RunningModels(msgspec.Struct, kw_only=True, frozen=True):
    """The answer to /api/ps."""

    models: list[RunningModel]


class Progress(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One line of a pull, a create or an import."""

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0
