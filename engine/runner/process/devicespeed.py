"""How fast devices are with their own memory: `python -m olmkit.engine.runner.process.devicespeed`.

Takes the names of devices, prints a JSON object of bytes a second by name, and ends. The variable
OLM_RPC names servers whose devices count too. Loads llama.cpp and starts drivers, as `survey`.
"""

import json
import os
import sys
from typing import Final

from olmkit.engine.runner.bindings import NativeError, add_servers, initialize, write_speed

_BLOCK_BYTES: Final = 256 << 20
"""More than any cache of a card."""


def main(names: list[str]) -> int:
    """Print the object, without the devices that could not be measured; the exit status."""
    os.environ["GGML_NO_BACKTRACE"] = "1"
    initialize()
    found: dict[str, float] = {}
    try:
        if servers := [one for one in os.environ.get("OLM_RPC", "").split(",") if one]:
            add_servers(servers)
        for name in names:
            if speed := write_speed(name, _BLOCK_BYTES):
                found[name] = speed
    except NativeError as error:
        sys.stderr.write(f"{error}\n")
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
