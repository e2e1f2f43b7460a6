"""What the engine says of itself: `python -m olmkit.engine.runner.process.survey`.

Prints one JSON object and ends. Starts drivers, which may take seconds, and loads llama.cpp, which
may kill the process: for a child that nobody needs. Where llama.cpp cannot be loaded it ends with
EXIT_NO_ENGINE. The variable OLM_RPC names servers (`host:port`, by commas) whose devices count too.
"""

import json
import os
import sys

from olmkit.engine.runner.process.nvidia import uuids_by_bus_id
from olmkit.engine.runner.protocol import EXIT_NO_ENGINE


def main() -> int:
    """Print the object; the exit status."""
    os.environ["GGML_NO_BACKTRACE"] = "1"
    try:
        # Here, not above: the import loads llama.cpp's libraries, and that may fail.
        from olmkit.engine.runner.bindings import (
            NativeError,
            add_servers,
            devices,
            initialize,
            system_info,
        )
        from olmkit.engine.runner.bindings.library import api

        initialize()
    except ImportError as error:
        sys.stderr.write(f"error {' '.join(str(error).split())}\n")
        return EXIT_NO_ENGINE
    servers = [one for one in os.environ.get("OLM_RPC", "").split(",") if one]
    try:
        problems = add_servers(servers) if servers else []
    except NativeError as error:
        problems = [str(error)]
    uuids = uuids_by_bus_id()
    said = {
        "llama_cpp": api.llama_version().decode(errors="replace"),
        "system_info": system_info(),
        "problems": problems,
        "devices": [
            {
                "name": device.name,
                "description": device.description,
                "kind": device.kind.name.lower(),
                "free_bytes": device.free_bytes,
                "total_bytes": device.total_bytes,
                "backend": device.backend,
                "bus_id": device.bus_id,
                "uuid": uuids.get(device.bus_id.lower(), ""),
            }
            for device in devices()
        ],
    }
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
