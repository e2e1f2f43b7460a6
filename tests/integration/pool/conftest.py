"""Models of the program that speaks the runner's protocol, for the tests of the pool."""

from pathlib import Path
from typing import Any

import pytest

from support.filespec import FileSpec, spec_of
from support.pools import Make
from support.runner_program import write_model


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Gets a line a process that loaded a model."""
    path = tmp_path / "started"
    path.touch()
    return path


@pytest.fixture
def model(tmp_path: Path, log: Path) -> Make:
    def make(name: str = "m", *, weights_bytes: int = 1000, **behaviour: Any) -> FileSpec:
        behaviour.setdefault("token_s", 0.001)
        behaviour["weights_bytes"] = weights_bytes
        path = write_model(tmp_path / f"{name}.json", started_log=str(log), **behaviour)
        return spec_of(path, weights_bytes=weights_bytes)

    return make
