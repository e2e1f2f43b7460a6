"""A request and its answer in a file, so that it can be made again."""

import json
import os
from typing import Any

from olmkit import __version__
from olmkit.cli.building.jsonfiles import read_json
from olmkit.cli.errors import UsageError
from olmkit.cli.oneshot.oneanswer import OneAnswer
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.typedpaths import write_errors

FORM = 1
"""The version of the file's form."""


def write_recording(path: str, body: dict[str, object], answer: OneAnswer) -> None:
    """Writes the file, which only its owner can read: prompts may be private.

    Raises:
        CliError: it cannot be written.
    """
    value = {
        "olm_recording": FORM,
        "version": __version__,
        "request": body,
        "answer": answer.as_json(),
    }
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    with write_errors(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)


def read_recording(path: str, terminal: Terminal) -> tuple[dict[str, Any], dict[str, Any]]:
    """The request and the answer of a recording.

    Raises:
        UsageError: it is none, or of a later version.
        NotFound: no such file.
    """
    value = read_json(path, terminal)
    if not isinstance(value, dict) or "olm_recording" not in value:
        raise UsageError(f"{path} is no recording of `olm run --record`")
    if value["olm_recording"] != FORM:
        raise UsageError(f"{path} is a recording of another version of olm")
    request, answer = value.get("request"), value.get("answer")
    if not isinstance(request, dict) or not isinstance(answer, dict):
        raise UsageError(f"{path} lacks its request or its answer")
    return request, answer
