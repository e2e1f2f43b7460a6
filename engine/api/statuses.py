"""The table from exceptions to what the API answers.

The only place that knows statuses. `code` names the class for programs, beside Ollama's bare
text; `hint` says what to do next. A test walks both trees and fails where a class is missing.
Source of the texts: https://github.com/ollama/ollama/blob/v0.17.4/server/routes.go
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from olmkit.engine import errors as engine
from olmkit.engine.api.jsontext import encode_json
from olmkit.engine.telemetry.requestrecord import current_record
from olmkit.registry import errors as registry

ERROR_TABLE: Final[Mapping[type[Exception], tuple[int, str]]] = {
    engine.EngineError: (500, "internal"),
    engine.InvalidRequest: (400, "invalid_request"),
    engine.DigestMismatch: (400, "digest_mismatch"),
    engine.ModelUnloadable: (500, "model_unloadable"),
    engine.UnsupportedCapability: (400, "unsupported_capability"),
    engine.ModelNotCreatable: (400, "model_not_creatable"),
    engine.TemplateFailed: (500, "template_failed"),
    engine.TemplateTooSlow: (500, "template_too_slow"),
    engine.TemplateRefused: (400, "template_refused"),
    engine.OutOfMemory: (507, "out_of_memory"),
    engine.DeviceLost: (503, "device_lost"),
    engine.ContextExceeded: (400, "context_exceeded"),
    engine.QueueFull: (503, "queue_full"),
    engine.KeyRequired: (401, "key_required"),
    engine.KeyForbids: (403, "key_forbids"),
    engine.RateExceeded: (429, "rate_exceeded"),
    engine.KeysUnusable: (500, "keys_unusable"),
    engine.LoadTimeout: (504, "load_timeout"),
    engine.DeadlineExceeded: (504, "deadline_exceeded"),
    engine.RunnerFailed: (500, "runner_failed"),
    engine.ResponseNotStored: (404, "response_not_found"),
    engine.RunnerDied: (500, "runner_died"),
    engine.EngineUnusable: (500, "engine_unusable"),
    engine.DaemonError: (500, "daemon"),
    engine.DaemonNotRunning: (502, "daemon_not_running"),
    engine.DaemonUntrusted: (502, "daemon_untrusted"),
    engine.DaemonStartFailed: (500, "daemon_start_failed"),
    engine.AddressInUse: (500, "address_in_use"),
    engine.ApiError: (502, "api_error"),
    registry.RegistryError: (500, "registry"),
    registry.InvalidReference: (400, "invalid_name"),
    registry.InvalidDigest: (400, "invalid_digest"),
    registry.InvalidManifest: (500, "invalid_manifest"),
    registry.ModelNotFound: (404, "model_not_found"),
    registry.SourceError: (422, "source"),
    registry.StoreError: (500, "store"),
    registry.CorruptBlob: (500, "corrupt_blob"),
    registry.DiskFull: (500, "disk_full"),
    registry.CredentialError: (401, "credentials"),
    registry.NotTrusted: (403, "not_trusted"),
    registry.InvalidPolicy: (500, "invalid_policy"),
    registry.InvalidKey: (400, "invalid_key"),
    registry.Cancelled: (499, "cancelled"),
    registry.RemoteError: (502, "remote"),
    registry.Unreachable: (502, "unreachable"),
    registry.Untrusted: (502, "untrusted"),
    registry.Unauthorized: (401, "unauthorized"),
    registry.RemoteRejected: (502, "remote_rejected"),
    registry.RemoteMisbehaved: (502, "remote_misbehaved"),
}

KNOWN_ERRORS: Final = (engine.EngineError, registry.RegistryError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One error as the API says it, whatever the family of the endpoint."""

    status: int
    code: str
    text: str
    hint: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The native form: Ollama's `error`, olm's own members beside it."""
        members: dict[str, Any] = {"error": self.text, "code": self.code}
        # No `status`: Go's client reads a text from it, and shows the bare JSON for a number.
        members["http_status"] = self.status
        if self.hint:
            members["hint"] = self.hint
        if (record := current_record()) is not None:
            members["request_id"] = record.id
        return encode_json(members)


def classify(error: Exception, *, is_streaming: bool = False) -> Failure:
    """What the API says of an exception; unknown ones are internal and keep their text inside.

    `is_streaming`: the answer has begun, so the text is that of an error line.
    """
    status, code = 500, "internal"
    for kind in type(error).__mro__:
        if kind in ERROR_TABLE:
            status, code = ERROR_TABLE[kind]
            break
    text = str(error) if isinstance(error, KNOWN_ERRORS) else "internal error"
    hint = getattr(error, "hint", None)
    headers: dict[str, str] = {}
    match error:
        case engine.ApiError():
            status = error.status
        case registry.Cancelled():
            text = text or "request canceled"
        case engine.QueueFull():
            text = "server busy, please try again.  maximum pending requests exceeded"
            headers["Retry-After"] = str(error.retry_after_s)
            if error.position is not None:
                headers["X-Olm-Queue-Position"] = str(error.position)
                hint = hint or f"it would be number {error.position} in the queue"
        case engine.KeyRequired():
            headers["WWW-Authenticate"] = 'Bearer realm="olm"'
        case engine.RateExceeded():
            headers["Retry-After"] = str(error.retry_after_s)
        case engine.ContextExceeded():
            text = (
                "the prompt is longer than the context length currently available to the model"
                f" ({error.given_tokens} tokens, {error.limit_tokens} fit); shorten the prompt, "
                "adjust the context length in settings, or use a model with a longer context length"
            )
        case engine.EngineUnusable():
            pass  # its sentence says all: memory has nothing to do with it
        case engine.RunnerDied() if is_streaming:
            text = f"an error was encountered while running the model: {text}"
        case engine.RunnerDied():
            text = (
                "model runner has unexpectedly stopped, this may be due to resource limitations "
                f"or an internal error, check olm's log for details: {text}"
            )
        case registry.InvalidReference():
            hint = "\n".join(filter(None, (text, hint)))
            text = "invalid model name"
        case registry.InvalidDigest():
            hint = "\n".join(filter(None, (text, hint)))
            text = "invalid digest format"
    return Failure(status=status, code=code, text=text, hint=hint, headers=headers)
