"""Signatures kept in the store, beside the models that they are of: a check needs no network.

    signatures/<sha256 of the manifest>.json

Nothing is trusted because it lies here: whoever wants to know holds it against a key again.
"""

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from olmkit.registry.errors import StoreError
from olmkit.registry.oci.digest import Digest
from olmkit.registry.signatures import evidence as evidences
from olmkit.registry.signatures.evidence import SIGNATURES_LIMIT, Evidence
from olmkit.registry.store.records import write_record
from olmkit.registry.store.store import Store

_LIMIT_BYTES: Final = 64 << 20


def keep(store: Store, evidence: Evidence) -> None:
    """Keep what is known of a manifest, beside what was known before.

    Nothing is kept where the store cannot be written.
    """
    before = find(store, evidence.digest)
    older = tuple(one for one in before.signatures if one not in evidence.signatures)
    evidence = replace(
        evidence,
        signatures=(*evidence.signatures, *older)[:SIGNATURES_LIMIT],
        chain=evidence.chain or before.chain,
    )
    raw = json.dumps(evidences.as_json(evidence)).encode()
    with suppress(StoreError):
        write_record(_path(store, evidence.digest), raw, staging=store.names.staging)


def find(store: Store, digest: Digest) -> Evidence:
    """What is kept of a manifest; without signatures when nothing is, or it cannot be read."""
    try:
        with open(_path(store, digest), "rb") as file:
            raw = file.read(_LIMIT_BYTES)
        found = evidences.parse(raw)
    except (OSError, ValueError):
        return Evidence(digest=digest)
    return found if found.digest == digest else Evidence(digest=digest)


def remove_unneeded(store: Store) -> None:
    """Remove what is kept of manifests that no name of the store means.

    Raises:
        StoreError: the store cannot be read.
    """
    models, unreadable = store.scan()
    if unreadable:
        return
    needed = {model.manifest_digest.hex for model in models}
    folder = store.root / "signatures"
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.removesuffix(".json") not in needed:
                (folder / name).unlink(missing_ok=True)


def _path(store: Store, digest: Digest) -> Path:
    return store.root / "signatures" / f"{digest.hex}.json"
