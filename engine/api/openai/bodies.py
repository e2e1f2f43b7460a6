"""The JSON of requests to OpenAI's API, as far as olm reads it; unknown members are ignored.

Source: https://platform.openai.com/docs/api-reference
"""

from typing import Any

import msgspec


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What else a stream carries."""

    include_usage: bool | None = None


class SamplingBody(msgspec.Struct, frozen=True, kw_only=True):
    """What requests for a generation have in common.

    What is absent is left to the model: its own parameters, then the daemon's defaults.
    """

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    max_tokens: int | None = None
    logit_bias: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    """Olm's own: options of the native API, such as `num_ctx`."""
    keep_alive: Any = None
    """Olm's own, as in the native API."""


class ChatCompletionBody(SamplingBody, frozen=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: list[dict[str, Any]] | None = None
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    reasoning: dict[str, Any] | None = None


class CompletionBody(SamplingBody, frozen=True, kw_only=True):
    """POST /v1/completions."""

    prompt: Any = None
    """A text, token ids, or several of either."""
    suffix: str | None = None
    echo: bool | None = None
    best_of: int | None = None
    logprobs: int | None = None


class EmbeddingBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/embeddings."""

    model: str | None = None
    input: Any = None
    """A text, token ids, or several of either."""
    dimensions: int | None = None
    encoding_format: str | None = None
    options: dict[str, Any] | None = None
    keep_alive: Any = None


class RerankBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/rerank and /api/rerank."""

    model: str | None = None
    query: str | None = None
    documents: Any = None
    """Texts, or objects with a `text`."""
    top_n: int | None = None
    return_documents: bool | None = None
    raw_scores: bool | None = None
    """Olm's own: what the classifier says, instead of a number from 0 to 1."""
    truncate: bool | None = None
    """Olm's own: a document that is too long loses its end."""
    options: dict[str, Any] | None = None
    keep_alive: Any = None


class ResponseBody(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/responses."""

    model: str | None = None
    input: Any = None
    """A text, or items."""
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    reasoning: dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    store: bool | None = None
    background: bool | None = None
    truncation: str | None = None
    metadata: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    keep_alive: Any = None
