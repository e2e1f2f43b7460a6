"""The contract between the daemon and whatever runs a loaded model.

A `Runner` runs one model for its whole life: it is started, loaded once, used, closed. Nothing
here presumes a local process: a runner on another machine, or a proxy of some other server,
fulfils the same contract.

**Concurrency.** Everything is called from the daemon's event loop. After `load` has returned,
any number of `complete`, `embed`, `tokenize`, `detokenize` and `health` calls may be in flight
at once; the runner batches them. Requests over what it decodes side by side wait inside it, in
the order of arrival.

**Cancellation.** Cancelling the task that awaits a call, or closing a completion's iterator,
cancels the request in the runner by its next decode step. The call does not wait for that.
Cancelling `load` leaves a runner that can only be closed.

**Death.** When the runner ends without having been asked to, `died` resolves, and then every call
in flight and every later one raises `RunnerDied`, or `OutOfMemory` where the kernel killed it
for that. The runner's end frees all that the model took. A failed request (`ModelUnloadable`,
`OutOfMemory`, `ContextExceeded`, `UnsupportedCapability`, `InvalidRequest`, `Cancelled`,
`RunnerFailed`) ends that request alone.

**End.** A runner ends with whoever started it, even when that one is killed.
"""

import asyncio
import enum
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypedDict, Unpack

from olmkit.engine.runner.layouts import Layout
from olmkit.engine.runner.protocol import (
    AdapterUse,
    Buffer,
    Completed,
    Constraint,
    Embedded,
    Healthy,
    Loaded,
    LoadOperation,
    LoadOptions,
    ModelFiles,
    Piece,
    PromptProgress,
    PromptRead,
    Ranked,
    Room,
    Sampling,
    UnreadVocabulary,
)

CompletionReply = PromptProgress | PromptRead | Piece | Completed
"""What a runner says of a completion."""


class CompletionOptions(TypedDict, total=False):
    """What a completion may be given beside its prompt: the fields of `protocol.Completion`.

    What is absent has the default that stands there.
    """

    adapters: Sequence[AdapterUse] | None
    sampling: Sampling
    max_tokens: int
    stop: Sequence[str]
    top_logprobs: int | None
    tells_prompt: bool
    ignore_eos: bool
    constraint: Constraint | None
    logit_bias: Mapping[int, float]
    marks: Sequence[str]
    room: Room
    reproducible: bool
    batch_tokens: int
    draft_tokens: int
    is_batch: bool


class ExitReason(enum.StrEnum):
    """Why a runner is no more."""

    CLOSED = "closed"
    """`close` was called."""
    EXITED = "exited"
    """It ended by itself, with a status."""
    SIGNALLED = "signalled"
    """A signal ended it: a crash, or someone's kill."""
    OUT_OF_MEMORY = "out_of_memory"
    """The system killed it to get memory back."""
    MISBEHAVED = "misbehaved"
    """It sent what is no message, or closed its end, and was ended for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitInfo:
    """How a runner ended."""

    reason: ExitReason
    description: str
    """Completes "the runner of MODEL …": `was killed by SIGSEGV (segmentation fault)`."""
    exit_status: int | None = None
    """As in `subprocess`: negative for a signal; None where there is no such thing."""
    log_tail: str = ""
    """The last lines that the runner logged."""


class Runner(Protocol):
    """One loaded model; see the module for concurrency, cancellation and death."""

    @property
    def died(self) -> "asyncio.Future[ExitInfo]":
        """Resolves once, when the runner is gone, asked to or not. Do not cancel it: shield."""
        ...

    @property
    def pid(self) -> int | None:
        """The process that does the work now; None: it is none of this machine."""
        ...

    @property
    def caveat(self) -> str:
        """One sentence on what the engine does without on this machine, and why; else empty."""
        ...

    @property
    def loaded(self) -> Loaded | None:
        """What `load` said last of the model that is loaded; None before.

        Other than what `load` returned only where the engine had to be started again.
        """
        ...

    async def load(
        self,
        files: ModelFiles,
        options: LoadOptions,
        *,
        operation: LoadOperation = LoadOperation.COMMIT,
        layout: Layout | None = None,
        proof: Sequence[Buffer] = (),
        unread: UnreadVocabulary | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Loaded:
        """Load the model (COMMIT, once), or say what it would take (FIT, any time before).

        `layout`: where the layers go; None leaves it to llama.cpp. ALLOC shows that the memory of
        `proof` can be had. A FIT leaves the vocabulary `unread`, which else takes most of its
        time. After VOCABULARY, which only reads the vocabulary, `tokenize` and
        `detokenize` work.

        `on_progress` gets the fraction of the weights read, 0.0 to 1.0, in the event loop.

        Raises:
            ModelUnloadable, OutOfMemory, DeviceLost, RunnerDied: after a COMMIT the runner can only
                be closed.
        """
        ...

    def complete(
        self,
        prompt: str | Sequence[int],
        **options: Unpack[CompletionOptions],
    ) -> AsyncGenerator[Sequence[CompletionReply], None]:
        """The pieces of a completion, at a time those that have come, then one `Completed`, alone
        in the last item.

        Nothing is sent before the first item is
        asked for. Use it under `contextlib.aclosing`: leaving early cancels the request.

        Raises:
            ContextExceeded, InvalidRequest, UnsupportedCapability, OutOfMemory: before any piece.
            Cancelled: the runner gave the request up, or nobody read its pieces.
            RunnerDied: also in mid-stream.
        """
        ...

    async def embed(
        self, inputs: Sequence[str], *, truncate: bool = True, context_tokens: int = 0
    ) -> Embedded:
        """One L2-normalised vector an input, in order; each of at most `context_tokens` tokens
        (0: as many as are loaded).

        Raises:
            ContextExceeded: an input is too long and `truncate` is false.
            UnsupportedCapability, RunnerDied
        """
        ...

    async def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        truncate: bool = False,
        context_tokens: int = 0,
    ) -> Ranked:
        """One score a document, in order: the higher, the better it answers the query.

        Raises:
            ContextExceeded: the query and a document are too long together, and `truncate` is
                false.
            UnsupportedCapability, RunnerDied
        """
        ...

    async def tokenize(
        self, text: str, *, add_special: bool = True, parse_special: bool = True
    ) -> list[int]:
        """The model's token ids of a text. Raises: RunnerDied."""
        ...

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of token ids. Raises: InvalidRequest for an id out of range, RunnerDied."""
        ...

    async def health(self) -> Healthy:
        """The state of the decode loop, by the next decode step. Raises: RunnerDied."""
        ...

    async def close(self) -> None:
        """End the runner; returns when it is gone and its memory is free. May be called twice.

        Calls in flight raise `Cancelled`.
        """
        ...
