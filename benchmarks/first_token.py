"""From `olm run demo hi` with nothing running to the first byte of the answer."""

import os
import signal
import subprocess
import time

from anchors import OLM, demo_home, free_port
from report import Row, median

ROUNDS = 5
BOUND_S = 2.0


def _first_byte_s(environ: dict[str, str]) -> float:
    started_s = time.perf_counter()
    with subprocess.Popen(
        [OLM, "run", "demo", "hi"], env=environ, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1), "olm run answered nothing"
        elapsed_s = time.perf_counter() - started_s
        process.terminate()  # a small model may go on for thousands of tokens
    return elapsed_s


def rows() -> list[Row]:
    """Files are in the page cache; daemon and runner start anew each round."""
    home = demo_home()
    elapsed: list[float] = []
    for _ in range(ROUNDS):
        environ = os.environ | {"OLM_HOME": str(home), "OLM_HOST": f"127.0.0.1:{free_port()}"}
        elapsed.append(_first_byte_s(environ))
        subprocess.run([OLM, "serve", "--stop"], env=environ, check=True)
    return [
        Row(
            name="olm run demo hi, cold: first token",
            ours=median(elapsed),
            anchor=BOUND_S,
            unit="s",
            anchor_name="bound",
            target=1.0,
            at_most=True,
        )
    ]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for row in rows():
        print(row.text())
