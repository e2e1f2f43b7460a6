"""The process that quantizes one file: `python -m olmkit.engine.runner.process.quantize_worker`.

It gets one `Quantization` on standard input; see `childjob` for what it answers. Where llama.cpp
cannot be loaded it ends with EXIT_NO_ENGINE.
"""

import re
import sys
from typing import Final

from olmkit.engine import childjob
from olmkit.engine.childjob import Reporter
from olmkit.engine.framing import path_of
from olmkit.engine.runner.protocol import EXIT_NO_ENGINE
from olmkit.engine.runner.quantization import Quantization

_TENSOR: Final = re.compile(r"\[ *\d+/ *\d+\] +(\S+) +-")
"""llama.cpp's log line for each tensor that it begins."""


def main() -> None:
    """Quantize as standard input asks for."""
    job = childjob.read_job(Quantization)
    reporter = Reporter()
    progress = _Progress(job, reporter)
    try:
        # Here, not above: the import loads llama.cpp's libraries, and that may fail.
        from olmkit.engine.runner import bindings

        bindings.initialize()
    except ImportError as error:
        sys.stderr.write(f"error {' '.join(str(error).split())}\n")
        sys.exit(EXIT_NO_ENGINE)
    bindings.set_log_sink(lambda _, line: progress.on_log(line))
    try:
        bindings.quantize(
            path_of(job.source), path_of(job.target), file_type=job.file_type, threads=job.threads
        )
    except bindings.NativeError as error:
        reporter.failed(" ".join(str(error).split()))
    else:
        reporter.done(progress.total)


class _Progress:
    """Bytes of the source that are done, told by the log lines of llama.cpp."""

    def __init__(self, job: Quantization, reporter: Reporter) -> None:
        self._sizes = dict(job.tensor_bytes)
        self.total = sum(self._sizes.values())
        self._completed = 0
        self._begun = ""
        self._reporter = reporter

    def on_log(self, line: str) -> None:
        """Count the tensor before the one that begins."""
        if match := _TENSOR.match(line):
            self._completed += self._sizes.pop(self._begun, 0)
            self._begun = match[1]
            self._reporter.progress(self._completed, self.total)


if __name__ == "__main__":
    main()
