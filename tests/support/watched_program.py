"""olm's own daemon with a watch over its event loop, whose longest pause `/watch` tells.

A pause counts as long as the loop was late and as this process was busy meanwhile: a machine that
gives its processors to others does not count.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from olmkit.engine.api.application import create_app
from olmkit.engine.daemon import run
from olmkit.engine.services import Services
from olmkit.engine.settings import Settings

COMMAND = (sys.executable, str(Path(__file__)))
INTERVAL_S = 0.005


class Watch:
    """Measures how late the event loop is."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        while True:
            began_s, used_s = time.monotonic(), time.process_time()
            await asyncio.sleep(INTERVAL_S)
            late_s = time.monotonic() - began_s - INTERVAL_S
            self.longest_s = max(self.longest_s, min(late_s, time.process_time() - used_s))


def make_app(services: Services) -> Any:
    app, watch = create_app(services), Watch()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        if watch.task is None:
            watch.task = asyncio.create_task(watch.run())
        if scope["type"] != "http" or scope["path"] != "/watch":
            await app(scope, receive, send)
            return
        body = json.dumps({"longest_s": watch.longest_s}).encode()
        watch.longest_s = 0.0
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    return watched


if __name__ == "__main__":
    run(Settings.from_environment(), make_app=make_app)
