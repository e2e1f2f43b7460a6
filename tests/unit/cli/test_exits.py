"""Every error of ours has an exit code, and the table names no other."""

import pytest

from olmkit.cli import errors as cli
from olmkit.cli.exits import CODES, MEANINGS, ExitCode, exit_code
from olmkit.engine import errors as engine
from olmkit.modelfile import errors as modelfile
from olmkit.registry import errors as registry

ROOTS = (cli.CliError, engine.EngineError, modelfile.ModelfileError, registry.RegistryError)


def tree(root: type[Exception]) -> list[type[Exception]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in tree(child))]


def test_the_roots_are_in_the_table_so_that_every_leaf_has_a_code() -> None:
    for root in ROOTS:
        for kind in tree(root):
            assert any(base in CODES for base in kind.__mro__), kind


def test_the_table_names_only_errors_of_ours() -> None:
    known = {kind for root in ROOTS for kind in tree(root)}
    assert set(CODES) <= known


def test_every_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize(
    ("status", "code", "exit_status"),
    [
        (400, "context_exceeded", ExitCode.PROMPT_TOO_LONG),
        (400, "invalid_request", ExitCode.USAGE),
        (400, "invalid_name", ExitCode.USAGE),
        (401, "unauthorized", ExitCode.UNAUTHORIZED),
        (403, "", ExitCode.UNAUTHORIZED),
        (404, "model_not_found", ExitCode.NOT_FOUND),
        (500, "out_of_memory", ExitCode.OUT_OF_MEMORY),
        (500, "runner_died", ExitCode.RUNNER_DIED),
        (500, "model_unloadable", ExitCode.LOAD_FAILED),
        (503, "queue_full", ExitCode.BUSY),
        (504, "load_timeout", ExitCode.LOAD_FAILED),
        (507, "disk_full", ExitCode.FAILED),
    ],
)
def test_errors_of_the_api_give_codes_by_status_and_word(
    status: int, code: str, exit_status: ExitCode
) -> None:
    assert exit_code(engine.ApiError("x", status=status, code=code)) == exit_status


def test_what_the_client_finds_gives_its_code() -> None:
    away = engine.DaemonNotRunning("x", address="a")
    assert exit_code(away) == ExitCode.DAEMON_UNREACHABLE
    assert exit_code(registry.InvalidReference("x", text="x")) == ExitCode.USAGE
    assert exit_code(cli.NotFound("x")) == ExitCode.NOT_FOUND
    assert exit_code(ValueError("x")) == ExitCode.FAILED


def test_codes_never_change() -> None:
    """Scripts test them: new causes get new numbers."""
    assert [(code.value, code.name) for code in ExitCode] == [
        (0, "OK"),
        (1, "FAILED"),
        (2, "USAGE"),
        (3, "NOT_FOUND"),
        (4, "UNAUTHORIZED"),
        (5, "DAEMON_UNREACHABLE"),
        (6, "OUT_OF_MEMORY"),
        (7, "LOAD_FAILED"),
        (8, "PROMPT_TOO_LONG"),
        (9, "CUT_BY_LENGTH"),
        (10, "TIMED_OUT"),
        (11, "REPEAT_LIMIT"),
        (12, "RUNNER_DIED"),
        (13, "SCHEMA_VIOLATED"),
        (14, "EXPECTATION_FAILED"),
        (15, "BUSY"),
        (16, "NOT_TRUSTED"),
        (130, "INTERRUPTED"),
        (141, "BROKEN_PIPE"),
    ]
