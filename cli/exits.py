"""Exit codes, and which error gives which: the only table of its kind.

Codes are part of the interface (scripts test them); `olm help` and olm(1) print this table.
"""

import enum

from olmkit.cli.errors import (
    AnswerCut,
    AnswerRepeats,
    CliError,
    ExpectationFailed,
    NotFound,
    SchemaViolated,
    SomeFailed,
    TimedOut,
    UsageError,
)
from olmkit.engine import errors as engine
from olmkit.engine.client import http1
from olmkit.modelfile import errors as modelfile
from olmkit.registry import errors as registry


class ExitCode(enum.IntEnum):
    """The exit codes of olm."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAUTHORIZED = 4
    DAEMON_UNREACHABLE = 5
    OUT_OF_MEMORY = 6
    LOAD_FAILED = 7
    PROMPT_TOO_LONG = 8
    CUT_BY_LENGTH = 9
    TIMED_OUT = 10
    REPEAT_LIMIT = 11
    RUNNER_DIED = 12
    SCHEMA_VIOLATED = 13
    EXPECTATION_FAILED = 14
    BUSY = 15
    NOT_TRUSTED = 16
    INTERRUPTED = 130
    BROKEN_PIPE = 141


MEANINGS = {
    ExitCode.OK: "success",
    ExitCode.FAILED: "it failed; standard error says why",
    ExitCode.USAGE: "unknown command, flag or value",
    ExitCode.NOT_FOUND: "no such model or file",
    ExitCode.UNAUTHORIZED: "credentials are missing or refused",
    ExitCode.DAEMON_UNREACHABLE: "the daemon does not run, cannot be started or was lost",
    ExitCode.OUT_OF_MEMORY: "the model does not fit in memory",
    ExitCode.LOAD_FAILED: "the model cannot be loaded, or its load made no progress",
    ExitCode.PROMPT_TOO_LONG: "the prompt is longer than the context",
    ExitCode.CUT_BY_LENGTH: "--max-tokens or the context cut the answer; it was printed",
    ExitCode.TIMED_OUT: "the time of --timeout is over",
    ExitCode.REPEAT_LIMIT: "the answer repeated itself and was ended; it was printed",
    ExitCode.RUNNER_DIED: "the process that ran the model died",
    ExitCode.SCHEMA_VIOLATED: "the answer is not the JSON that was asked for; it was printed",
    ExitCode.EXPECTATION_FAILED: "an answer is not what it was expected to be, or models differ",
    ExitCode.BUSY: "the daemon has too much to do already; try again later",
    ExitCode.NOT_TRUSTED: "the model is not signed as asked, or the policy forbids it",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
    ExitCode.BROKEN_PIPE: "the reader of the output went away",
}

CODES: dict[type[Exception], ExitCode] = {
    CliError: ExitCode.FAILED,
    UsageError: ExitCode.USAGE,
    NotFound: ExitCode.NOT_FOUND,
    TimedOut: ExitCode.TIMED_OUT,
    AnswerCut: ExitCode.CUT_BY_LENGTH,
    AnswerRepeats: ExitCode.REPEAT_LIMIT,
    SchemaViolated: ExitCode.SCHEMA_VIOLATED,
    ExpectationFailed: ExitCode.EXPECTATION_FAILED,
    engine.EngineError: ExitCode.FAILED,
    engine.InvalidRequest: ExitCode.USAGE,
    engine.KeyRequired: ExitCode.UNAUTHORIZED,
    engine.KeyForbids: ExitCode.UNAUTHORIZED,
    engine.ResponseNotStored: ExitCode.NOT_FOUND,
    engine.OutOfMemory: ExitCode.OUT_OF_MEMORY,
    engine.ModelUnloadable: ExitCode.LOAD_FAILED,
    engine.LoadTimeout: ExitCode.LOAD_FAILED,
    engine.DeadlineExceeded: ExitCode.TIMED_OUT,
    engine.ContextExceeded: ExitCode.PROMPT_TOO_LONG,
    engine.RunnerDied: ExitCode.RUNNER_DIED,
    engine.EngineUnusable: ExitCode.LOAD_FAILED,
    engine.QueueFull: ExitCode.BUSY,
    engine.DaemonNotRunning: ExitCode.DAEMON_UNREACHABLE,
    engine.DaemonUntrusted: ExitCode.DAEMON_UNREACHABLE,
    engine.DaemonStartFailed: ExitCode.DAEMON_UNREACHABLE,
    engine.AddressInUse: ExitCode.DAEMON_UNREACHABLE,
    http1.ConnectionBroken: ExitCode.DAEMON_UNREACHABLE,
    http1.NoAnswer: ExitCode.DAEMON_UNREACHABLE,
    modelfile.ModelfileError: ExitCode.FAILED,
    registry.RegistryError: ExitCode.FAILED,
    registry.InvalidReference: ExitCode.USAGE,
    registry.ModelNotFound: ExitCode.NOT_FOUND,
    registry.Unauthorized: ExitCode.UNAUTHORIZED,
    registry.NotTrusted: ExitCode.NOT_TRUSTED,
    registry.InvalidPolicy: ExitCode.NOT_TRUSTED,
}
"""Exit codes by class of error; a class without one has that of the class above."""

STATUS_CODES = {
    401: ExitCode.UNAUTHORIZED,
    403: ExitCode.UNAUTHORIZED,
    404: ExitCode.NOT_FOUND,
    429: ExitCode.BUSY,
    503: ExitCode.BUSY,
}
"""Exit codes by the HTTP status of an error of the daemon; others are `FAILED`."""

API_CODES = {
    "digest_mismatch": ExitCode.USAGE,
    "invalid_name": ExitCode.USAGE,
    "not_trusted": ExitCode.NOT_TRUSTED,
    "invalid_policy": ExitCode.NOT_TRUSTED,
    "invalid_request": ExitCode.USAGE,
    "out_of_memory": ExitCode.OUT_OF_MEMORY,
    "model_unloadable": ExitCode.LOAD_FAILED,
    "load_timeout": ExitCode.LOAD_FAILED,
    "deadline_exceeded": ExitCode.TIMED_OUT,
    "engine_unusable": ExitCode.LOAD_FAILED,
    "context_exceeded": ExitCode.PROMPT_TOO_LONG,
    "runner_died": ExitCode.RUNNER_DIED,
}
"""Exit codes by the API's code, for errors that share their status with others."""


def exit_code(error: BaseException) -> ExitCode:
    """The code that a process ends with because of the error."""
    if isinstance(error, SomeFailed) and error.first is not None:
        return exit_code(error.first)
    if isinstance(error, engine.ApiError):
        by_status = STATUS_CODES.get(error.status, ExitCode.FAILED)
        return API_CODES.get(error.code, by_status)
    for kind in type(error).__mro__:
        if kind in CODES:
            return CODES[kind]
    return ExitCode.FAILED
