"""GET /api/tags, POST /api/show and /api/copy, DELETE /api/delete.

Source: https://github.com/ollama/ollama/blob/v0.17.4/docs/api.md#list-local-models
"""

import asyncio
import logging

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.access.caller import current, require_access
from olmkit.engine.api.checks import require_model
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.jsontext import encode_json
from olmkit.engine.api.native.show import ShowQuestion, show_json
from olmkit.engine.api.native.status import details_of
from olmkit.engine.api.native.types import (
    CopyRequest,
    DeleteRequest,
    ListedDetails,
    ListedModel,
    ShowRequest,
)
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import JSON, json_reply
from olmkit.engine.errors import EngineError, InvalidRequest
from olmkit.engine.models.spec import ModelSpec
from olmkit.registry.errors import InvalidReference, ModelNotFound, RegistryError
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import StoredModel

log = logging.getLogger(__name__)


async def tags(request: Request) -> Response:
    """The stored models, the last modified first; without details those that cannot be read."""
    api = api_of(request)
    listed = [
        await _entry(api, stored)
        for stored in await asyncio.to_thread(api.services.store.list)
        if current().may_use(stored.reference)
    ]
    return json_reply({"models": listed})


async def _entry(api: Api, stored: StoredModel) -> msgspec.Raw:
    """A model of the listing; whatever is wrong with one leaves the others as they are."""
    try:
        return msgspec.Raw(encode_json(await listed_model(api, stored)))
    except Exception:
        log.exception("a listed model cannot be told", extra={"model": stored.reference.short})
        return msgspec.Raw(encode_json(_known(stored)))


async def listed_model(api: Api, stored: StoredModel) -> ListedModel:
    """What a list tells of a model; its name, size and digest alone where that is all there is."""
    known = _known(stored)
    try:
        return await _detailed(api, stored, known)
    except Exception:
        log.exception("a listed model cannot be described", extra={"model": known.name})
        return known


def _known(stored: StoredModel) -> ListedModel:
    return ListedModel(
        name=stored.reference.short,
        model=stored.reference.short,
        modified_at=stored.modified_at.astimezone(),
        size=stored.size_bytes,
        digest=stored.manifest_digest.hex,
        details=ListedDetails(),
        capabilities=[],
    )


async def _detailed(api: Api, stored: StoredModel, known: ListedModel) -> ListedModel:
    try:
        summary = await api.catalog.summary(stored)
    except (EngineError, RegistryError) as error:
        log.warning("a listed model cannot be read", extra={"reason": str(error)})
        return known
    details = details_of(summary)
    config = summary.config
    return msgspec.structs.replace(
        known,
        details=ListedDetails(
            **msgspec.structs.asdict(details) | {"parent_model": ""},
            context_length=summary.context_length or msgspec.UNSET,
            embedding_length=summary.embedding_length or msgspec.UNSET,
        ),
        capabilities=list(summary.capabilities),
        remote_model=config.remote_model or msgspec.UNSET,
        remote_host=config.remote_host or msgspec.UNSET,
    )


async def show(request: Request) -> Response:
    """All that is known of a model."""
    api, body = api_of(request), await decode_body(request, ShowRequest)
    name = require_model(body.wanted)
    try:
        spec = await api.catalog.spec(name)
    except ModelNotFound as error:
        canonical = (await asyncio.to_thread(api.catalog.resolve, name)).short
        raise ModelNotFound(f"model '{canonical}' not found", name=name, hint=error.hint) from error
    summary = await api.catalog.summary_of(spec)
    facts = await api.catalog.template_facts(spec)
    is_copilot = request.headers.get("user-agent", "").startswith("GitHubCopilotChat/")
    question = ShowQuestion(
        verbose=bool(body.verbose),
        system=body.system,
        options=body.options or {},
        basename=name if is_copilot else None,
        template_notes=await template_notes(api, spec),
    )
    data = await asyncio.to_thread(
        show_json,
        spec,
        question,
        details=details_of(summary),
        capabilities=summary.capabilities,
        choice=api.renderer.choose(spec, facts),
    )
    return Response(data, media_type=JSON)


async def template_notes(api: Api, spec: ModelSpec) -> tuple[str, ...]:
    """What is done about conversations that the model's template does not take."""
    try:
        facts = await api.catalog.template_facts(spec)
        return (await api.renderer.strictness(spec, facts)).notes
    except EngineError:
        return ()  # whoever uses the template is told


async def copy(request: Request) -> Response:
    """Give a model one more name."""
    api, body = api_of(request), await decode_body(request, CopyRequest)
    source, destination = (body.source or "").strip(), (body.destination or "").strip()
    for role, name in (("source", source), ("destination", destination)):
        try:
            Reference.parse(name)
        except InvalidReference as error:
            raise InvalidRequest(f'{role} "{name}" is invalid', field=role) from error
    try:
        stored = await asyncio.to_thread(api.catalog.load, source)
    except ModelNotFound as error:
        raise ModelNotFound(f'model "{source}" not found', name=source, hint=error.hint) from error
    target = Reference.parse(destination)
    require_access(target)
    await asyncio.to_thread(api.services.store.put, target, stored.manifest)
    api.services.events.record("model", "tag", target.short, source=stored.reference.short)
    return Response()


async def delete(request: Request) -> Response:
    """Remove a name, and what no other name uses."""
    api, body = api_of(request), await decode_body(request, DeleteRequest)
    name = require_model(body.wanted)
    try:
        removed = await asyncio.to_thread(_remove, api, name, body.force is True)
    except InvalidReference as error:
        raise InvalidRequest(f'name "{name}" is invalid', field="model") from error
    except ModelNotFound as error:
        raise ModelNotFound(f"model '{name}' not found", name=name, hint=error.hint) from error
    for reference in removed:
        api.services.events.record("model", "rm", reference.short)
    return Response()


def _remove(api: Api, name: str, force: bool) -> list[Reference]:
    """Remove a name; by a model's ID its only one, or all by force. Returns what went.

    Blocking; raises as `find_models`.
    """
    store = api.services.store
    try:
        reference = api.catalog.resolve(name)
        store.remove(reference)
    except (InvalidReference, ModelNotFound):
        models = api.catalog.find(name)
        if len(models) > 1 and not force:
            names = ", ".join(model.reference.short for model in models[:5])
            raise InvalidRequest(
                f"model {name} has several names ({names}): name those to remove, or use force",
                field="model",
            ) from None
        for model in models:
            store.remove(model.reference)
        return [model.reference for model in models]
    return [reference]
