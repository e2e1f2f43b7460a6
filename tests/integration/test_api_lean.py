"""The daemon stays small: what it must not import, and what it takes when idle."""

import subprocess
import sys
from pathlib import Path

import psutil

from support import models
from support.api import Api
from support.daemon import running_daemon, wait_until

HEAVY = ("jinja2", "numpy", "lark", "gguf", "llama_cpp", "httpx", "typer", "rich", "pip")
MAX_IDLE_BYTES = 60_000_000


def test_the_api_imports_nothing_heavy() -> None:
    code = (
        "import sys, olmkit.engine.daemon, olmkit.engine.api.application\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_a_daemon_that_has_done_its_work_is_small_again(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "home") as daemon:
        api = Api(daemon)
        process = psutil.Process(daemon.process.pid)
        assert process.memory_info().rss < MAX_IDLE_BYTES
        api.create("smol", models.smollm2(), template="{{ .Prompt }}")
        api.create("gemma", models.gemma3())
        for name in ("smol", "gemma"):
            body = {"model": name, "prompt": "Hi", "options": {"num_predict": 3}}
            assert api.post("/api/generate", body).status == 200
            assert api.post("/api/show", {"model": name}).status == 200
            api.post("/api/generate", {"model": name, "keep_alive": 0})
        assert api.get("/api/tags").status == 200
        wait_until(lambda: not api.running(), what="the unload")
        assert process.memory_info().rss < MAX_IDLE_BYTES
