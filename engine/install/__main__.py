"""Gets this Python environment an engine that runs on this machine, and proves it.

    python -m olmkit.engine.install [--gpu KIND] [--build KIND]

`OLM_GPU` and `OLM_BUILD` say the same. Without either an engine that is there and runs is kept,
else a wheel that pip finds is taken as it is, else llama.cpp is compiled.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Final

from olmkit.engine.install.accelerators import Accelerator
from olmkit.engine.install.installation import Build, Installation
from olmkit.engine.install.refusal import InstallFailed

_AUTO: Final = "auto"
_GPUS: Final = (_AUTO, *(one.value for one in Accelerator))
_BUILDS: Final = tuple(one.value for one in Build)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m olmkit.engine.install",
        description="Install llama.cpp for this machine and prove that it runs.",
    )
    parser.add_argument(
        "--gpu",
        metavar="KIND",
        default=os.environ.get("OLM_GPU"),
        help=f"cards to build for, or OLM_GPU: {', '.join(_GPUS)} (what this machine has)",
    )
    parser.add_argument(
        "--build",
        metavar="KIND",
        default=os.environ.get("OLM_BUILD"),
        help="processors to build for, or OLM_BUILD: native (this one), portable (all of its kind)",
    )
    given = parser.parse_args(arguments)
    for name, value, known in (("gpu", given.gpu, _GPUS), ("build", given.build, _BUILDS)):
        if value and value not in known:
            parser.error(f"unknown --{name} {value!r}: one of {', '.join(known)}")
    try:
        Installation(
            is_chosen=bool(given.gpu or given.build),
            wanted=None if given.gpu in (None, "", _AUTO) else Accelerator(given.gpu),
            is_portable=given.build == Build.PORTABLE,
        ).run()
    except InstallFailed as error:
        hint = f"engine: hint: {error.hint}\n" if error.hint else ""
        sys.stderr.write(f"engine: {error}\n{hint}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
