"""Confines itself as a runner does, then tries what it gave up, and prints how each try ended.

python confined_program.py LEVEL MODEL_FILE WRITABLE_DIRECTORY
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from olmkit.engine.confinement.confining import confine
from olmkit.engine.confinement.levels import Confinement


def main() -> None:
    level, model, directory = Confinement(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    came: dict[str, str] = {}

    def attempt(name: str, work: Callable[[], object]) -> None:
        try:
            work()
            came[name] = "done"
        except OSError as error:
            came[name] = type(error).__name__

    began, confined = threading.Event(), threading.Event()

    def beside() -> None:
        began.set()
        confined.wait()
        attempt("socket of an earlier thread", lambda: socket.socket(socket.AF_INET))

    thread = threading.Thread(target=beside)
    thread.start()
    began.wait()
    measures = confine(level, writable=[str(directory)])
    confined.set()
    thread.join()
    attempt("TCP socket", lambda: socket.socket(socket.AF_INET))
    attempt("UDP socket", lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
    attempt("Unix socket", lambda: socket.socket(socket.AF_UNIX))
    attempt("other program", lambda: subprocess.run([sys.executable, "-c", ""], check=True))
    attempt("signal to the parent", lambda: os.kill(os.getppid(), 0))
    attempt("read the model", model.read_bytes)
    attempt("add to the model", lambda: open(model, "ab").close())
    attempt("cut the model", lambda: os.truncate(model, 0))
    attempt("move the model", lambda: model.rename(directory / "model"))
    attempt("remove the model", model.unlink)
    attempt("write what prompts left", lambda: (directory / "new").write_text("x"))
    attempt("write to a device", lambda: Path(os.devnull).write_text("x"))
    attempt("write to shared memory", lambda: Path("/dev/shm", model.name).write_text("x"))
    report = {"came": came, "active": measures.active, "missing": measures.missing}
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
