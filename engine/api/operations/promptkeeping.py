"""GET and DELETE /api/cache: olm's own, about prompts that are kept on disk."""

import asyncio
import os
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.access.caller import require_access_to_all
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply
from olmkit.engine.errors import EngineError
from olmkit.engine.framing import path_of
from olmkit.engine.models.spec import ModelSpec
from olmkit.engine.promptfiles import PromptFolder, prompt_folders, remove_prompts
from olmkit.registry.errors import RegistryError


class ForgetRequest(msgspec.Struct, kw_only=True, frozen=True):
    """DELETE /api/cache."""

    model: str = ""
    """Whose prompts go; empty: all."""


async def kept_prompts(request: Request) -> Response:
    """What is kept of which models, and within what bounds."""
    require_access_to_all()
    api = api_of(request)
    settings = api.services.settings
    found = await asyncio.to_thread(prompt_folders, settings.prompt_store)
    names = await _names(api)
    return json_reply(
        {
            "directory": str(settings.prompt_store),
            "limit": settings.prompt_store_bytes,
            "size": sum(one.size_bytes for one in found),
            "kinds": [_told(one, names) for one in found],
        }
    )


async def forget_prompts(request: Request) -> Response:
    """Remove what is kept of a model, or all; loaded models keep what they have in memory."""
    api, body = api_of(request), await decode_body(request, ForgetRequest)
    found = await asyncio.to_thread(prompt_folders, api.services.settings.prompt_store)
    if not body.model:
        require_access_to_all()
    else:
        weights = _weights(await api.catalog.spec(body.model))
        found = [one for one in found if one.weights == weights]
    freed = await asyncio.to_thread(lambda: sum(map(remove_prompts, found)))
    return json_reply({"freed": freed, "prompts": sum(one.prompts for one in found)})


async def _names(api: Api) -> dict[str, list[str]]:
    """Names of models, by the file name of their weights."""
    names: dict[str, list[str]] = {}
    for stored in await asyncio.to_thread(api.services.store.list):
        try:
            spec = await api.catalog.spec(stored.reference.short)
        except (EngineError, RegistryError):
            continue  # a damaged model, of which others tell
        names.setdefault(_weights(spec), []).append(stored.reference.short)
    return names


def _weights(spec: ModelSpec) -> str:
    return os.path.basename(path_of(spec.files.weights_path))


def _told(found: PromptFolder, names: dict[str, list[str]]) -> dict[str, Any]:
    return {
        "models": names.get(found.weights, []),
        "weights": found.weights.replace("sha256-", "sha256:", 1),
        "prompts": found.prompts,
        "size": found.size_bytes,
        "used_at": datetime.fromtimestamp(found.used_s, UTC).isoformat(),
    }
