"""What the `index.json` of an archive lists: models by their names, and signatures of them.

Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md#indexjson-file
and, for the annotation `kind`, `cosign save` (pkg/oci/layout in https://github.com/sigstore/cosign).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from olmkit.registry.errors import InvalidDigest, InvalidReference, SourceError
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Index
from olmkit.registry.oci.reference import Reference

ANNOTATION_CONTAINERD_NAME: Final = "io.containerd.image.name"
"""The whole name, in archives of Docker and containerd; `ref.name` is the tag alone there."""
ANNOTATION_INDEXES: Final = "dev.olmkit.indexes"
"""Digests of the indexes that led to a model, the outermost first, with commas between."""
ANNOTATION_KIND: Final = "kind"
KIND_MODEL: Final = "dev.cosignproject.cosign/image"
KIND_SIGNATURES: Final = "dev.cosignproject.cosign/sigs"
_KINDS_BESIDE: Final = (KIND_SIGNATURES, "dev.cosignproject.cosign/atts")
_TAG_BESIDE: Final = re.compile(r"(?:.*:)?(sha256-[0-9a-f]{64}\.(?:sig|att|sbom))")
"""Tags of what lies beside a model: its signatures, attestations and bills of materials."""
_MODEL_LIMIT: Final = 256
_CHAIN_LIMIT: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The models of an archive that are wanted, in its order, and the signatures that it has."""

    models: tuple[tuple[Reference, Descriptor], ...]
    signatures: Mapping[str, Descriptor]
    """Images of signatures by their tags; one without a tag, as of `cosign save`, by ``""``."""


def parse_listing(raw: bytes, *, name: Reference | None, only: str | None) -> Listing:
    """What an archive's index lists; `name` and `only` as for `load_archive`.

    Raises:
        InvalidManifest: it is no index.
        SourceError: it lists no models, too many, or some without names.
    """
    models: list[Descriptor] = []
    signatures: dict[str, Descriptor] = {}
    for entry in Index.parse(raw).manifests:
        if not _is_beside(entry):
            models.append(entry)
        elif (tag := _signatures_tag(entry)) is not None:
            signatures.setdefault(tag, entry)
    if only is not None:
        models = [entry for entry in models if only in _names_in(entry)]
        if not models:
            raise SourceError(f"the archive has no model that it calls {only[:100]!r}")
    if not models or len(models) > _MODEL_LIMIT:
        raise SourceError(f"the archive lists {len(models)} models")
    if name is not None and len(models) > 1:
        raise SourceError(f"the archive holds {len(models)} models, so one name does not do")
    named = {name or _name_of(entry): entry for entry in models}
    return Listing(models=tuple(named.items()), signatures=signatures)


def indexes_of(entry: Descriptor) -> list[Digest]:
    """The indexes that led to a model, as its entry tells.

    Raises:
        SourceError: it tells something else.
    """
    told = entry.annotations.get(ANNOTATION_INDEXES)
    if not told:
        return []
    texts = told.split(",", _CHAIN_LIMIT)
    if len(texts) > _CHAIN_LIMIT:
        raise SourceError(f"the archive has a model below more than {_CHAIN_LIMIT} indexes")
    try:
        return [Digest(text) for text in texts]
    except InvalidDigest as error:
        raise SourceError(f"the archive names an index that is none: {error}") from error


def is_attestation(entry: Descriptor) -> bool:
    """Whether this is a build tool's note in an index, and no image."""
    return (entry.platform or {}).get("os") == "unknown"


def _is_beside(entry: Descriptor) -> bool:
    return entry.annotations.get(ANNOTATION_KIND) in _KINDS_BESIDE or _tag_beside(entry) is not None


def _tag_beside(entry: Descriptor) -> str | None:
    names = (_TAG_BESIDE.fullmatch(name) for name in _names_in(entry))
    return next((found[1] for found in names if found), None)


def _signatures_tag(entry: Descriptor) -> str | None:
    """The tag of an image of signatures, empty for none; None: it is something else."""
    tag = _tag_beside(entry)
    if tag is not None:
        return tag if tag.endswith(".sig") else None
    return "" if entry.annotations.get(ANNOTATION_KIND) == KIND_SIGNATURES else None


def _names_in(entry: Descriptor) -> list[str]:
    """What the archive calls a model, the whole name first."""
    keys = (ANNOTATION_CONTAINERD_NAME, mediatypes.ANNOTATION_REF_NAME)
    return [text for key in keys if (text := entry.annotations.get(key))]


def _name_of(entry: Descriptor) -> Reference:
    text = next(iter(_names_in(entry)), None)
    if text is None:
        raise SourceError(
            f"the archive gives model {entry.digest.short} no name",
            hint="give it one: olm load --name NAME",
        )
    try:
        return Reference.parse(text)
    except InvalidReference as error:
        raise SourceError(
            f"the archive names a model {text[:100]!r}, which is no name: {error}",
            hint="give it another: olm load --name NAME",
        ) from error
