"""Conversion of a safetensors checkpoint in a child process, which may take memory and crash.

Both ends are here: `convert` is called by `create`, and this module run as a program is the child.
The child gets one JSON object on standard input and answers with one a line: progress, then
`{"done": true}` or an error.
"""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from olmkit.engine.errors import ModelNotCreatable
from olmkit.registry.errors import TransferCancelled

COMMAND = (sys.executable, "-P", "-m", "olmkit.engine.models.conversion")
MAX_LINE_BYTES = 64 * 1024

OnProgress = Callable[[int, int], None]
"""Gets completed and total bytes."""


def convert(
    files: Mapping[str, Path], target: Path, *, on_progress: OnProgress, cancelled: threading.Event
) -> None:
    """Write the GGUF file `target` from a checkpoint's files.

    Raises:
        ModelNotCreatable: the files make no model that can be converted, or the child crashed.
        TransferCancelled: `cancelled` was set.
    """
    order = {"files": {name: str(path) for name, path in files.items()}, "target": str(target)}
    with subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError), child.stdin as stdin:
                stdin.write(json.dumps(order).encode())
            while line := child.stdout.readline(MAX_LINE_BYTES):
                if cancelled.is_set():
                    raise TransferCancelled("cancelled: nobody waits for the model")
                answer = json.loads(line)
                if "error" in answer:
                    raise ModelNotCreatable(answer["error"], hint=answer.get("hint"))
                if "done" in answer:
                    return
                on_progress(answer["completed"], answer["total"])
        finally:
            child.kill()
    raise ModelNotCreatable(f"the conversion ended with status {child.returncode}")


def _say(answer: Mapping[str, Any]) -> None:
    """One line to the parent; when that is gone, the write fails and ends this process."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Convert what standard input asks for."""
    from olmkit.engine.models.convert import convert_directory

    order = json.load(sys.stdin)
    last_percent = -1

    def report(completed: int, total: int) -> None:
        nonlocal last_percent
        percent = completed * 100 // max(total, 1)
        if percent != last_percent:
            last_percent = percent
            _say({"completed": completed, "total": total})

    try:
        convert_directory(
            {name: Path(path) for name, path in order["files"].items()},
            Path(order["target"]),
            on_progress=report,
        )
    except ModelNotCreatable as error:
        _say({"error": str(error), "hint": error.hint})
    except OSError as error:
        _say({"error": f"the model cannot be written: {error.strerror}"})
    else:
        _say({"done": True})


if __name__ == "__main__":
    main()
