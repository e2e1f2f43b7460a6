"""Ollama's own Go client as a program: `.ci/ollama-client`, compiled once into the cache."""

import fcntl
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE = CHECKOUT / ".ci" / "ollama-client"


def program() -> Path:
    """The compiled client; a failed test where it cannot be built."""
    files = (SOURCE / name for name in ("main.go", "go.mod", "go.sum"))
    version = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    cached = CHECKOUT / ".cache" / f"ollama-client-{version}"
    cached.parent.mkdir(exist_ok=True)
    with open(cached.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cached.exists():
            build = [str(CHECKOUT / ".ci" / "gobuild"), str(SOURCE), ".", str(cached)]
            done = subprocess.run(build, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{done.stderr}\nit needs Go: apt-get install golang-go"
    return cached


def drive(url: str, chat_model: str, embedding_model: str) -> dict[str, Any]:
    """What the client found at a server, by the name of each step."""
    done = subprocess.run(
        [str(program()), chat_model, embedding_model],
        capture_output=True,
        text=True,
        env=dict(os.environ) | {"OLLAMA_HOST": url},
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found
