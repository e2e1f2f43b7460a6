"""Manifests and indexes: the parsed value beside the exact bytes that it came from.

Decides what is a well-formed manifest and how olm writes one. The bytes are what is stored, hashed
and sent; nothing here ever writes them again. Knows no media type's meaning.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from olmkit.registry.errors import InvalidDigest, InvalidManifest
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest

SIZE_LIMIT_BYTES = 1 << 46
"""Of one blob, 70 TB: so the sum over any manifest is a number that JSON readers take."""
MANIFEST_LIMIT_BYTES = 8 << 20
"""Longer manifests are refused; registries allow 4 MiB, models of many tensors need more."""


class Descriptor(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a manifest says about one blob.

    Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md
    """

    media_type: str = ""
    digest: Digest
    size_bytes: Annotated[int, msgspec.Meta(ge=0, le=SIZE_LIMIT_BYTES)] = msgspec.field(name="size")
    from_: str | None = msgspec.field(default=None, name="from")
    """Name of the model that the layer came from; a hint of Ollama's."""
    name: str | None = None
    """Ollama's name of a tensor or file."""
    annotations: dict[str, str] = {}  # msgspec copies it
    artifact_type: str | None = None
    platform: dict[str, Any] | None = None
    """Platform of an index's entry: `os`, `architecture`, `variant`, each a text, and lists of
    features."""


class _WireManifest(msgspec.Struct, rename="camel"):
    config: Descriptor
    layers: tuple[Descriptor, ...] = ()
    schema_version: Literal[2] = 2
    media_type: str = mediatypes.OCI_MANIFEST
    artifact_type: str | None = None
    annotations: dict[str, str] = {}
    subject: Descriptor | None = None


class _WireIndex(msgspec.Struct, rename="camel"):
    manifests: tuple[Descriptor, ...]
    schema_version: Literal[2] = 2
    media_type: str = mediatypes.OCI_INDEX
    artifact_type: str | None = None
    annotations: dict[str, str] = {}


_Wire = TypeVar("_Wire", _WireManifest, _WireIndex)


def _digest(kind: type, text: object) -> Digest:
    """Decode the one type that JSON does not have."""
    assert kind is Digest
    return Digest(str(text))


_MANIFEST_DECODER = msgspec.json.Decoder(_WireManifest, dec_hook=_digest)
_INDEX_DECODER = msgspec.json.Decoder(_WireIndex, dec_hook=_digest)
_ENCODER = msgspec.json.Encoder(enc_hook=str)
_UNREADABLE = (msgspec.MsgspecError, InvalidDigest, ValueError, RecursionError)


def _decode(decoder: msgspec.json.Decoder[_Wire], raw: bytes) -> _Wire:
    if len(raw) > MANIFEST_LIMIT_BYTES:
        raise InvalidManifest(
            f"the manifest has {len(raw)} bytes, more than {MANIFEST_LIMIT_BYTES} are refused"
        )
    try:
        try:
            return decoder.decode(raw)
        except msgspec.ValidationError:
            # Some writers put null where others leave the member out.
            members = _without_nulls(json.loads(raw))
            wire: _Wire = msgspec.convert(members, decoder.type, dec_hook=_digest)
            return wire
    except _UNREADABLE as error:
        raise InvalidManifest(f"the manifest cannot be read: {error}") from error


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The blobs that make one model, in order, and the bytes that say so."""

    raw: bytes
    """The bytes as served, stored and hashed, with all unknown members."""
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: Descriptor | None = None

    @classmethod
    def parse(cls, raw: bytes) -> "Manifest":
        """The manifest that the bytes hold: Docker's version 2 or the OCI's.

        Unknown members and media types are fine, in any order.

        Raises:
            InvalidManifest: longer than `MANIFEST_LIMIT_BYTES`, no JSON, or members missing.
        """
        wire = _decode(_MANIFEST_DECODER, raw)
        return cls(
            raw=raw,
            media_type=wire.media_type,
            config=wire.config,
            layers=wire.layers,
            artifact_type=wire.artifact_type,
            annotations=wire.annotations,
            subject=wire.subject,
        )

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
        members: dict[str, object] = {"schemaVersion": 2, "mediaType": media_type}
        if artifact_type:
            members["artifactType"] = artifact_type
        members["config"] = config
        members["layers"] = layers
        if annotations:
            members["annotations"] = dict(sorted(annotations.items()))
        raw = _ENCODER.encode(members)
        return cls.parse(raw)

    @property
    def digest(self) -> Digest:
        """The digest of the exact bytes."""
        return Digest.of(self.raw)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Everything that the store must hold for this model: the config, then the layers."""
        return (self.config, *self.layers)

    @property
    def size_bytes(self) -> int:
        """Sum of the sizes of config and layers, a blob named twice counted twice."""
        return self.config.size_bytes + sum(layer.size_bytes for layer in self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A list of manifests under one name.

    Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-index.md
    """

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
        return cls(
            raw=raw,
            media_type=wire.media_type,
            manifests=wire.manifests,
            artifact_type=wire.artifact_type,
            annotations=wire.annotations,
        )

    @classmethod
    def build(cls, manifests: Sequence[Descriptor]) -> "Index":
        """A new OCI index; equal arguments give equal bytes, so equal digests."""
        members = {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": manifests,
        }
        return cls.parse(_ENCODER.encode(members))
