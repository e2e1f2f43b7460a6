"""A stored model made concrete: files, template, parameters, system prompt, messages.

Reads a manifest's small layers and the headers of its GGUF files; decides nothing about running
it. All of it is blocking file work: call it in a thread.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from olmkit.engine.errors import InvalidRequest, ModelUnloadable
from olmkit.engine.framing import wire_path
from olmkit.engine.gguf.draftheads import has_usable_head
from olmkit.engine.gguf.header import GgufHeader, read_header
from olmkit.engine.models import merged
from olmkit.engine.models.options import OptionValue, coerce
from olmkit.engine.runner.protocol import ModelFiles
from olmkit.modelfile.instructions import is_jinja
from olmkit.registry import formats
from olmkit.registry.formats import ModelParts, Part, Role
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.store.store import Store, StoredModel

MAX_TEXT_LAYER_BYTES: Final = 4 << 20
"""Of a template, system prompt, licence, parameters or messages layer."""
GUIDED_DRAFTS: Final = frozenset({"dflash", "eagle3"})
"""Architectures of drafts that read the inner state of the model they guess for, and cannot run
by themselves. Source: llama.cpp, common/speculative.cpp."""
SPECIAL_TOKENS: Final = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "sep_token": "seperator_token_id",  # so spelled in GGUF
    "pad_token": "padding_token_id",
    "cls_token": "cls_token_id",
    "mask_token": "mask_token_id",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """One turn of the conversation that a model starts with."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Everything that the engine needs to know of one model."""

    name: str
    """For people: `smollm2:latest`, or the digest of a file without a name."""
    full_name: str
    """`registry.ollama.ai/library/smollm2:latest`."""
    digest: str
    """Of the manifest, or of the file."""
    model_key: str
    """The same for all names that a loaded model serves: those with the same weights, projector and
    draft, and where the model pools, adapters."""
    size_bytes: int
    modified_at: datetime | None
    files: ModelFiles
    """What a load reads: the same for all models of this `model_key`."""
    config: ModelConfig
    gguf: GgufHeader
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    """What chat templates call them (`bos_token`), and their texts."""
    projectors: tuple[GgufHeader, ...] = ()
    adapters: tuple[Path, ...] = ()
    """LoRA adapters and control vectors: completions bring them; only where the model pools, a load
    reads them."""
    drafts: tuple[Path, ...] = ()
    """GGUF files of draft models; the last one counts."""
    draft: GgufHeader | None = None
    """The header of the draft model that guesses for this one; None: there is none that can."""
    parent: str = ""
    """The model that this one was made from, when its manifest says so."""
    go_template: str | None = None
    jinja_template: str | None = None
    """A file of its own beside the weights, or a TEMPLATE that is written in Jinja; it wins over
    the one inside."""
    system: str = ""
    parameters: Mapping[str, OptionValue] = field(default_factory=dict)
    messages: tuple[StoredMessage, ...] = ()
    licenses: tuple[str, ...] = ()

    @property
    def chat_template(self) -> str | None:
        """The model's Jinja template."""
        return self.jinja_template or self.gguf.chat_template

    @property
    def pools(self) -> bool:
        """Whether the model pools its output, for embeddings or ranks: it generates nothing."""
        return self.gguf.pooling_type is not None

    @property
    def ranks(self) -> bool:
        """Whether the model scores how well a text answers another, and does nothing else."""
        return self.gguf.pooling_type == "rank"


def spec_of(store: Store, stored: StoredModel) -> ModelSpec:
    """The concrete form of a stored model.

    Raises:
        ModelUnloadable: no GGUF weights, or files that cannot be read as such.
        ModelNotCreatable: weights in several files that are not the shards of one model.
        StoreError, CorruptBlob, InvalidManifest: the store does not give its parts.
    """
    name = stored.reference.short
    parts = formats.read(store, stored.manifest)
    reader = _PartReader(store, name, parts)
    config = parts.config
    if config.remote_host or config.remote_model:
        raise ModelUnloadable(f"{name} runs on another server, which olm does not ask", model=name)
    weights = parts.weights
    if not weights:
        raise ModelUnloadable(f"{name} holds no GGUF weights", model=name)
    projectors = parts.of(Role.PROJECTOR)
    adapters = parts.of(Role.ADAPTER)
    adapter_paths = tuple(reader.path(part) for part in adapters)
    drafts = parts.of(Role.DRAFT)
    draft_paths = tuple(reader.path(part) for part in drafts)
    draft = read_header(draft_paths[-1], name=f"draft of {name}") if drafts else None
    if draft is not None and draft.architecture in GUIDED_DRAFTS:
        draft = None
    weights_path = merged.weights_path(store, weights)
    header = read_header(weights_path, name=name)
    pools = header.pooling_type is not None
    template, jinja_template = reader.text(Role.TEMPLATE), reader.text(Role.CHAT_TEMPLATE)
    if template is not None and is_jinja(template):
        template, jinja_template = None, template
    return ModelSpec(
        name=name,
        full_name=stored.reference.full,
        digest=str(stored.manifest_digest),
        model_key=" ".join(
            str(x.digest)
            for x in (*weights, *projectors[:1], *(adapters if pools else ()), *drafts[-1:])
        ),
        size_bytes=stored.size_bytes,
        modified_at=stored.modified_at,
        files=ModelFiles(
            weights_path=wire_path(weights_path),
            projector_path=wire_path(reader.path(projectors[0])) if projectors else None,
            adapter_paths=[wire_path(path) for path in adapter_paths] if pools else [],
            draft_path=wire_path(draft_paths[-1]) if draft else None,
            has_draft_head=draft is None and has_usable_head(header),
        ),
        config=config,
        gguf=header,
        special_tokens=special_tokens(header),
        projectors=tuple(
            read_header(reader.path(part), name=f"projector of {name}") for part in projectors
        ),
        adapters=adapter_paths,
        drafts=draft_paths,
        draft=draft,
        parent=weights[0].layer.from_ or "",
        go_template=template,
        jinja_template=jinja_template,
        system=reader.text(Role.SYSTEM) or "",
        parameters=reader.parameters(),
        messages=reader.messages(),
        licenses=tuple(
            reader.read(part).decode("utf-8", "replace") for part in parts.of(Role.LICENSE)
        ),
    )


def spec_of_file(store: Store, digest: Digest) -> ModelSpec:
    """A GGUF blob of the store as a model without a name.

    Raises:
        ModelUnloadable: the blob cannot be read as GGUF.
        StoreError: there is no such blob.
    """
    path = store.blobs.check(digest)
    name = str(digest)
    header = read_header(path, name=f"model {digest.short}")
    return ModelSpec(
        name=name,
        full_name=name,
        digest=name,
        model_key=name,
        size_bytes=header.size_bytes,
        modified_at=None,
        files=ModelFiles(weights_path=wire_path(path), has_draft_head=has_usable_head(header)),
        config=ModelConfig(model_format="gguf"),
        gguf=header,
        special_tokens=special_tokens(header),
    )


def special_tokens(header: GgufHeader) -> dict[str, str]:
    """The texts of the vocabulary's special tokens, by the names that chat templates use.

    Raises:
        ModelUnloadable: the file cannot be read any more.
    """
    numbers = {
        name: number
        for name, key in SPECIAL_TOKENS.items()
        if (number := header.integer(f"tokenizer.ggml.{key}")) is not None
    }
    texts = header.tokens_at(numbers.values())
    return {name: texts[number] for name, number in numbers.items() if number in texts}


class _PartReader:
    """Reads the parts of one model."""

    def __init__(self, store: Store, name: str, parts: ModelParts) -> None:
        self._blobs = store.blobs
        self._name = name
        self._parts = parts

    def path(self, part: Part) -> Path:
        return self._blobs.check(part.digest, part.size_bytes)

    def read(self, part: Part) -> bytes:
        return self._blobs.read_small(part.digest, MAX_TEXT_LAYER_BYTES)

    def text(self, role: Role) -> str | None:
        """The last part of the role: it wins."""
        parts = self._parts.of(role)
        return self.read(parts[-1]).decode("utf-8", "replace") if parts else None

    def _json(self, role: Role) -> list[Any]:
        values = []
        for part in self._parts.of(role):
            try:
                values.append(json.loads(self.read(part)))
            except (ValueError, RecursionError) as error:
                raise ModelUnloadable(
                    f"{self._name}: its {role} layer is no JSON", model=self._name
                ) from error
        return values

    def parameters(self) -> dict[str, OptionValue]:
        merged: dict[str, OptionValue] = {}
        for value in self._json(Role.PARAMETERS):
            try:
                merged |= coerce(value) if isinstance(value, dict) else {}
            except InvalidRequest as error:
                raise ModelUnloadable(f"{self._name}: {error}", model=self._name) from error
        return merged

    def messages(self) -> tuple[StoredMessage, ...]:
        values = self._json(Role.MESSAGES)
        last = values[-1] if values else []
        return tuple(
            StoredMessage(role=str(turn.get("role", "")), content=str(turn.get("content", "")))
            for turn in (last if isinstance(last, list) else [])
            if isinstance(turn, dict)
        )
