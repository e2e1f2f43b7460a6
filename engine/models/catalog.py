"""The models that this daemon has, by any spelling of their names, IDs and digests, concrete.

Reading a model takes some ten milliseconds (a vocabulary is long), so what was read is kept by
manifest digest: bytes that have the same digest say the same. A name that was found is found again
without reading, as long as the model's files look the same. Used from the event loop; file work
runs in threads, but for these looks, which take less than to wake one.
"""

import asyncio
import contextlib
import re
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from olmkit.engine.access.caller import Caller, current, require_access, require_access_to_all
from olmkit.engine.errors import EngineError, InvalidRequest
from olmkit.engine.framing import path_of
from olmkit.engine.models.capabilities import TemplateFacts, capabilities, in_order
from olmkit.engine.models.configblob import config_of
from olmkit.engine.models.filemarks import FileMarks
from olmkit.engine.models.sharedcalls import SharedCalls
from olmkit.engine.models.spec import ModelSpec, spec_of, spec_of_file
from olmkit.modelfile.diagnostics import nearest
from olmkit.registry import shortnames
from olmkit.registry.errors import InvalidReference, ModelNotFound, RegistryError, StoreError
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store, StoredModel

MAX_SPECS: Final = 16
MAX_SUMMARIES: Final = 1024
WARM_PAUSE_S: Final = 0.2
_FILE_NAME: Final = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
_ID: Final = re.compile(r"(sha256:)?[0-9a-fA-F]{4,64}")

InspectTemplate = Callable[[str], Awaitable[TemplateFacts]]
"""Tells what a Go template takes account of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What listings say of a model."""

    config: ModelConfig
    """With the GGUF header's facts in it, where there is one."""
    parent: str
    model_key: str
    """As in `ModelSpec`; empty for what cannot be loaded."""
    capabilities: tuple[str, ...]
    context_length: int | None
    embedding_length: int | None


_Asked = tuple[str, Caller]
"""A name, and who asks: a caller may not see all models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a name stands for."""

    spec: ModelSpec
    marks: FileMarks | None = None
    """It stands for that as long as these look the same; None: that must be looked up again."""


class Catalog:
    """Finds models by name and remembers what it read of them."""

    def __init__(
        self, store: Store, *, shortnames_path: Path, inspect_template: InspectTemplate
    ) -> None:
        self._store = store
        self._shortnames_path = shortnames_path
        self._inspect_template = inspect_template
        self._lock = threading.Lock()
        self._specs: dict[str, ModelSpec] = {}
        self._summaries: dict[str, Summary] = {}
        self._facts: dict[str, TemplateFacts] = {}
        self._found: dict[_Asked, _Found] = {}
        """What was found by names, the latest last."""
        self._lookups = SharedCalls[_Asked, _Found](
            lambda asked: asyncio.to_thread(self._look_up, asked[0])
        )

    def resolve(self, text: str) -> Reference:
        """The reference that a name stands for: a stored model's, else a short name's.

        Blocking. Raises: InvalidReference, StoreError, KeyForbids.
        """
        text = text.strip()
        stored = self._find(text)
        found = stored or Reference.parse(shortnames.expand(text, path=self._shortnames_path))
        require_access(found)
        return found

    def _find(self, text: str) -> Reference | None:
        expanded = shortnames.expand(text, path=self._shortnames_path)
        # Ollama's `:local` says that the model shall not be one in its cloud.
        for spelling in dict.fromkeys((text, expanded, text.removesuffix(":local") or text)):
            reference = self._store.find(Reference.parse(spelling))
            if reference is not None:
                return reference
        return None

    def modelfile_of(self, name: Reference) -> str | None:
        """The Modelfile of which a short name's model is made; None: it is no such name.

        Blocking. Raises: StoreError.
        """
        word = name.repository.rpartition("/")[2]
        if name != Reference.parse(word):
            return None
        return shortnames.find_modelfile(word, path=self._shortnames_path)

    def load(self, text: str) -> StoredModel:
        """The stored model of this name, ID or digest. Blocking; raises as `find`."""
        return self.find(text)[0]

    def find(self, text: str) -> list[StoredModel]:
        """The model of a name, alone; or all names of the model with that ID or digest.

        A name wins over an ID that is spelled the same. Blocking.

        Raises:
            ModelNotFound: there is none; its hint has the nearest name.
            InvalidRequest: the ID is that of several models.
            InvalidReference: neither a name nor an ID.
            StoreError, InvalidManifest: the store cannot be read.
        """
        try:
            return [self._store.load(self.resolve(text))]
        except InvalidReference:
            if _ID.fullmatch(text) is None:
                raise
        except ModelNotFound as error:
            if _ID.fullmatch(text) is None:
                raise ModelNotFound(
                    str(error), name=error.name, hint=error.hint or self._near(text)
                ) from error
        models = [
            model for model in self._store.with_id(text) if current().may_use(model.reference)
        ]
        if not models:
            raise ModelNotFound(f"model '{text}' not found", name=text)
        if len({model.manifest_digest for model in models}) > 1:
            names = ", ".join(model.reference.short for model in models[:5])
            raise InvalidRequest(f"the ID {text} is that of several models: {names}", field="model")
        return models

    def _near(self, text: str) -> str | None:
        """The stored name that is nearest to one that is not there."""
        names = {
            spelling: model.reference.short
            for model in self._store.list()
            if current().may_use(model.reference)
            for spelling in (model.reference.short.removesuffix(":latest"), model.reference.short)
        }
        found = nearest(text, names)
        return f"did you mean '{found}'?" if found else None

    async def spec(self, text: str) -> ModelSpec:
        """The model of this name, ID or digest, or of this GGUF file's digest.

        Raises:
            InvalidReference, ModelNotFound: no name, or the store has no such model.
            InvalidRequest: the ID is that of several models.
            ModelUnloadable, StoreError, InvalidManifest: it has, but cannot read it.
        """
        asked = (text, current())
        found = self._found.pop(asked, None)
        if found is None or found.marks is None or not found.marks.are_current():
            found = await self._lookups.result(asked)
        if found.marks is not None:
            self._found[asked] = found
            while len(self._found) > MAX_SPECS:
                self._found.pop(next(iter(self._found)))
        return found.spec

    def _look_up(self, text: str) -> "_Found":
        if _FILE_NAME.fullmatch(text) and self._store.blobs.has(digest := Digest(text)):
            return _Found(spec=self._spec_of_file(digest))
        # Before it is read: what is written meanwhile must not count as seen.
        manifest = self._marks_of_name(text)
        stored = self.load(text)
        spec = self.spec_of(stored)
        blobs = FileMarks.of(self._store.blobs.path(one.digest) for one in stored.manifest.blobs)
        if manifest is None or blobs is None:
            return _Found(spec=spec)
        return _Found(spec=spec, marks=FileMarks(manifest.looks + blobs.looks))

    def _marks_of_name(self, text: str) -> FileMarks | None:
        """The look of the file that decides alone what a name means, as its spelling wins over all
        others; None: there is no such file, so that files which appear decide too.
        """
        try:
            name = Reference.parse(text.strip())
            if name.digest is not None:  # another tag may have it
                return None
            return FileMarks.of([self._store.manifest_path(name)])
        except (InvalidReference, StoreError):
            return None

    def _spec_of_file(self, digest: Digest) -> ModelSpec:
        require_access_to_all()
        return self._remember(str(digest), lambda: spec_of_file(self._store, digest))

    def spec_of(self, stored: StoredModel) -> ModelSpec:
        """The concrete form of a stored model. Blocking; raises as `spec`."""
        manifest = stored.manifest
        if not all(map(self._store.blobs.has, (layer.digest for layer in manifest.blobs))):
            self._forget(str(stored.manifest_digest))  # reading it again tells what is missing
        spec = self._remember(str(stored.manifest_digest), lambda: spec_of(self._store, stored))
        return replace(
            spec,
            name=stored.reference.short,
            full_name=stored.reference.full,
            modified_at=stored.modified_at,
        )

    def _forget(self, digest: str) -> None:
        with self._lock:
            self._specs.pop(digest, None)

    def _remember(self, digest: str, read: Callable[[], ModelSpec]) -> ModelSpec:
        with self._lock:
            spec = self._specs.pop(digest, None)
        if spec is None:
            spec = read()
        else:  # the weights may have gone, or been changed through another name of the file
            self._store.blobs.check(Digest(Path(path_of(spec.files.weights_path)).name))
        with self._lock:
            self._specs[digest] = spec  # the latest last
            while len(self._specs) > MAX_SPECS:
                self._specs.pop(next(iter(self._specs)))
        return spec

    async def capabilities(self, spec: ModelSpec) -> tuple[str, ...]:
        """What the model can do."""
        return capabilities(spec, await self.template_facts(spec))

    async def template_facts(self, spec: ModelSpec) -> TemplateFacts | None:
        """What the model's Go template takes account of; None when it has none."""
        if spec.go_template is None:
            return None
        digest = Digest.of(spec.go_template.encode())
        if digest not in self._facts:
            self._facts[digest] = await self._inspect_template(spec.go_template)
        return self._facts[digest]

    async def summary(self, stored: StoredModel) -> Summary:
        """What listings say of a stored model; of one that cannot be read, what its config says.

        Raises:
            StoreError, InvalidManifest: not even the config can be read.
        """
        digest = str(stored.manifest_digest)
        if digest in self._summaries:
            return self._summaries[digest]
        try:
            spec = await asyncio.to_thread(spec_of, self._store, stored)  # not to be remembered
            summary = await self.summary_of(spec)
        except (EngineError, RegistryError):
            config = await asyncio.to_thread(stored.config, self._store)
            return Summary(
                config=config,
                parent="",
                model_key="",
                capabilities=in_order(config.capabilities),
                context_length=config.context_length,
                embedding_length=config.embedding_length,
            )
        while len(self._summaries) >= MAX_SUMMARIES:
            self._summaries.pop(next(iter(self._summaries)))
        self._summaries[digest] = summary
        return summary

    async def own(self, model_key: str) -> StoredModel | None:
        """The first of the caller's models that a loaded model of this key answers.

        Raises: StoreError: the store cannot be read.
        """
        for stored in await asyncio.to_thread(self._store.list):
            if not current().may_use(stored.reference):
                continue
            with contextlib.suppress(EngineError, RegistryError):
                if (await self.summary(stored)).model_key == model_key:
                    return stored
        return None

    async def key_of(self, name: str) -> str:
        """The key of a model's name, whoever asks, or of a file's digest.

        Raises: ModelNotFound, InvalidReference, InvalidManifest, StoreError: there is no such model
            any more.
        """
        if _FILE_NAME.fullmatch(name):
            return name
        stored = await asyncio.to_thread(self._store.load, Reference.parse(name))
        return (await self.summary(stored)).model_key

    async def warm(self) -> None:
        """Read what the first listing would have to read, one model after the other, at leisure."""
        try:
            for stored in await asyncio.to_thread(self._store.list):
                await self.summary(stored)
                await asyncio.sleep(WARM_PAUSE_S)
        except (EngineError, RegistryError):
            pass  # whoever lists them is told

    async def summary_by_digest(self, digest: str) -> Summary | None:
        """What listings say of a model that was used before; None when that is forgotten."""
        if digest in self._summaries:
            return self._summaries[digest]
        with self._lock:
            spec = self._specs.get(digest)
        return None if spec is None else await self.summary_of(spec)

    async def summary_of(self, spec: ModelSpec) -> Summary:
        """What listings say of a model."""
        header = config_of(spec.gguf)
        given = spec.config
        families = dict.fromkeys((*header.model_families, *given.model_families))
        if spec.projectors:
            families |= dict.fromkeys(p.architecture for p in spec.projectors)
        return Summary(
            config=replace(
                given,
                model_format="gguf",
                model_family=given.model_family or header.model_family,
                model_families=tuple(families),
                model_type=given.model_type or header.model_type,
                file_type=given.file_type or header.file_type,
            ),
            parent=spec.parent,
            model_key=spec.model_key,
            capabilities=await self.capabilities(spec),
            context_length=spec.gguf.context_length or given.context_length,
            embedding_length=spec.gguf.embedding_length or given.embedding_length,
        )
