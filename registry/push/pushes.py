"""Digests at registries of models that were pushed in another format than they are stored in.

    pushed/<sha256 of the name>     {"stored": "sha256:…", "pushed": "sha256:…"}

A lock file has to hold the registry's digest, or no other machine could pull by it. A record counts
only for the manifest that was pushed: a name that has come to mean another one has none.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Final

from olmkit.registry.errors import InvalidDigest, StoreError, store_errors
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.records import write_record
from olmkit.registry.store.store import Store

_LIMIT_BYTES: Final = 4096


def record(store: Store, reference: Reference, stored: Digest, pushed: Digest) -> None:
    """Record that the manifest `stored` of a name has the digest `pushed` at its registry.

    Nothing is kept where the store cannot be written: the push succeeded all the same.
    """
    path = _path(store, reference)
    with suppress(StoreError):
        if stored == pushed:
            with store_errors(path, "remove"):
                path.unlink(missing_ok=True)
            return
        raw = json.dumps({"stored": stored, "pushed": pushed}).encode()
        write_record(path, raw, staging=store.names.staging)


def find(store: Store, reference: Reference, stored: Digest) -> Digest | None:
    """The registry's digest of the manifest `stored` of a name; `None` for the same, or unknown."""
    try:
        with open(_path(store, reference), "rb") as file:
            known = json.loads(file.read(_LIMIT_BYTES))
        return Digest(str(known["pushed"])) if known["stored"] == stored else None
    except (OSError, ValueError, KeyError, TypeError, InvalidDigest):
        return None


def _path(store: Store, reference: Reference) -> Path:
    name = hashlib.sha256(reference.full.casefold().encode()).hexdigest()
    return store.root / "pushed" / name
