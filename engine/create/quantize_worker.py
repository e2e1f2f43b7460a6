"""The process that quantizes one file: `python -m olmkit.engine.create.quantize_worker`.

Arguments: source, target, number of the file type, threads. Writes a line `tensor NAME` to
standard output for each tensor begun, at last `done` or `failed REASON`; or `error REASON` where
llama.cpp cannot be loaded. Ends at once when its
standard input does: then the process that wanted the file is gone.
"""

import os
import re
import sys
import threading
from typing import Final

from olmkit.engine.runner.protocol import EXIT_NO_ENGINE

_TENSOR: Final = re.compile(r"\[ *\d+/ *\d+\] +(\S+) +-")


def main(arguments: list[str]) -> int:
    """Quantize; the exit status, 0 for success."""
    source, target, file_type, threads = arguments
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        # Here, not above: the import loads llama.cpp's libraries, and that may fail.
        from olmkit.engine.runner import bindings

        bindings.initialize()
    except ImportError as error:
        _say("error " + " ".join(str(error).split()))
        return EXIT_NO_ENGINE
    bindings.set_log_sink(lambda _, line: _on_log(line))
    try:
        bindings.quantize(source, target, file_type=int(file_type), threads=int(threads))
    except bindings.NativeError as error:
        _say("failed " + " ".join(str(error).split()))
        return 1
    _say("done")
    return 0


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


def _on_log(line: str) -> None:
    if match := _TENSOR.match(line):
        _say(f"tensor {match[1]}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
