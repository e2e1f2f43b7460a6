"""What was found out about engines the hard way, so that it is found out once.

`$OLM_HOME/cache/engine-findings.json` says in which safe mode an engine runs on a processor,
after it died there without. An engine that is built anew and another processor have other
fingerprints, and start without. Taking the file away costs one more death.
"""

import json
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from olmkit.engine.runner.protocol import SafeMode

_MOST: Final = 16
"""Findings that are kept, the latest ones."""
_MAX_BYTES: Final = 1 << 16
_SCHEMA: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An engine on a processor, and how it runs there."""

    engine: str
    """`EngineLibraries.fingerprint`."""
    processor: str
    """`Processor.fingerprint`."""
    mode: SafeMode
    reason: str
    """How the engine died in normal mode: `was killed by SIGILL …`."""
    found_at: str
    """RFC 3339."""


class Findings:
    """The file; its absence, and whatever is wrong in it, counts as nothing found."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def find(self, *, engine: str, processor: str) -> Finding | None:
        """What is known of this engine on this processor."""
        for finding in reversed(self._read()):
            if (finding.engine, finding.processor) == (engine, processor):
                return finding
        return None

    def remember(self, finding: Finding) -> None:
        """Add a finding, or put it in the place of an older one about the same pair.

        Raises:
            OSError: it cannot be written; what was there is as it was.
        """
        pair = (finding.engine, finding.processor)
        with self._lock:
            kept = [old for old in self._read() if (old.engine, old.processor) != pair]
            self._write([*kept, finding][-_MOST:])

    def _read(self) -> list[Finding]:
        try:
            with open(self.path, "rb") as file:
                said = json.loads(file.read(_MAX_BYTES))
            if said["schema"] != _SCHEMA:
                return []
            return [_finding(item) for item in said["findings"][:_MOST]]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return []

    def _write(self, findings: list[Finding]) -> None:
        said = {
            "schema": _SCHEMA,
            "findings": [
                {
                    "engine": each.engine,
                    "processor": each.processor,
                    "mode": msgspec.to_builtins(each.mode),
                    "reason": each.reason,
                    "found_at": each.found_at,
                }
                for each in findings
            ],
        }
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=f".{self.path.name}.")
        try:
            with open(descriptor, "wb") as file:
                file.write(json.dumps(said, indent=1).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def _finding(said: dict[str, Any]) -> Finding:
    try:
        mode = msgspec.convert(said["mode"], SafeMode)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from error
    return Finding(
        engine=str(said["engine"]),
        processor=str(said["processor"]),
        mode=mode,
        reason=str(said["reason"])[:2000],
        found_at=str(said["found_at"])[:100],
    )
