"""The layers that a model begins with: weights, projectors, adapters.

Source: `ggufLayers` of https://github.com/ollama/ollama/blob/v0.17.4/server/create.go
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from olmkit.engine.create.conversion import ConvertAdapter
from olmkit.engine.create.pieces import Site, Source, is_checkpoint, piece_of, sources_of
from olmkit.engine.errors import ModelNotCreatable, ModelUnloadable
from olmkit.engine.framing import wire_path
from olmkit.engine.gguf.controlvectors import (
    is_control_vector,
    read_directions,
    steered_by_header,
)
from olmkit.engine.gguf.header import GgufHeader, read_header
from olmkit.engine.models.configblob import config_of
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor
from olmkit.registry.oci.modelconfig import ModelConfig

_ORDER: Final = (
    mediatypes.OLLAMA_MODEL,
    mediatypes.OLLAMA_PROJECTOR,
    mediatypes.OLLAMA_ADAPTER,
)
"""Of a model's layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The layers that a model begins with, and the config that they deserve."""

    layers: tuple[Descriptor, ...]
    config: ModelConfig


def weights_of(files: Mapping[str, Digest], site: Site, *, type_text: str | None = None) -> Weights:
    """The layers of a model that is made of blobs of the store; safetensors are converted.

    With `type_text`, such as `q4_k_m`, the model's numbers are in that type.

    Raises:
        ModelNotCreatable: they make no model, it is quantized already, or a control vector among
            them is another model's.
        ModelUnloadable: one is no readable GGUF.
        StoreError: one is not in the store.
    """
    with sources_of(files, site) as sources:
        models = [each for each in sources if each.media_type == mediatypes.OLLAMA_MODEL]
        if len(models) != 1:
            raise _wrong_number(len(models))
        sources.sort(key=lambda each: (_ORDER.index(each.media_type), each.header.name))
        model, *others = sources
        for other in others:
            _require_fitting(other, model.header)
        pieces = [piece_of(model, site, type_text=type_text)]
        pieces += [piece_of(other, site) for other in others]
    config = config_of(pieces[0].header)
    projectors = (p for p in pieces if p.layer.media_type == mediatypes.OLLAMA_PROJECTOR)
    families = dict.fromkeys((*config.model_families, *(p.header.architecture for p in projectors)))
    return Weights(
        layers=tuple(piece.layer for piece in pieces),
        config=replace(config, model_families=tuple(families)),
    )


def adapter_layers(
    files: Mapping[str, Digest], base: Sequence[Descriptor], site: Site
) -> tuple[Descriptor, ...]:
    """The layer of an adapter for the model of `base`; none when there are no files.

    Raises:
        ModelNotCreatable: more than one GGUF file, no adapter, or a control vector of another
            model.
        ModelUnloadable: a file is no readable GGUF.
    """
    if not files:
        return ()
    if len(files) > 1 and not is_checkpoint(files):
        raise ModelNotCreatable("only one adapter is currently supported")
    model = (
        wire_path(site.store.blobs.path(_model_layer(base).digest)) if is_checkpoint(files) else ""
    )
    with sources_of(
        files,
        site,
        what="adapter",
        work=lambda target, paths: ConvertAdapter(target=target, files=paths, base=model),
    ) as (source,):
        if source.media_type != mediatypes.OLLAMA_ADAPTER:
            raise ModelNotCreatable(f"{source.header.name} is no adapter")
        if is_control_vector(source.header):
            weights = _model_layer(base)
            path = site.store.blobs.check(weights.digest, weights.size_bytes)
            _require_fitting(source, read_header(path, name=f"model {weights.digest.short}"))
        return (piece_of(source, site).layer,)


def _require_fitting(source: Source, model: GgufHeader) -> None:
    """Nothing, unless the file is a control vector: LoRA adapters are held against the model by
    llama.cpp, which takes any vector and leaves out what does not fit.

    Raises:
        ModelNotCreatable: it is damaged, or another model's.
    """
    if not is_control_vector(source.header):
        return
    try:
        for _ in read_directions(source.header, steered_by_header(model)):
            pass
    except ModelUnloadable as error:
        raise ModelNotCreatable(str(error)) from error


def quantized(weights: Weights, type_text: str, site: Site) -> Weights:
    """The same with the model's numbers in another type, such as `q4_k_m`.

    Raises:
        ModelNotCreatable: no such type, or the model is quantized already.
    """
    old = _model_layer(weights.layers)
    path = site.store.blobs.check(old.digest, old.size_bytes)
    source = Source(
        path=path,
        digest=old.digest,
        header=read_header(path, name=f"model {old.digest.short}"),
        media_type=old.media_type,
    )
    new = piece_of(source, site, type_text=type_text)
    return Weights(
        layers=tuple(new.layer if layer is old else layer for layer in weights.layers),
        config=replace(weights.config, file_type=new.header.quantization),
    )


def _model_layer(layers: Sequence[Descriptor]) -> Descriptor:
    for layer in layers:
        if layer.media_type == mediatypes.OLLAMA_MODEL:
            return layer
    raise ModelNotCreatable("the model holds no GGUF weights")


def _wrong_number(count: int) -> ModelNotCreatable:
    return ModelNotCreatable(
        "none of the files holds a model's weights"
        if not count
        else f"{count} of the files hold a model's weights, one is wanted"
    )
