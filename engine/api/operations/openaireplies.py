"""The replies of OpenAI's API as `/openapi.json` describes them.

They are put together as JSON where they are made; a test holds real ones to these forms, member by
member. Source: https://platform.openai.com/docs/api-reference
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from olmkit.engine.api.native.types import Dropped


class Form(msgspec.Struct, kw_only=True, frozen=True):
    """What all forms are."""


class OpenAITokenAlternative(Form, frozen=True):
    """A token that might have been."""

    token: str
    logprob: float
    bytes: list[int]


class OpenAITokenLogprob(Form, frozen=True):
    """The log-probability of one token of an answer."""

    token: str
    logprob: float
    bytes: list[int]
    """The token in UTF-8."""
    top_logprobs: list[OpenAITokenAlternative]


class ChatLogprobs(Form, frozen=True):
    """Log-probabilities of the tokens of an answer."""

    content: list[OpenAITokenLogprob]


class OpenAICachedTokens(Form, frozen=True):
    """What the prompt's tokens were."""

    cached_tokens: int
    """Those that needed no work."""


class OpenAIReasoningTokens(Form, frozen=True):
    """What the answer's tokens were."""

    reasoning_tokens: int
    """Those of thoughts."""


class CompletionUsage(Form, frozen=True):
    """Counts of tokens; the prompt's once, however many answers it has."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: OpenAICachedTokens
    completion_tokens_details: OpenAIReasoningTokens


class CalledFunction(Form, frozen=True):
    """The function of a call."""

    name: str
    arguments: str
    """JSON."""


class ChatToolCall(Form, frozen=True):
    """A call of a tool."""

    id: str
    index: int
    type: Literal["function"]
    function: CalledFunction


class ChatReplyMessage(Form, frozen=True):
    """The message that the model wrote."""

    role: Literal["assistant"]
    content: str | None
    """Null only beside calls."""
    reasoning: str | UnsetType = UNSET
    """The thought, as Ollama names it."""
    reasoning_content: str | UnsetType = UNSET
    """The same, as DeepSeek and vLLM name it."""
    tool_calls: list[ChatToolCall] | UnsetType = UNSET


class ChatChoice(Form, frozen=True):
    """One of the answers."""

    index: int
    message: ChatReplyMessage
    logprobs: ChatLogprobs | None
    finish_reason: str
    """`stop`, `length`, `tool_calls`, or olm's own `repeat`."""
    olm: Dropped | UnsetType = UNSET
    """What the request lost on its way into the context; absent: nothing."""


class ChatCompletion(Form, frozen=True):
    """The whole answer of /v1/chat/completions."""

    id: str
    object: Literal["chat.completion"]
    created: int
    """Seconds of Unix time."""
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: CompletionUsage


class CompletionLogprobs(Form, frozen=True):
    """Log-probabilities, in lists of one length."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float]]
    text_offset: list[int]


class CompletionChoice(Form, frozen=True):
    """One of the texts."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: str
    olm: Dropped | UnsetType = UNSET


class Completion(Form, frozen=True):
    """The whole answer of /v1/completions."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: CompletionUsage


class PromptUsage(Form, frozen=True):
    """Counts of tokens where no text is made."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingObject(Form, frozen=True):
    """The vector of one input."""

    object: Literal["embedding"]
    embedding: list[float] | str
    """Numbers, or base64 of 32-bit floats, little end first."""
    index: int


class EmbeddingList(Form, frozen=True):
    """The answer of /v1/embeddings, in the order of the inputs."""

    object: Literal["list"]
    data: list[EmbeddingObject]
    model: str
    usage: PromptUsage


class RankedText(Form, frozen=True):
    """A document that was ranked."""

    text: str


class RankedDocument(Form, frozen=True):
    """The place and score of a document."""

    index: int
    """In the list of the request."""
    relevance_score: float
    document: RankedText | UnsetType = UNSET


class Ranked(Form, frozen=True):
    """The answer of /v1/rerank, the best document first."""

    id: str
    object: Literal["list"]
    model: str
    results: list[RankedDocument]
    usage: PromptUsage


class NativeRanked(Form, frozen=True):
    """The answer of /api/rerank, the best document first."""

    model: str
    results: list[RankedDocument]
    total_duration: int
    load_duration: int
    prompt_eval_count: int


class ModelObject(Form, frozen=True):
    """A model of the store."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    """The namespace of its name."""
    type: Literal["model"]
    """This and the next two are Anthropic's."""
    display_name: str
    created_at: str
    capabilities: list[str]
    context_length: int | UnsetType = UNSET
    """What it was trained on."""


class ModelList(Form, frozen=True):
    """The answer of /v1/models."""

    object: Literal["list"]
    data: list[ModelObject]
    has_more: bool
    """Always false: this and the next two are Anthropic's."""
    first_id: str | None
    last_id: str | None


class ResponseUsage(Form, frozen=True):
    """Counts of tokens."""

    input_tokens: int
    input_tokens_details: OpenAICachedTokens
    output_tokens: int
    output_tokens_details: OpenAIReasoningTokens
    total_tokens: int


class ResponseFailure(Form, frozen=True):
    """Why a response failed."""

    code: str | None
    message: str


class ResponseCut(Form, frozen=True):
    """Why a response is incomplete."""

    reason: Literal["max_output_tokens"]


class ResponseObject(Form, frozen=True):
    """The answer of /v1/responses."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    error: ResponseFailure | None
    incomplete_details: ResponseCut | None
    instructions: str | None
    max_output_tokens: int | None
    model: str
    output: list[dict[str, Any]]
    """Items: `reasoning`, `message` and `function_call`."""
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: dict[str, Any] | None
    store: bool
    background: bool
    temperature: float | None
    text: dict[str, Any]
    tool_choice: Any
    tools: list[dict[str, Any]]
    top_p: float | None
    truncation: Literal["auto", "disabled"]
    metadata: dict[str, Any]
    usage: ResponseUsage | None
    olm: Dropped | UnsetType = UNSET


class ResponseForgotten(Form, frozen=True):
    """A response that was stored and is so no longer."""

    id: str
    object: Literal["response"]
    deleted: bool


class ResponseInputItems(Form, frozen=True):
    """A page of what a stored response was asked."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool
