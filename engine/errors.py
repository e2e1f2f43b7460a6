"""What can go wrong in the engine, as one tree.

    EngineError
    ├ InvalidRequest            .field
    │ └ DigestMismatch          bytes that are not those of the digest in the request
    ├ ModelUnloadable           .model      bad file, unknown architecture
    ├ UnsupportedCapability     .model .capability
    ├ ModelNotCreatable
    ├ ResponseNotStored
    ├ TemplateFailed            a chat template is broken, hostile or too slow
    ├ OutOfMemory               .needed_bytes .free_bytes
    ├ DeviceLost                .model      a card or server that a model lies on is gone
    ├ ContextExceeded           .given_tokens .limit_tokens
    ├ QueueFull                 .retry_after_s .position
    ├ KeyRequired               no key, or none that is known
    ├ KeyForbids                .key        the key is not good for this
    ├ RateExceeded              .key .retry_after_s
    ├ KeysUnusable              the file of the keys
    ├ LoadTimeout               .timeout_s
    ├ DeadlineExceeded          .timeout_s  the time that the request gave itself
    ├ RunnerFailed              .model      a defect in the runner; it lives on
    ├ RunnerDied                .model .exit_status .log_tail
    │ └ EngineUnusable          the engine does not fit this machine, in no mode
    └ DaemonError
      ├ DaemonNotRunning        .address
      ├ DaemonUntrusted         no TLS with it, or a certificate that is not trusted
      ├ DaemonStartFailed       .log_path
      ├ AddressInUse            .address .holder
      └ ApiError                .status .code

Work that nobody waits for raises `Cancelled` of `registry/errors.py`.

`str(error)` is one sentence, lower case, no full stop, naming the thing that failed. `hint` is
what to do next, shown apart from it. `api/errors.py` maps each class to a status and a wire
form, `cli/exits.py` to an exit code; a test walks the tree and fails where one is missing.
"""

from collections.abc import Mapping


class EngineError(Exception):
    """Root of the engine's errors."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class InvalidRequest(EngineError):
    """The request itself is wrong, whatever the state of the daemon."""

    def __init__(self, message: str, *, field: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = field


class DigestMismatch(InvalidRequest):
    """The bytes of an upload are not those of the digest that it names."""


class ModelUnloadable(EngineError):
    """The model's files cannot be loaded: corrupt, truncated, of an unknown architecture."""

    def __init__(self, message: str, *, model: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.model = model


class UnsupportedCapability(EngineError):
    """The model cannot do what was asked (chat, embeddings, tools, insert, thinking)."""

    def __init__(
        self, message: str, *, model: str, capability: str, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.model = model
        self.capability = capability


class ModelNotCreatable(EngineError):
    """The parts given to `create` make no model."""


class ResponseNotStored(EngineError):
    """No response of this id is kept."""


class TemplateFailed(EngineError):
    """A chat template does not parse, raises, or goes over a limit of time, memory or output."""


class TemplateTooSlow(TemplateFailed):
    """A chat template goes over its limit of time."""


class TemplateRefused(TemplateFailed):
    """A chat template does not take the conversation, and says why."""


class OutOfMemory(EngineError):
    """The model or its context does not fit in memory."""

    def __init__(
        self,
        message: str,
        *,
        needed_bytes: int | None = None,
        free_bytes: int | None = None,
        device: str = "",
        missing: Mapping[str, int] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes
        self.device = device
        """The one that refused an allocation; empty: not known."""
        self.missing = missing
        """Bytes that others would have to give up, by device; None: not known."""


class DeviceLost(EngineError):
    """A device that the model was to go to is not there, or does not answer."""

    def __init__(self, message: str, *, model: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.model = model


class ContextExceeded(EngineError):
    """The prompt has more tokens than the context holds."""

    def __init__(
        self,
        message: str,
        *,
        given_tokens: int,
        limit_tokens: int,
        input_index: int | None = None,
        hint: str | None = None,
    ) -> None:
        """`input_index`: which of several inputs it is, counted from 0."""
        super().__init__(message, hint=hint)
        self.given_tokens = given_tokens
        self.limit_tokens = limit_tokens
        self.input_index = input_index

    def numbers(self, inputs: str) -> str:
        """What was given and what fits, with its place where there are several `inputs`."""
        place = f"{inputs}[{self.input_index}]: " if self.input_index is not None else ""
        return f"({place}{self.given_tokens} tokens, {self.limit_tokens} fit)"


class QueueFull(EngineError):
    """Too many requests wait already."""

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: int,
        position: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s
        self.position = position
        """Which place in the line it would have had; None: there is no line."""


class KeyRequired(EngineError):
    """The request carries no key, or one that is not known."""


class KeyForbids(EngineError):
    """The key of the request is not good for what it asks."""

    def __init__(self, message: str, *, key: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.key = key
        """Its name."""


class RateExceeded(EngineError):
    """The key of the request was used too often."""

    def __init__(
        self, message: str, *, key: str, retry_after_s: int, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.key = key
        self.retry_after_s = retry_after_s


class KeysUnusable(EngineError):
    """The file of the keys cannot be read or written."""


class LoadTimeout(EngineError):
    """Loading made no progress for too long."""

    def __init__(self, message: str, *, timeout_s: float, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.timeout_s = timeout_s


class DeadlineExceeded(EngineError):
    """The answer was not whole within the time that the request allowed."""

    def __init__(self, *, timeout_s: float) -> None:
        super().__init__(f"no whole answer within the request's timeout of {timeout_s:g} s")
        self.timeout_s = timeout_s


class RunnerFailed(EngineError):
    """The runner could not do a request for a reason of its own; other requests go on."""

    def __init__(self, message: str, *, model: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.model = model


class RunnerDied(EngineError):
    """The runner process of a model ended without being asked to."""

    def __init__(
        self,
        message: str,
        *,
        model: str,
        exit_status: int | None,
        log_tail: str = "",
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.model = model
        self.exit_status = exit_status
        """As in `subprocess`: negative for a signal, None when not known."""
        self.log_tail = log_tail


class EngineUnusable(RunnerDied):
    """The engine itself does not run here: built for another machine, or its libraries missing."""


class DaemonError(EngineError):
    """A failure between a client and the daemon."""


class DaemonNotRunning(DaemonError):
    """Nothing answers at the daemon's address."""

    def __init__(self, message: str, *, address: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.address = address


class DaemonUntrusted(DaemonError):
    """Client and daemon do not agree on TLS, or one does not trust the other's certificate."""


class DaemonStartFailed(DaemonError):
    """The daemon was started and ended, or did not answer in time."""

    def __init__(self, message: str, *, log_path: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.log_path = log_path


class AddressInUse(DaemonError):
    """Another program holds the daemon's port."""

    def __init__(
        self, message: str, *, address: str, holder: str | None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.address = address
        self.holder = holder
        """`name (pid N)` when the system tells."""


class ApiError(DaemonError):
    """The daemon answered with an error."""

    def __init__(
        self, message: str, *, status: int, code: str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        """The API's word for the kind of error, where it said one."""
