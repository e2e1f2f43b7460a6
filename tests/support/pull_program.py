"""Pull a model, as a process that can be killed: `pull_program.py STORE REFERENCE`.

Prints how many bytes of memory it had at most.
"""

import sys
import threading
from pathlib import Path

from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.sources import pull
from olmkit.registry.store.store import Store


def main() -> None:
    pull(
        Reference.parse(sys.argv[2]),
        Store(Path(sys.argv[1])),
        on_event=lambda event: None,
        cancelled=threading.Event(),
        describe=lambda path: ModelConfig(),
    )
    status = Path("/proc/self/status").read_text()
    sys.stdout.write(f"{int(status.partition('VmHWM:')[2].split()[0]) * 1024}\n")


if __name__ == "__main__":
    main()
