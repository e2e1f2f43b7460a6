"""Members that the replies of OpenAI's API have in common."""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

from olmkit.engine.inference.inference import Finished, TokenLogprob


def new_id(prefix: str) -> str:
    """An id that no other reply has."""
    return prefix + secrets.token_hex(12)


def finish_reason(end: Finished, has_calls: bool) -> str:
    """Why an answer ended, in OpenAI's words alone: clients refuse replies with any other."""
    if end.is_cut:
        return "length"
    return "tool_calls" if has_calls else "stop"


def usage(ends: Sequence[Finished]) -> dict[str, Any]:
    """Token counts: the prompt once, however many answers it has."""
    prompt = ends[0].prompt_tokens if ends else 0
    completion = sum(end.completion_tokens for end in ends)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": ends[0].cached_tokens if ends else 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(end.thought_tokens for end in ends),
        },
    }


def logprob_entries(entries: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    """Log-probabilities of tokens and of their rivals."""
    return [
        {
            "token": entry.token,
            "logprob": entry.logprob,
            "bytes": list(entry.raw),
            "top_logprobs": [
                {"token": other.token, "logprob": other.logprob, "bytes": list(other.raw)}
                for other in entry.top
            ],
        }
        for entry in entries
    ]
