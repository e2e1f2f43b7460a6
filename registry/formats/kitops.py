"""KitOps' ModelKits: a Kitfile as config, and layers that are tar archives.

Source: https://github.com/kitops-ml/kitops/tree/main/pkg/lib/constants
"""

from dataclasses import replace
from typing import Final

from olmkit.registry.errors import SourceError
from olmkit.registry.formats.layers import Object, assemble, member, read_config, text
from olmkit.registry.formats.parts import Format, ModelParts
from olmkit.registry.formats.unpacking import Bench
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import ModelConfig

PREFIXES: Final = (
    "application/vnd.kitops.modelkit.",
    "application/vnd.kitops.model.",
    "application/vnd.jozu.model.",
)
_CLASSES: Final = (".model.v1", ".modelpart.v1", ".docs.v1")


def matches(manifest: Manifest) -> bool:
    """Whether the manifest is in this format."""
    return manifest.config.media_type.startswith(PREFIXES)


def read(bench: Bench, manifest: Manifest) -> ModelParts:
    """The model; the layers of model and documents are unpacked first.

    Raises:
        SourceError: a packed layer is not acceptable, or the model is in another ModelKit.
        StoreError: a blob cannot be read.
    """
    kitfile = read_config(bench.store, manifest.config)
    other = _referenced_kit(kitfile, manifest)
    if other is not None:
        raise SourceError(
            f"the ModelKit takes its model from another one, {other[:200]!r}",
            hint="pull that one",
        )
    model = member(kitfile, "model")
    config = ModelConfig(
        model_format=text(model, "format"),
        base_name=text(model, "name") or text(member(kitfile, "package"), "name"),
    )
    parts = assemble(bench, manifest, Format.KITOPS, config, is_packed=_is_packed)
    if parts.weights:
        config = replace(config, model_format="gguf")
    return replace(parts, config=config)


def _is_packed(layer: Descriptor) -> bool:
    is_wanted = any(name in layer.media_type for name in _CLASSES)
    return is_wanted and ".tar" in layer.media_type


def _referenced_kit(kitfile: Object, manifest: Manifest) -> str | None:
    """The ModelKit that this one takes its model from; `None` when it has its own."""
    path = text(member(kitfile, "model"), "path")
    has_layer = any(".model.v1" in layer.media_type for layer in manifest.layers)
    return None if has_layer or path is None or path.startswith((".", "/")) else path
