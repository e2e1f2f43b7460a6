"""Embeddings of 1,000 short texts with MiniLM: olm against llama-server."""

import os
import subprocess
import sys
import time
from pathlib import Path

from anchors import BUILD, OLM, Server, llama_daemon, llama_server, olm_daemon
from contenders import THREADS
from decode import PAUSE_S
from report import Row, median

ROUNDS = 9
TEXTS = [f"Sentence number {number} tells of the sea and of ships." for number in range(1000)]
MODEL = "embedder"


def _seconds(server: Server) -> float:
    time.sleep(PAUSE_S)
    begun_s = time.perf_counter()
    server.post("/v1/embeddings", {"model": MODEL, "input": TEXTS})
    return time.perf_counter() - begun_s


def rows() -> list[Row]:
    """Texts a second, all in one request."""
    weights = Path(os.environ["BENCH_EMBEDDER"]).resolve()
    libraries = os.environ.get("LLAMA_CPP_LIB_PATH", str(llama_server().parent))
    arguments = ["--embedding", "-t", str(THREADS), "-np", "32", "-c", "16384", "-b", "2048"]
    arguments += ["-ub", "2048", "--pooling", "mean", "-kvu"]
    home = BUILD / "contender-home"
    ours, theirs = [], []
    with (
        olm_daemon(home, LLAMA_CPP_LIB_PATH=libraries) as olm,
        llama_daemon(weights, *arguments) as llama,
    ):
        command = [OLM, "create", MODEL, "-f", "-"]
        subprocess.run(command, input=f"FROM {weights}\n".encode(), env=olm.environ, check=True)
        for _ in range(ROUNDS + 1):
            ours.append(len(TEXTS) / _seconds(olm))
            theirs.append(len(TEXTS) / _seconds(llama))
    return [
        Row(
            name="embeddings of 1,000 texts",
            ours=median(ours[1:]),
            anchor=median(theirs[1:]),
            unit="/s",
            anchor_name="llama-server",
            target=1.0,
            at_most=False,
        )
    ]


if __name__ == "__main__":
    if "BENCH_EMBEDDER" not in os.environ:
        sys.exit("set BENCH_EMBEDDER to the GGUF file of all-MiniLM-L6-v2")
    for row in rows():
        print(row.text(), flush=True)
