"""A storm of kills: `python benchmarks/kill_storm.py --kills 1000 --stops 100`.

Runners of a daemon of its own are killed (SIGKILL) and stopped (SIGSTOP) at random while clients
ask without pause. Ends with 1 if a request was lost without a word or a process is left.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from support.daemon import running_daemon, wait_until
from support.killstorm import ask, left_behind, storm
from support.models import smollm2
from support.olm import olm, out


def main() -> int:
    """Runs the storm; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--stops", type=int, default=100)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=60.0, help="kill no more after that")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        with running_daemon(Path(directory) / "home") as daemon:
            out(olm(daemon.environ, "create", "m", "-f", "-", stdin=f"FROM {smollm2()}\n"))
            came = storm(
                daemon,
                "m",
                kills=given.kills,
                stops=given.stops,
                clients=given.clients,
                until_s=time.monotonic() + 60 * given.minutes,
                seed=given.seed,
            )
            # A load that was killed is not tried again at once.
            wait_until(lambda: ask(daemon, "m", "And now?")[0] == "done", timeout_s=120)
            children = psutil.Process(daemon.process.pid).children(recursive=True)
        came.left = left_behind(children)
    print(f"seed {given.seed}, {came.text()}; afterwards it answers")
    for lost in came.lost[:20]:
        print(f"  lost: {lost}")
    return int(bool(came.lost or came.left))


if __name__ == "__main__":
    sys.exit(main())
