"""A new model in the store, from files that are there already or from another model.

Layers are content-addressed and written the same way every time: equal inputs give equal digests
on every machine. The name appears with the last step, or nothing does.
Source: https://github.com/ollama/ollama/blob/v0.17.4/server/create.go
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec

from olmkit.engine.create.drafts import draft_config, draft_pieces, with_drafts
from olmkit.engine.create.pieces import Site
from olmkit.engine.create.weights import Weights, adapter_layers, quantized, weights_of
from olmkit.engine.errors import EngineUnusable, InvalidRequest, ModelNotCreatable
from olmkit.engine.models.options import OptionValue, coerce
from olmkit.engine.models.spec import MAX_TEXT_LAYER_BYTES, StoredMessage
from olmkit.modelfile.parameters import DEPRECATED, TABLE
from olmkit.registry.errors import ModelNotFound
from olmkit.registry.events import EventSink
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Descriptor, Manifest
from olmkit.registry.oci.modelconfig import CONFIG_LIMIT_BYTES, ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import StoredModel

CHECKED_BYTES: Final = 2 << 30
"""Up to this size of weights a dry run is made unasked."""
REMOVED_PARAMETERS: Final = DEPRECATED | {
    *("embedding_only", "numa", "num_gqa", "tfs_z", "rope_frequency_base", "rope_frequency_scale")
}
"""Accepted and dropped: clients still send them."""
_INFO_TEXTS: Final = {
    "model_family": "model_family",
    "base_name": "base_name",
    "quantization_level": "file_type",
    "parameter_size": "model_type",
}
_INFO_NUMBERS: Final = ("context_length", "embedding_length")

RequireLoadable = Callable[[Manifest], None]
"""Raises `ModelNotCreatable` for a model that no runner would load."""
Pull = Callable[[Reference, EventSink, threading.Event], StoredModel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a model is made of; None keeps what the parent has, an empty text clears it."""

    name: Reference
    parent: Reference | None = None
    files: Mapping[str, Digest] = field(default_factory=dict)
    """By relative path; counts only without a parent."""
    adapters: Mapping[str, Digest] = field(default_factory=dict)
    drafts: Mapping[str, Digest] = field(default_factory=dict)
    """By relative path; behind those of the parent, and the last one counts."""
    template: str | None = None
    """Known to parse."""
    system: str | None = None
    licenses: tuple[str, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[StoredMessage, ...] = ()
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    quantize: str | None = None
    """Type of the numbers, such as `q4_K_M`."""
    check_load: bool | None = None
    """Whether a dry run has to prove that the model loads; None: if that costs little."""
    draft_quantize: str | None = None
    """The same for the drafts given here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop(Site):
    """A site that can also pull what a model is made of."""

    pull: Pull
    require_loadable: RequireLoadable


def create(recipe: Recipe, workshop: Workshop) -> Digest:
    """Make the model and return its manifest's digest. Blocking, for minutes when it must pull.

    Raises:
        ModelNotCreatable, InvalidRequest: the parts make no model.
        ModelUnloadable: a file is no readable GGUF.
        RegistryError: the store or a source fails.
    """
    with workshop.store.lease():
        base = _base(recipe, workshop)
        if recipe.template and recipe.renderer is None and base.config.renderer:
            workshop.tell(
                f"warning: the renderer {base.config.renderer} of the base makes chat prompts, "
                'not this template; RENDERER "" turns it off'
            )
        drafts = draft_pieces(recipe.drafts, recipe.draft_quantize, workshop)
        adapters = adapter_layers(recipe.adapters, base.layers, workshop)
        builder = _Builder(recipe, workshop, [*with_drafts(base.layers, drafts), *adapters])
        builder.apply()
        draft = draft_config(drafts) or base.config.draft
        config = _config(recipe, replace(base.config, draft=draft))
        config_layer = builder.layer(mediatypes.DOCKER_CONFIG, config.to_json())
        manifest = Manifest.build(config_layer, builder.layers)
        if _is_checked(recipe, builder.layers):
            _require_loadable(manifest, recipe, workshop)
        workshop.tell("writing manifest")
        return workshop.store.put(recipe.name, manifest)


def _require_loadable(manifest: Manifest, recipe: Recipe, workshop: Workshop) -> None:
    try:
        workshop.require_loadable(manifest)
    except EngineUnusable as error:  # says nothing of the model
        if recipe.check_load:
            raise
        workshop.tell(f"note: whether the model loads was not tried: {error}")


def _is_checked(recipe: Recipe, layers: Sequence[Descriptor]) -> bool:
    """Files from outside are, and what was made of them, unless they are large; drafts always are:
    whether they go with the model shows nowhere else.
    """
    if recipe.check_load is not None or recipe.drafts:
        return recipe.check_load is not False
    is_new = recipe.parent is None or recipe.quantize is not None
    weights_bytes = sum(
        layer.size_bytes for layer in layers if layer.media_type == mediatypes.OLLAMA_MODEL
    )
    return is_new and weights_bytes <= CHECKED_BYTES


def _base(recipe: Recipe, workshop: Workshop) -> Weights:
    if recipe.parent is not None:
        parent = _parent(recipe.parent, workshop)
        return quantized(parent, recipe.quantize, workshop) if recipe.quantize else parent
    if not recipe.files:
        raise ModelNotCreatable("neither 'from' or 'files' was specified")
    return weights_of(recipe.files, workshop, type_text=recipe.quantize)


def _parent(reference: Reference, workshop: Workshop) -> Weights:
    try:
        stored = workshop.store.load(reference)
    except ModelNotFound:
        stored = workshop.pull(reference, workshop.on_event, workshop.cancelled)
    config = stored.config(workshop.store)
    if config.remote_host or config.remote_model:
        raise ModelNotCreatable(f"{reference.short} runs on another server")
    for layer in stored.manifest.layers:
        workshop.tell(f"using existing layer {layer.digest}")
    name = stored.reference.short
    layers = tuple(msgspec.structs.replace(layer, from_=name) for layer in stored.manifest.layers)
    return Weights(layers=layers, config=config)


class _Builder:
    """Puts the recipe's own layers in place of, or behind, those of the base."""

    def __init__(self, recipe: Recipe, workshop: Workshop, layers: list[Descriptor]) -> None:
        self._recipe = recipe
        self._workshop = workshop
        self.layers = layers

    def apply(self) -> None:
        recipe = self._recipe
        self._replace_text(recipe.template, mediatypes.OLLAMA_TEMPLATE, mediatypes.OLLAMA_PROMPT)
        self._replace_text(recipe.system, mediatypes.OLLAMA_SYSTEM)
        for text in recipe.licenses:
            self._append(mediatypes.OLLAMA_LICENSE, text.encode())
        parameters = self._parameters()
        if parameters is not None:
            self._remove(mediatypes.OLLAMA_PARAMS)
            if parameters:
                self._append(mediatypes.OLLAMA_PARAMS, _json(parameters))
        if recipe.messages:
            self._remove(mediatypes.OLLAMA_MESSAGES)
            turns = [{"role": m.role, "content": m.content} for m in recipe.messages]
            self._append(mediatypes.OLLAMA_MESSAGES, _json(turns))

    def _parameters(self) -> dict[str, Any] | None:
        """The parent's parameters with the recipe's over them; None when the recipe has none."""
        given = self._recipe.parameters
        unknown = [name for name in given if name not in TABLE and name not in REMOVED_PARAMETERS]
        if unknown:
            raise ModelNotCreatable(f"unknown parameter '{unknown[0]}'")
        own: dict[str, OptionValue] = coerce(given)
        if not own:
            return None
        merged: dict[str, Any] = {}
        for layer in self.layers:
            if layer.media_type == mediatypes.OLLAMA_PARAMS:
                raw = self._workshop.store.blobs.read_small(layer.digest, MAX_TEXT_LAYER_BYTES)
                merged |= _object(raw)
        return merged | own

    def _replace_text(self, text: str | None, *media_types: str) -> None:
        if text is None:
            return
        self._remove(*media_types)
        if text:
            self._append(media_types[0], text.encode())

    def _remove(self, *media_types: str) -> None:
        self.layers = [layer for layer in self.layers if layer.media_type not in media_types]

    def _append(self, media_type: str, data: bytes) -> None:
        if len(data) > MAX_TEXT_LAYER_BYTES:
            kind = media_type.rpartition(".")[2]
            raise ModelNotCreatable(f"the {kind} is over {MAX_TEXT_LAYER_BYTES} bytes")
        layer = self.layer(media_type, data)
        if not any(
            other.digest == layer.digest and other.media_type == media_type for other in self.layers
        ):
            self.layers.append(layer)

    def layer(self, media_type: str, data: bytes) -> Descriptor:
        """The descriptor of a blob that is in the store from now on."""
        digest = Digest.of(data)
        is_there = self._workshop.store.blobs.has(digest, len(data))
        self._workshop.tell(f"{'using existing' if is_there else 'creating new'} layer {digest}")
        self._workshop.store.blobs.put_bytes(data)
        return Descriptor(media_type=media_type, digest=digest, size_bytes=len(data))


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def _object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelNotCreatable("the parent's parameters are no JSON") from error
    return value if isinstance(value, dict) else {}


def _config(recipe: Recipe, base: ModelConfig) -> ModelConfig:
    """The child's config: what its base says, the recipe's own words over it."""
    own: dict[str, Any] = {
        name: value or None
        for name, value in (
            ("renderer", recipe.renderer),
            ("parser", recipe.parser),
            ("requires", recipe.requires.removeprefix("v") if recipe.requires else None),
        )
        if value is not None
    }
    config = replace(base, **own, **_info(recipe.info))
    if len(config.to_json()) > CONFIG_LIMIT_BYTES:
        raise ModelNotCreatable("the model's config is too long")
    return config


def _info(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in _INFO_TEXTS:
            if not isinstance(value, str):
                raise InvalidRequest(f'info field "{name}" must be a string', field="info")
            found[_INFO_TEXTS[name]] = value
        elif name in _INFO_NUMBERS:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidRequest(f'info field "{name}" must be a number', field="info")
            if value < 0 or value != int(value):
                text = f'info field "{name}" must be a non-negative integer'
                raise InvalidRequest(text, field="info")
            found[name] = int(value)
        elif name == "capabilities" and isinstance(value, list):
            found[name] = tuple(item for item in value if isinstance(item, str))
    return found
