"""Pull a model, as a process that can be killed: `pull_program.py STORE REFERENCE`."""

import sys
import threading
from pathlib import Path

from olmkit.registry.modelconfig import ModelConfig
from olmkit.registry.reference import Reference
from olmkit.registry.sources import pull
from olmkit.registry.store import Store


def main() -> None:
    pull(
        Reference.parse(sys.argv[2]),
        Store(Path(sys.argv[1])),
        on_event=lambda event: None,
        cancelled=threading.Event(),
        describe=lambda path: ModelConfig(),
    )


if __name__ == "__main__":
    main()
