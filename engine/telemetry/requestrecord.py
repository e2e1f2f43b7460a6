"""What is known of the request that is being answered, from whatever part of olm learns it.

One record a request, in a context variable: tasks and threads that work for the request see the
same one, and nothing has to be handed through. Headers, logs, errors and traces are made of it.
"""

import re
import secrets
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from olmkit.engine.telemetry.requestprogress import LatestProgress
from olmkit.engine.telemetry.tracing import RequestTrace

_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}", re.ASCII)

_current: ContextVar["RequestRecord | None"] = ContextVar("request_record", default=None)


@dataclass(slots=True, kw_only=True)
class RequestRecord:
    """One request; what is not known yet, or never will be, is None."""

    id: str
    model: str = ""
    """Name of the model that it wanted; empty: none."""
    end: str = ""
    """How the answer of the model ended: `stop`, `length`, or the name of an error."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Of all answers to it."""
    device: str | None = None
    """Where the model's weights are, as llama.cpp names its devices: `CPU`, `CUDA0`."""
    context_tokens: int | None = None
    """What the request may use."""
    used_tokens: int | None = None
    """What it used of that, prompt and answer."""
    cached_tokens: int | None = None
    """What of the prompt needed no work."""
    route: str = ""
    """The path of the route that was taken, with names for its variable parts."""
    priority: str | None = None
    timeout: str | None = None
    """As the headers have them, for requests whose options say nothing of it."""
    wants_progress: str | None = None
    """The header that asks for progress, as it was sent."""
    progress: LatestProgress | None = None
    """Where to report how far it is; None: its client did not ask."""
    trace: RequestTrace | None = None
    lost: dict[str, int] = field(default_factory=dict)
    """What did not fit into the context, and how many of it."""


def begin_record(wanted_id: str | None) -> RequestRecord:
    """A record for the request of this task, under the id that the client sent.

    One that is not well-formed (1 to 128 letters, digits and `._:/+=@-`) is replaced.
    """
    is_kept = wanted_id is not None and _WELL_FORMED.fullmatch(wanted_id)
    record = RequestRecord(
        id=wanted_id if wanted_id and is_kept else f"req_{secrets.token_hex(12)}"
    )
    _current.set(record)
    return record


def current_record() -> RequestRecord | None:
    """The record of the request that this task or thread works for; None: for none."""
    return _current.get()
