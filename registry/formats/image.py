"""Container images that carry a model below `/models`, as RamaLama makes them (raw and car).

Source: https://github.com/containers/ramalama/blob/main/ramalama/transports/oci.py
Only `models/` is looked at, in every layer; later layers win, as in an image.
"""

from dataclasses import replace
from typing import Final

from olmkit.registry.formats.layers import assemble, is_tar
from olmkit.registry.formats.parts import Format, ModelParts, Part, Role
from olmkit.registry.formats.unpacking import Bench, unpack
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import ModelConfig

FOLDER: Final = "models/"
OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
LAYER_PREFIXES: Final = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
)
_LINKED_ROLES: Final = {
    FOLDER + "model.file": Role.WEIGHTS,
    FOLDER + "mmproj.file": Role.PROJECTOR,
    FOLDER + "chat_template.file": Role.CHAT_TEMPLATE,
}
"""Names of the links that RamaLama makes to the files, by role."""
_LINK_DEPTH: Final = 8


def matches(manifest: Manifest) -> bool:
    """Whether the manifest is that of a container image, with nothing but its layers."""
    is_config = manifest.config.media_type in (OCI_CONFIG, mediatypes.DOCKER_CONFIG)
    return is_config and bool(manifest.layers) and all(map(_is_image_layer, manifest.layers))


def _is_image_layer(layer: Descriptor) -> bool:
    return layer.media_type.startswith(LAYER_PREFIXES)


def read(bench: Bench, manifest: Manifest) -> ModelParts:
    """The model; what is below `models/` is unpacked first.

    Raises:
        SourceError: a layer is not acceptable.
        StoreError: a blob cannot be read.
    """
    config = ModelConfig(model_format="gguf")
    assembled = assemble(
        bench,
        manifest,
        Format.IMAGE,
        config,
        is_packed=lambda layer: is_tar(layer) or _is_image_layer(layer),
        below=FOLDER,
    )
    links: dict[str, str] = {}
    for layer in manifest.layers:
        links |= unpack(bench, layer, below=FOLDER).links
    parts = assembled.parts
    for name, role in _LINKED_ROLES.items():
        target = _resolved(name, links)
        if target is not None:
            parts = _with_role(parts, target, role)
    return replace(assembled, parts=parts)


def _resolved(name: str, links: dict[str, str]) -> str | None:
    for _ in range(_LINK_DEPTH):
        if name not in links:
            return name
        name = links[name]
    return None


def _with_role(parts: tuple[Part, ...], name: str, role: Role) -> tuple[Part, ...]:
    """The parts, with the role given to the last one of this name and taken from all others."""
    found = next((part for part in reversed(parts) if part.name == name), None)
    if found is None:
        return parts
    return tuple(
        replace(part, role=role)
        if part is found
        else (replace(part, role=Role.OTHER) if part.role is role else part)
        for part in parts
    )
