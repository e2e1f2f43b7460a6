"""What models really took, remembered from load to load.

A dry run reads the whole vocabulary, half a second for a large one; what the same weights took in
the same shape on the same devices with the same engine does not change. One file, written whole;
a broken or lost one costs dry runs only.
"""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from olmkit.engine.devices.inventory import Device
from olmkit.engine.runner.layouts import Layout
from olmkit.engine.runner.protocol import Buffer, LoadOptions

_MOST_ENTRIES: Final = 500
_MOST_BYTES: Final = 4 << 20
_SHAPE: Final = (
    "context_tokens",
    "contexts",
    "sequences",
    "batch_tokens",
    "kv_cache_type",
    "flash_attention",
    "embedding",
    "use_mmap",
)

log = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(dict[str, list[Buffer]])


def cost_key(
    model_key: str,
    options: LoadOptions,
    layout: Layout,
    devices: Sequence[Device],
    *,
    engine: str,
) -> str:
    """By what a cost is remembered: weights, shape, layout, kinds of devices, the engine and
    what else decides how it keeps weights."""
    names = {share.device for share in layout.shares}
    kinds = [(d.name, d.description, d.backend) for d in devices if d.name in names]
    shape = [getattr(options, name) for name in _SHAPE]
    raw = json.dumps([model_key, shape, msgspec.to_builtins(layout), kinds, engine])
    return hashlib.sha256(raw.encode()).hexdigest()[:32]


class MeasuredCosts:
    """Costs by `cost_key`; without a path they last as long as this object."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._costs: dict[str, list[Buffer]] | None = None

    def find(self, key: str) -> list[Buffer] | None:
        """What was remembered; None: nothing."""
        return self._load().get(key)

    def remember(self, key: str, buffers: Sequence[Buffer]) -> None:
        """Keep what a load took; the oldest entries go when there are too many."""
        costs = self._load()
        if costs.get(key) == list(buffers):
            return
        costs.pop(key, None)
        costs[key] = list(buffers)
        while len(costs) > _MOST_ENTRIES:
            del costs[next(iter(costs))]
        if self._path is not None:
            try:
                _write(self._path, msgspec.json.encode(costs))
            except OSError as error:
                log.warning("measured costs cannot be kept", extra={"reason": error.strerror})

    def forget(self, key: str) -> None:
        """It was not true: the next load is measured anew."""
        self._load().pop(key, None)

    def _load(self) -> dict[str, list[Buffer]]:
        if self._costs is None:
            self._costs = {}
            if self._path is not None:
                with suppress(OSError, msgspec.DecodeError), open(self._path, "rb") as file:
                    self._costs = _decoder.decode(file.read(_MOST_BYTES))
        return self._costs


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with open(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
