"""POST /api/pull, /api/create and /api/import.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/api.md#create-a-model
Import is olm's own.
"""

import asyncio
import stat
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.access.caller import require_access, require_access_to_all
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.native.listing import template_notes
from olmkit.engine.api.native.recipes import recipe_of
from olmkit.engine.api.native.types import CreateRequest, ImportRequest, Progress, PullRequest
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import reply_with_progress
from olmkit.engine.api.trust.policies import policy_rules
from olmkit.engine.create.assembly import Recipe, RequireLoadable, Workshop, create
from olmkit.engine.create.shortcuts import recipe_of_modelfile
from olmkit.engine.errors import InvalidRequest, ModelUnloadable
from olmkit.engine.gguf.header import is_gguf, read_header
from olmkit.engine.inference import dryrun
from olmkit.engine.models.configblob import describe
from olmkit.engine.models.merged import prepare
from olmkit.engine.models.spec import spec_of
from olmkit.engine.planning.available import total_bytes
from olmkit.registry import shortnames, sources
from olmkit.registry.errors import Cancelled, InvalidReference
from olmkit.registry.events import BlobProgress, Event, EventSink, Status
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import Manifest
from olmkit.registry.oci.reference import Reference, is_address, shown_address
from olmkit.registry.store.store import StoredModel

if TYPE_CHECKING:  # cryptography, which comes with the first policy
    from olmkit.registry.signatures.policy import Rule


async def pull(request: Request) -> Response:
    """Fetch a model; those who ask for the same one share the work."""
    api, body = api_of(request), await decode_body(request, PullRequest)
    if not body.wanted:
        raise InvalidReference("no name was given", text="")
    path = api.services.settings.home / "shortnames.toml"
    wanted = without_scheme(body.wanted, insecure=body.insecure is True)
    name = await asyncio.to_thread(lambda: shortnames.expand(wanted, path=path))
    source = name if is_address(name) else Reference.parse(name)
    if isinstance(source, str):
        require_access_to_all()
    else:
        require_access(source)
    asked = await asyncio.to_thread(_signed_by, body)
    insecure, quantization = bool(body.insecure), body.quantization or None
    revision = body.revision or None

    memory_bytes = await api.services.pool.model_memory_bytes()

    def work(on_event: EventSink, cancelled: threading.Event) -> None:
        pull_into(
            api,
            source,
            on_event,
            cancelled,
            insecure=insecure,
            quantization=quantization,
            revision=revision,
            memory_bytes=memory_bytes,
            asked=asked,
        )

    full = source if isinstance(source, str) else source.full
    key = f"pull {full} {insecure} {quantization} {revision} {body.signed_by} {body.signed_as}"
    told = shown_address(source) if isinstance(source, str) else source.short
    events = api.transfers.follow(work, key=key, action="pull", model=told)
    return await reply_with_progress(request, events, stream=body.stream)


def _signed_by(body: PullRequest) -> "tuple[Rule, ...]":
    """What the request itself asks of signatures.

    Raises:
        InvalidKey, InvalidRequest: a key or a pattern is none.
    """
    if not body.signed_by:
        return ()
    from olmkit.registry.signatures.policy import signed_by
    from olmkit.registry.signatures.publickeys import parse_base64

    try:
        return (signed_by([parse_base64(key) for key in body.signed_by], body.signed_as),)
    except ValueError as error:
        raise InvalidRequest(str(error), field="signed_as") from error


def _rules(api: Api, source: Reference | str) -> "tuple[Rule, ...]":
    """What the policy of this daemon asks of a model. Raises: InvalidPolicy."""
    rules = policy_rules(api)
    if rules is None:
        return ()
    return rules(Reference.parse(source) if isinstance(source, str) else source)


def without_scheme(name: str, *, insecure: bool) -> str:
    """The name of a model at a registry without the `http://` that plain http was asked for by."""
    is_plain = insecure and name.startswith("http://") and not is_address(name)
    return name.removeprefix("http://") if is_plain else name


def pull_into(
    api: Api,
    source: Reference | str,
    on_event: EventSink,
    cancelled: threading.Event,
    *,
    insecure: bool = False,
    quantization: str | None = None,
    revision: str | None = None,
    memory_bytes: int | None = None,
    asked: "tuple[Rule, ...]" = (),
) -> StoredModel:
    """Fetch the model of a name, or of the web address of a file. Blocking.

    The policy and `asked` decide what is refused before any blob is fetched.

    Of a short name that has a Modelfile, what that is FROM is fetched and the model made of it.

    Raises as `sources.pull`, and ModelNotCreatable.
    """
    settings, store = api.services.settings, api.services.store
    modelfile = None if isinstance(source, str) else api.catalog.modelfile_of(source)
    if modelfile is not None and not isinstance(source, str):
        recipe = recipe_of_modelfile(source, modelfile, api.catalog.resolve)
        assert recipe.parent is not None
        pull_into(api, recipe.parent, on_event, cancelled, insecure=insecure, asked=asked)
        # Only texts are added to what has just been fetched: nothing that is worth a line.
        create(recipe, _workshop(api, lambda _: None, cancelled))
        return store.load(source)
    options = sources.PullOptions(
        insecure=insecure,
        access=settings.remotes.access(streams=settings.transfer_streams, cancelled=cancelled),
        quantization=quantization,
        memory_bytes=memory_bytes or total_bytes(),
        revision=revision,
        rules=(*_rules(api, source), *asked),
    )
    if isinstance(source, str):
        fetch = partial(sources.pull_address, source)
    else:
        fetch = partial(sources.pull, source)
    stored = fetch(
        store, on_event=on_event, cancelled=cancelled, describe=describe, options=options
    )
    prepare(store, stored, on_event=on_event, cancelled=cancelled)
    return stored


async def create_model(request: Request) -> Response:
    """Make a model from files of the store or from another model."""
    api, body = api_of(request), await decode_body(request, CreateRequest)
    recipe = await recipe_of(api, body)
    loop = asyncio.get_running_loop()

    def require_loadable(manifest: Manifest) -> None:
        stored = StoredModel(
            reference=recipe.name,
            manifest=manifest,
            manifest_digest=manifest.digest,
            modified_at=datetime.now(UTC),
            size_bytes=manifest.size_bytes,
        )
        spec = spec_of(api.services.store, stored)
        proof = dryrun.require_loadable(spec, api.services.safeguard)
        asyncio.run_coroutine_threadsafe(proof, loop).result()

    def work(on_event: EventSink, cancelled: threading.Event) -> None:
        create(recipe, _workshop(api, on_event, cancelled, require_loadable))

    making = api.transfers.follow(work, action="create", model=recipe.name.short)
    events = _with_template_notes(api, recipe, making)
    return await reply_with_progress(request, events, stream=body.stream)


def _workshop(
    api: Api,
    on_event: EventSink,
    cancelled: threading.Event,
    require_loadable: RequireLoadable = lambda _: None,
) -> Workshop:
    def pull_parent(reference: Reference, sink: EventSink, stop: threading.Event) -> StoredModel:
        return pull_into(api, reference, sink, stop)

    return Workshop(
        store=api.services.store,
        pull=pull_parent,
        require_loadable=require_loadable,
        on_event=on_event,
        cancelled=cancelled,
        guard=api.services.safeguard,
    )


async def _with_template_notes(
    api: Api, recipe: Recipe, events: AsyncGenerator[Event, None]
) -> AsyncGenerator[Event, None]:
    """The events of a creation, then what becomes of a SYSTEM that the template does not take."""
    async with aclosing(events):
        async for event in events:
            yield event
    if recipe.system or recipe.messages:
        spec = await api.catalog.spec(recipe.name.full)
        for note in await template_notes(api, spec):
            yield Status(text=f"note: {note}")


async def import_file(request: Request) -> Response:
    """Take a file that a client of the same user put into `incoming` among the blobs."""
    api, body = api_of(request), await decode_body(request, ImportRequest)
    name = body.file or ""
    if not name or not name.isalnum():
        raise InvalidRequest("file must be the name of a file in incoming", field="file")
    done: list[Digest] = []

    def work(on_event: EventSink, cancelled: threading.Event) -> None:
        done.append(_adopt(api, name, body.name or name, on_event, cancelled))

    return await reply_with_progress(
        request,
        api.transfers.follow(work),
        stream=body.stream,
        result=lambda: Progress(status="success", digest=str(done[0])),
    )


def _adopt(
    api: Api, file: str, name: str, on_event: EventSink, cancelled: threading.Event
) -> Digest:
    """Make the file a blob; a broken GGUF file is refused before it takes a place there."""
    store = api.services.store
    size_bytes = 0
    path = store.incoming / file
    try:
        found = path.stat(follow_symlinks=False)
        size_bytes = found.st_size
        is_model = stat.S_ISREG(found.st_mode) and is_gguf(path)
    except OSError:
        is_model = False  # `adopt` says what is wrong
    if is_model:
        try:
            read_header(path, name=name)
        except ModelUnloadable:
            path.unlink(missing_ok=True)
            raise

    def on_bytes(completed_bytes: int) -> None:
        if cancelled.is_set():
            raise Cancelled("request canceled")
        on_event(
            BlobProgress(label="hashing", completed_bytes=completed_bytes, total_bytes=size_bytes)
        )

    digest, _ = store.adopt(file, on_bytes)
    return digest
