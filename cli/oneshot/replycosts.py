"""What a request without an answer cost: tokens of its texts, and its times."""

from collections.abc import Mapping
from typing import Any

from olmkit.cli.records.dataform import Record


def costs_of(reply: Mapping[str, Any]) -> Record:
    """The members `tokens` and `timings` (nanoseconds) of `--json`, by the daemon's reply."""
    return {
        "tokens": {"prompt": reply.get("prompt_eval_count", 0)},
        "timings": {
            "total_ns": reply.get("total_duration", 0),
            "load_ns": reply.get("load_duration", 0),
        },
    }
