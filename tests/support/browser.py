"""A real Chromium without a window, driven over the pipe of its DevTools protocol.

Source: https://chromedevtools.github.io/devtools-protocol/, `--remote-debugging-pipe`: requests go
to descriptor 3, answers and events come from descriptor 4, each a JSON text that ends with NUL.
"""

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WAIT_S = 60.0
SWITCHES = (
    "--headless",
    "--no-sandbox",  # the tests may run as root, where Chromium has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
)


class Page:
    """One page; `events` are all that came so far."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests = requests
        self._answers = answers
        self._last_id = 0
        self._session: str | None = None
        self._unread = b""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """The result of a method of the protocol."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._last_id:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, url: str, *, width: int) -> None:
        """Load an address in a window that is `width` pixels wide."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=800,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript comes to; the page's own policy does not bind it."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings of console, log and network."""
        found = []
        for event in self.events:
            method, about = event.get("method"), event.get("params", {})
            if method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
                found.append(about["entry"]["text"])
            elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
                found.append(json.dumps(about))
            elif method == "Network.loadingFailed":
                found.append(about["errorText"])
        return found

    @property
    def addresses(self) -> set[str]:
        """What was asked for over the network."""
        return {
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        }

    def _read(self) -> dict[str, Any]:
        deadline_s = time.monotonic() + WAIT_S
        while b"\0" not in self._unread:
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, "Chromium says nothing any more"
            if select.select([self._answers], [], [], left_s)[0]:
                piece = os.read(self._answers, 1 << 16)
                assert piece, "Chromium has ended"
                self._unread += piece
        text, _, self._unread = self._unread.partition(b"\0")
        found: dict[str, Any] = json.loads(text)
        return found


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A page of a fresh browser, which ends with the block."""
    requests_read, requests_write = os.pipe()
    answers_read, answers_write = os.pipe()

    # The shell gives the pipes the numbers that Chromium wants, whatever they have here.
    script = f'exec "$@" 3<&{requests_read} 4>&{answers_write}'
    command = ("chromium", *SWITCHES, f"--user-data-dir={profile}")
    with open(profile.with_suffix(".log"), "wb") as log:
        process = subprocess.Popen(
            ("bash", "-c", script, "bash", *command),
            pass_fds=(requests_read, answers_write),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "HOME": str(profile)},
        )
    os.close(requests_read)
    os.close(answers_write)
    try:
        yield Page(requests_write, answers_read)
    finally:
        os.close(requests_write)
        os.close(answers_read)
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
