"""olm and llama-server side by side, over the very same llama.cpp and the same weights."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from anchors import BUILD, OLM, Server, demo_home, llama_daemon, llama_server, olm_daemon
from anchors import weights as demo_weights

CONTEXT_TOKENS = 16384
"""Of llama-server's pool, which all slots share."""
REQUEST_TOKENS = 6144
"""The longest request; olm's pool has room for one in each slot."""
THREADS = 2
MODEL = "contender"


@contextlib.contextmanager
def contenders(*, slots: int, weights: Path | None = None) -> Iterator[tuple[Server, Server]]:
    """A daemon of each with the model, llama-server with the flags that suit it best.

    `weights`: a GGUF file; None: the one that BENCH_WEIGHTS names, else the demo model's.
    """
    given = os.environ.get("BENCH_WEIGHTS")
    path = weights or (Path(given).resolve() if given else demo_weights(demo_home()))
    libraries = os.environ.get("LLAMA_CPP_LIB_PATH", str(llama_server().parent))
    arguments = ["-np", str(slots), "-kvu", "-c", str(CONTEXT_TOKENS), "-t", str(THREADS)]
    variables = {
        "LLAMA_CPP_LIB_PATH": libraries,
        "OLM_NUM_PARALLEL": str(slots),
        "OLM_CONTEXT_LENGTH": str(REQUEST_TOKENS),
        "OLM_CACHE_DISK": "0",
    }
    home = BUILD / "contender-home"
    with olm_daemon(home, **variables) as olm, llama_daemon(path, *arguments) as llama:
        create(olm, path)
        yield olm, llama


def create(olm: Server, path: Path) -> None:
    """Gives a GGUF file the name MODEL."""
    subprocess.run(
        [OLM, "create", MODEL, "-f", "-"],
        input=f"FROM {path}\n".encode(),
        env=olm.environ,
        check=True,
        stdout=subprocess.DEVNULL,
    )
