"""Files in layers without a format of a model, as `oras push` makes them.

File names come from the `title` annotation; without a GGUF file by name, a layer that begins as
one is the model. Source: https://oras.land/docs/commands/oras_push
"""

from typing import Final

from olmkit.registry.formats.layers import assemble
from olmkit.registry.formats.parts import Format, ModelParts
from olmkit.registry.formats.unpacking import Bench
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import ModelConfig

ANNOTATION_UNPACK: Final = "io.deis.oras.content.unpack"
_PACKED_TYPES: Final = (".tar+gzip", ".tar.gzip", ".tar+zstd", "/gzip", "/x-tar", "/zstd")


def read(bench: Bench, manifest: Manifest) -> ModelParts:
    """The model; folders, which ORAS packs, are unpacked first.

    Raises:
        SourceError: a packed layer is not acceptable.
        StoreError: a blob cannot be read.
    """
    return assemble(
        bench, manifest, Format.GENERIC, ModelConfig(model_format="gguf"), is_packed=_is_packed
    )


def _is_packed(layer: Descriptor) -> bool:
    """Whether a layer is a packed folder. ORAS marks those; it calls single files tar archives
    too."""
    is_marked = layer.annotations.get(ANNOTATION_UNPACK) == "true"
    return is_marked or layer.media_type.endswith(_PACKED_TYPES)
