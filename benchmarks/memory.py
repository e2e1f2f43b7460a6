"""Resident memory of the idle daemon, and of a runner beyond its model."""

import json
import time
import urllib.request
from pathlib import Path

import psutil
from anchors import demo_home, olm_daemon
from report import Row

MIB = 1024 * 1024
SETTLE_S = 2


def _rss_mib(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / MIB


def _file_backed_mib(process: psutil.Process, suffix: str) -> float:
    """Resident MiB of mappings of files whose path ends in `suffix`."""
    maps = process.memory_maps(grouped=True)
    return sum(entry.rss for entry in maps if entry.path.endswith(suffix)) / MIB


def rows() -> list[Row]:
    """Absolute bounds, so the anchor is the bound itself."""
    home = demo_home()
    with olm_daemon(home) as daemon:
        time.sleep(SETTLE_S)
        process = psutil.Process(daemon.process.pid)
        idle = _rss_mib(process)
        daemon.post("/api/generate", {"model": "demo", "prompt": "hi", "stream": False})
        (runner,) = [
            child
            for child in process.children(recursive=True)
            if any("runner" in part for part in child.cmdline())
        ]
        with urllib.request.urlopen(daemon.url + "/api/ps", timeout=10) as answer:
            (model,) = json.load(answer)["models"]
        weights_path = max((home / "models" / "blobs").iterdir(), key=lambda f: f.stat().st_size)
        mapped = _file_backed_mib(runner, Path(weights_path).name)
        buffers = (model["size"] - weights_path.stat().st_size) / MIB
        beyond = _rss_mib(runner) - mapped - buffers
    bound = {"unit": "MiB", "anchor_name": "bound", "target": 1.0, "at_most": True}
    return [
        Row(name="daemon, idle", ours=idle, anchor=60e6 / MIB, **bound),
        Row(name="runner beyond model and buffers", ours=beyond, anchor=70e6 / MIB, **bound),
    ]
