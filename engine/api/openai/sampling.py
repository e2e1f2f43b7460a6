"""OpenAI's sampling parameters as olm's options."""

from typing import Any, Final

from olmkit.engine.api.openai.bodies import SamplingBody
from olmkit.engine.errors import InvalidRequest

MAX_CHOICES: Final = 16
"""Most answers to one request."""


def parse_options(body: SamplingBody, *, max_tokens: int | None) -> dict[str, Any]:
    """Options of the native API; what the request leaves out is left to the model.

    Raises:
        InvalidRequest: a value makes no sense.
    """
    if max_tokens is not None and max_tokens < 1:
        raise InvalidRequest("max_tokens must be at least 1", field="max_tokens")
    stop = [body.stop] if isinstance(body.stop, str) else body.stop
    given = {
        "temperature": body.temperature,
        "top_p": body.top_p,
        "seed": body.seed,
        "frequency_penalty": body.frequency_penalty,
        "presence_penalty": body.presence_penalty,
        "stop": stop,
        "logit_bias": body.logit_bias,
        "num_predict": max_tokens,
    }
    return (body.options or {}) | {
        name: value for name, value in given.items() if value is not None
    }


def parse_count(n: int | None) -> int:
    """How many answers are wanted. Raises: InvalidRequest."""
    count = 1 if n is None else n
    if not 1 <= count <= MAX_CHOICES:
        raise InvalidRequest(f"n must be between 1 and {MAX_CHOICES}", field="n")
    return count
