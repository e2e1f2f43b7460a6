"""Manifests and indexes: the parsed value beside the exact bytes that it came from.

Decides what is a well-formed manifest and how olm writes one. The bytes are what is stored, hashed
and sent; nothing here ever writes them again. Knows no media type's meaning.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from olmkit.registry import mediatypes
from olmkit.registry.digest import Digest
from olmkit.registry.errors import InvalidDigest, InvalidManifest

MANIFEST_LIMIT_BYTES = 8 << 20
"""Longer manifests are refused; registries allow 4 MiB, models of many tensors need more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a manifest says about one blob (OCI image-spec 1.1, descriptor.md)."""

    media_type: str
    digest: Digest
    size_bytes: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    from_: str | None = None
    """Ollama's hint where the layer came from: a model's name."""
    name: str | None = None
    """Ollama's name of a tensor or file."""
    artifact_type: str | None = None
    platform: Mapping[str, str] | None = None
    """In an index: `os`, `architecture`, `variant`."""

    def to_json(self) -> dict[str, Any]:
        """The JSON object, members in the order in which Ollama and the OCI write them."""
        members: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size_bytes,
        }
        optional = {
            "from": self.from_,
            "name": self.name,
            "annotations": dict(sorted(self.annotations.items())),
            "artifactType": self.artifact_type,
            "platform": dict(self.platform) if self.platform else None,
        }
        return members | {name: value for name, value in optional.items() if value}


class _WireDescriptor(msgspec.Struct, rename="camel"):
    digest: str
    size: int
    media_type: str = ""
    from_: str | None = msgspec.field(default=None, name="from")
    name: str | None = None
    annotations: dict[str, str] | None = None
    artifact_type: str | None = None
    platform: dict[str, object] | None = None

    def descriptor(self) -> Descriptor:
        """The value; raises `InvalidDigest`, `InvalidManifest`."""
        if self.size < 0:
            raise InvalidManifest(f"the size of {self.digest} is negative")
        members = self.platform or {}
        platform = {name: text for name, text in members.items() if isinstance(text, str)}
        return Descriptor(
            media_type=self.media_type,
            digest=Digest(self.digest),
            size_bytes=self.size,
            annotations=self.annotations or {},
            from_=self.from_ or None,
            name=self.name or None,
            artifact_type=self.artifact_type or None,
            platform=platform or None,
        )


class _WireManifest(msgspec.Struct, rename="camel"):
    config: _WireDescriptor
    layers: list[_WireDescriptor] | None = None
    schema_version: int = 2
    media_type: str = ""
    artifact_type: str | None = None
    annotations: dict[str, str] | None = None
    subject: _WireDescriptor | None = None


class _WireIndex(msgspec.Struct, rename="camel"):
    manifests: list[_WireDescriptor]
    schema_version: int = 2
    media_type: str = ""
    artifact_type: str | None = None
    annotations: dict[str, str] | None = None


_MANIFEST_DECODER = msgspec.json.Decoder(_WireManifest)
_INDEX_DECODER = msgspec.json.Decoder(_WireIndex)


_Wire = TypeVar("_Wire", _WireManifest, _WireIndex)


def _decode(decoder: msgspec.json.Decoder[_Wire], raw: bytes) -> _Wire:
    if len(raw) > MANIFEST_LIMIT_BYTES:
        raise InvalidManifest(
            f"the manifest has {len(raw)} bytes, more than {MANIFEST_LIMIT_BYTES} are refused"
        )
    try:
        wire = decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidManifest(f"the manifest cannot be read: {str(error).lower()}") from error
    if wire.schema_version != 2:
        raise InvalidManifest(f"schema version {wire.schema_version} of a manifest is not known")
    return wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The blobs that make one model, in order, and the bytes that say so."""

    raw: bytes
    """As served, stored and hashed; unknown members live on here."""
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: Descriptor | None = None

    @classmethod
    def parse(cls, raw: bytes) -> "Manifest":
        """The manifest that the bytes hold: Docker's version 2 or the OCI's.

        Unknown members, media types and both orders are fine (registry reference, section 1.3).

        Raises:
            InvalidManifest: longer than `MANIFEST_LIMIT_BYTES`, no JSON, or members missing.
        """
        wire = _decode(_MANIFEST_DECODER, raw)
        try:
            return cls(
                raw=raw,
                media_type=wire.media_type or mediatypes.OCI_MANIFEST,
                config=wire.config.descriptor(),
                layers=tuple(layer.descriptor() for layer in wire.layers or ()),
                artifact_type=wire.artifact_type or None,
                annotations=wire.annotations or {},
                subject=wire.subject.descriptor() if wire.subject else None,
            )
        except InvalidDigest as error:
            raise InvalidManifest(f"the manifest cannot be read: {error}") from error

    @classmethod
    def build(
        cls,
        config: Descriptor,
        layers: Sequence[Descriptor],
        *,
        media_type: str = mediatypes.DOCKER_MANIFEST,
        artifact_type: str | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> "Manifest":
        """A new manifest; equal arguments give equal bytes, so equal digests."""
        members: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
        if artifact_type:
            members["artifactType"] = artifact_type
        members["config"] = config.to_json()
        members["layers"] = [layer.to_json() for layer in layers]
        if annotations:
            members["annotations"] = dict(sorted(annotations.items()))
        raw = json.dumps(members, separators=(",", ":")).encode()
        return cls.parse(raw)

    @property
    def digest(self) -> Digest:
        """Of the exact bytes."""
        return Digest.of(self.raw)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Everything that the store must hold for this model: the config, then the layers."""
        return (self.config, *self.layers)

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes of config and layers, a blob named twice counted twice."""
        return self.config.size_bytes + sum(layer.size_bytes for layer in self.layers)

    def layers_of(self, *media_types: str) -> tuple[Descriptor, ...]:
        """The layers of these media types, in the manifest's order."""
        return tuple(layer for layer in self.layers if layer.media_type in media_types)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A list of manifests under one name (OCI image-spec 1.1, image-index.md)."""

    raw: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: bytes) -> "Index":
        """The index that the bytes hold: Docker's manifest list or the OCI's.

        Raises:
            InvalidManifest: longer than `MANIFEST_LIMIT_BYTES`, no JSON, or members missing.
        """
        wire = _decode(_INDEX_DECODER, raw)
        try:
            return cls(
                raw=raw,
                media_type=wire.media_type or mediatypes.OCI_INDEX,
                manifests=tuple(entry.descriptor() for entry in wire.manifests),
                artifact_type=wire.artifact_type or None,
                annotations=wire.annotations or {},
            )
        except InvalidDigest as error:
            raise InvalidManifest(f"the index cannot be read: {error}") from error
