"""Models of a test registry, pulled by a process of their own."""

import subprocess
import sys
from pathlib import Path

from olmkit.registry.http.transferlimits import TransferLimits
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Manifest
from support.registry import Registry

PROGRAM = Path(__file__).with_name("pull_program.py")
QUICK = TransferLimits(range_min_bytes=1 << 20, range_max_bytes=1 << 20, first_pause_s=0.02)
"""A MiB is asked for at a time, and soon again after a failure."""


def publish(registry: Registry, *weights: bytes) -> tuple[str, Manifest]:
    """Put a model of these weights into a registry; its name, and its manifest."""
    config = b'{"model_format":"gguf"}'
    blobs = [
        Descriptor(
            media_type=media_type,
            digest=Digest(registry.put_blob(data)),
            size_bytes=len(data),
        )
        for media_type, data in (
            (mediatypes.DOCKER_CONFIG, config),
            *((mediatypes.OLLAMA_MODEL, part) for part in weights),
        )
    ]
    manifest = Manifest.build(blobs[0], blobs[1:])
    registry.put_manifest("library/m", "1", manifest.raw, manifest.media_type)
    return f"{registry.host}/library/m:1", manifest


def start(store: Path, name: str, *, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """A process that pulls the model, and in the end prints the most memory that it had."""
    command = [sys.executable, str(PROGRAM), str(store), name]
    return subprocess.Popen(command, stdout=stdout)
