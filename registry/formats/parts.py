"""The parts of a model, whatever its format.

Every format's manifest is read into `ModelParts`, and some can be written from it. Roles come from
the media type where it tells, else from the file's name. Knows no registry and opens no blob.
"""

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.shardnames import ShardName, parse_shard_name

ANNOTATION_MEDIA_TYPE: Final = "dev.olmkit.media-type"
"""Annotation of a layer in another format: the media type that it has in Ollama's."""
ANNOTATION_FROM: Final = "dev.olmkit.from"
"""Annotation of the same kind: the layer's `from`."""
ANNOTATION_NAME: Final = "dev.olmkit.name"
"""Annotation of the same kind: the layer's `name`."""
FILE_PATH_KEYS: Final = (
    "org.cncf.model.filepath",
    "org.cnai.model.filepath",
    mediatypes.ANNOTATION_TITLE,
)


class Format(enum.StrEnum):
    """How a manifest says what it holds."""

    OLLAMA = "ollama"
    MODELPACK = "modelpack"
    DOCKER = "docker"
    KITOPS = "kitops"
    IMAGE = "image"
    """A container image that carries a model below `/models`, as RamaLama makes them."""
    GENERIC = "generic"
    """Files in layers, as `oras push` makes them."""


class Role(enum.StrEnum):
    """What a part is for."""

    WEIGHTS = "weights"
    PROJECTOR = "projector"
    ADAPTER = "adapter"
    DRAFT = "draft"
    TEMPLATE = "template"
    """A Go template, as Ollama has them."""
    CHAT_TEMPLATE = "chat template"
    """A Jinja template."""
    SYSTEM = "system"
    PARAMETERS = "params"
    MESSAGES = "messages"
    LICENSE = "license"
    CONFIG = "config"
    """Ollama's config blob, kept as a layer of another format."""
    MANIFEST = "manifest"
    """Ollama's manifest, byte for byte, kept as a layer of another format."""
    OTHER = "other"


OLLAMA_ROLES: Final[Mapping[str, Role]] = {
    mediatypes.OLLAMA_MODEL: Role.WEIGHTS,
    mediatypes.OLLAMA_PROJECTOR: Role.PROJECTOR,
    mediatypes.OLLAMA_ADAPTER: Role.ADAPTER,
    mediatypes.OLLAMA_DRAFT: Role.DRAFT,
    mediatypes.OLLAMA_TEMPLATE: Role.TEMPLATE,
    mediatypes.OLLAMA_PROMPT: Role.TEMPLATE,
    mediatypes.OLLAMA_SYSTEM: Role.SYSTEM,
    mediatypes.OLLAMA_PARAMS: Role.PARAMETERS,
    mediatypes.OLLAMA_MESSAGES: Role.MESSAGES,
    mediatypes.OLLAMA_LICENSE: Role.LICENSE,
    mediatypes.DOCKER_CONFIG: Role.CONFIG,
    mediatypes.DOCKER_MANIFEST: Role.MANIFEST,
}

OLLAMA_PREFIX: Final = "application/vnd.ollama.image."
OLLAMA_TYPES: Final = {
    role: media_type
    for media_type, role in OLLAMA_ROLES.items()
    if media_type != mediatypes.OLLAMA_PROMPT
}
"""The media type of Ollama's for each role that it knows."""

_EXACT_NAMES: Final = {
    "template": Role.TEMPLATE,
    "system": Role.SYSTEM,
    "params": Role.PARAMETERS,
    "messages": Role.MESSAGES,
    "chat_template": Role.CHAT_TEMPLATE,
}
"""File names in Hugging Face repositories that Ollama gives a meaning."""
_LICENSE_NAME: Final = re.compile(r"(licen[sc]e|copying|notice)([.\-_].*)?", re.IGNORECASE)
_NOT_WEIGHTS: Final = re.compile(r"imatrix|^mtp-|^eagle3-|^dflash-|^dspark-", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a model: a layer, or a file that was packed in one."""

    role: Role
    digest: Digest
    size_bytes: int
    layer: Descriptor
    """The manifest's layer that is or holds the file."""
    name: str = ""
    """The file's name with folders; empty where nothing names it."""

    @property
    def is_layer(self) -> bool:
        """Whether the file is the layer itself, unpacked."""
        return self.digest == self.layer.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParts:
    """A model, part by part, in the manifest's order; shards of weights in theirs."""

    format: Format
    config: ModelConfig
    parts: tuple[Part, ...]
    config_layer: Descriptor | None = None
    """The blob that `config` is, when it is one of Ollama's kind."""

    def of(self, role: Role) -> tuple[Part, ...]:
        """The parts of a role."""
        return tuple(part for part in self.parts if part.role is role)

    @property
    def weights(self) -> tuple[Part, ...]:
        """The GGUF file, or all its shards in order."""
        return self.of(Role.WEIGHTS)


def file_name(layer: Descriptor) -> str:
    """The name that a layer's annotations give its file; empty when they give none."""
    names = (layer.annotations.get(key, "") for key in FILE_PATH_KEYS)
    return next(filter(None, names), "")


def role_of_name(name: str) -> Role:
    """What a file of this name is, by the habits of those who publish models."""
    base = name.rpartition("/")[2].lower()
    if base.endswith(".gguf"):
        if "mmproj" in base:
            return Role.PROJECTOR
        return Role.OTHER if _NOT_WEIGHTS.search(base) else Role.WEIGHTS
    if base.endswith(".jinja"):
        return Role.CHAT_TEMPLATE
    if _LICENSE_NAME.fullmatch(base):
        return Role.LICENSE
    return _EXACT_NAMES.get(base, Role.OTHER)


def ollama_media_type(layer: Descriptor) -> str:
    """The layer's media type, or the one of Ollama's that an annotation says it stands for."""
    return layer.annotations.get(ANNOTATION_MEDIA_TYPE) or layer.media_type


def one_model(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts with one set of weights, its shards in order; other weights become `OTHER`.

    The first weights count, with those whose name says that they are shards of the same file, or
    that have no name either.
    """
    listed = list(parts)
    weights = [part for part in listed if part.role is Role.WEIGHTS]
    if len(weights) < 2:
        return tuple(listed)
    wanted = _stem(weights[0])
    chosen = sorted((p for p in weights if _stem(p) == wanted), key=lambda p: _shard(p.name))
    if weights[0].name and parse_shard_name(weights[0].name) is None:
        chosen = chosen[:1]
    ordered = iter(chosen)
    kept = {id(part) for part in chosen}
    result = []
    for part in listed:
        if part.role is not Role.WEIGHTS:
            result.append(part)
        elif id(part) in kept:
            result.append(next(ordered))
        else:
            result.append(_as_other(part))
    return tuple(result)


def _as_other(part: Part) -> Part:
    return Part(
        role=Role.OTHER,
        digest=part.digest,
        size_bytes=part.size_bytes,
        layer=part.layer,
        name=part.name,
    )


def _stem(part: Part) -> str:
    shard = parse_shard_name(part.name)
    return f"{shard.stem}/{shard.count}" if shard else part.name


def _shard(name: str) -> int:
    shard = parse_shard_name(name)
    return shard.number if shard else 0


_DEFAULT_NAMES: Final = {
    Role.WEIGHTS: "model.gguf",
    Role.PROJECTOR: "mmproj.gguf",
    Role.ADAPTER: "adapter.gguf",
    Role.DRAFT: "draft.gguf",
    Role.TEMPLATE: "template",
    Role.CHAT_TEMPLATE: "chat_template.jinja",
    Role.SYSTEM: "system",
    Role.PARAMETERS: "params",
    Role.MESSAGES: "messages",
    Role.LICENSE: "LICENSE",
    Role.CONFIG: "config.json",
    Role.MANIFEST: "manifest.json",
    Role.OTHER: "file",
}


def names_of(parts: Iterable[Part]) -> list[str]:
    """A file name for each part, all different; those that parts have are kept."""
    listed = list(parts)
    shards = sum(part.role is Role.WEIGHTS for part in listed)
    taken: set[str] = set()
    names, shard = [], 0
    for part in listed:
        name = part.name or _DEFAULT_NAMES[part.role]
        if part.role is Role.WEIGHTS:
            shard += 1
            if shards > 1 and not part.name:
                name = str(ShardName(stem="model", number=shard, count=shards))
        stem, dot, suffix = name.rpartition(".")
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}{dot}{suffix}" if stem else f"{suffix}-{number}"
        taken.add(name)
        names.append(name)
    return names


def notes_for(part: Part) -> dict[str, str]:
    """Annotations by which another format's layer can be made one of Ollama's again."""
    layer = part.layer
    own = ollama_media_type(layer) if part.is_layer else ""
    if not own.startswith(OLLAMA_PREFIX):
        own = OLLAMA_TYPES.get(part.role, "")
    from_ = layer.from_ or layer.annotations.get(ANNOTATION_FROM)
    name = layer.name or layer.annotations.get(ANNOTATION_NAME)
    notes = {ANNOTATION_MEDIA_TYPE: own, ANNOTATION_FROM: from_, ANNOTATION_NAME: name}
    return {key: value for key, value in notes.items() if value} if own else {}
