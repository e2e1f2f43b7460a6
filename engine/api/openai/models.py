"""GET /v1/models and /v1/models/{name}, in OpenAI's form and Anthropic's at once.

Both APIs have these paths, and their members do not contradict each other. What a model can do, and
the context that it was trained on, stand beside them.
Source: https://platform.openai.com/docs/api-reference/models and
https://docs.anthropic.com/en/api/models-list
"""

import asyncio
from datetime import UTC
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.access.caller import current
from olmkit.engine.api.native.listing import listed_model
from olmkit.engine.api.native.types import ListedModel
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply
from olmkit.registry.errors import InvalidReference, ModelNotFound
from olmkit.registry.oci.reference import DEFAULT_HOST, Reference


async def list_models(request: Request) -> Response:
    """All models of the store, the last modified first."""
    api = api_of(request)
    stored = await asyncio.to_thread(api.services.store.list)
    allowed = [model for model in stored if current().may_use(model.reference)]
    data = [_as_object(await listed_model(api, model)) for model in allowed]
    page = {
        "has_more": False,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }
    return json_reply({"object": "list", "data": data} | page)


async def get_model(request: Request) -> Response:
    """One model, by any spelling of its name; the name of the reply is the one asked for.

    Raises:
        ModelNotFound: there is none.
    """
    api: Api = api_of(request)
    name = request.path_params["name"]
    try:
        stored = await asyncio.to_thread(api.catalog.load, name)
    except (ModelNotFound, InvalidReference) as error:
        raise ModelNotFound(f"model '{name}' not found", name=name) from error
    return json_reply(_as_object(await listed_model(api, stored)) | {"id": name})


def _as_object(model: ListedModel) -> dict[str, Any]:
    members: dict[str, Any] = {
        "id": model.name,
        "object": "model",
        "created": int(model.modified_at.timestamp()),
        "owned_by": _owner(model.name),
        "type": "model",
        "display_name": model.name,
        "created_at": model.modified_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "capabilities": model.capabilities,
    }
    if model.details.context_length is not msgspec.UNSET:
        members["context_length"] = model.details.context_length
    return members


def _owner(name: str) -> str:
    """The namespace of a model, `library` for Ollama's own."""
    reference = Reference.parse(name)
    path = reference.repository.rpartition("/")[0]
    return path if reference.host == DEFAULT_HOST else f"{reference.host}/{path}".rstrip("/")
