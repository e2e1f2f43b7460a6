"""Clients in Go as programs, compiled once into the cache: Ollama's own, and LangChainGo."""

import fcntl
import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]


def program(client: str) -> Path:
    """The compiled client, of `.ci/CLIENT`; a failed test where it cannot be built."""
    source = CHECKOUT / ".ci" / client
    files = (source / name for name in ("main.go", "go.mod", "go.sum"))
    version = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    cached = CHECKOUT / ".cache" / f"{client}-{version}"
    cached.parent.mkdir(exist_ok=True)
    with open(cached.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cached.exists():
            build = [str(CHECKOUT / ".ci" / "gobuild"), str(source), ".", str(cached)]
            done = subprocess.run(build, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{done.stderr}\nit needs Go: apt-get install golang-go"
    return cached


def drive_ollama(
    url: str, chat_model: str, embedding_model: str, tool_model: str
) -> dict[str, Any]:
    """What Ollama's client found at a server, by the name of each step."""
    command = [str(program("ollama-client")), chat_model, embedding_model, tool_model]
    return _found(command, OLLAMA_HOST=url)


def drive_langchain(
    url: str, chat_model: str, embedding_model: str, tool_model: str
) -> dict[str, Any]:
    """What LangChainGo's client of Ollama found at a server, by the name of each step.

    `openai` has what its client of OpenAI found there with the model that calls tools.
    """
    models = (chat_model, embedding_model, tool_model)
    return _found([str(program("langchain-client")), url, *models])


def _found(command: list[str], **variables: str) -> dict[str, Any]:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=dict(os.environ) | variables,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found
