"""POST /api/plan: where a model would go, without loading it; olm's own.

Of a model that is not here the header is read at its source.
"""

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.checks import require_model
from olmkit.engine.api.decoding import decode_body
from olmkit.engine.api.native.types import PlanRequest
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply, until_disconnect
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.inference.inference import load_options
from olmkit.engine.inference.planreport import (
    DeviceLine,
    PeekedModel,
    PlanReport,
    peeked,
    plan_report,
)
from olmkit.engine.kvcachetypes import KV_CACHE_TYPES
from olmkit.engine.models.options import Options
from olmkit.engine.models.spec import ModelSpec
from olmkit.registry import shortnames, sources
from olmkit.registry.errors import InvalidReference, ModelNotFound
from olmkit.registry.oci.reference import Reference, is_address

MOST_PARALLEL = 256
MOST_DEVICES = 256


async def plan(request: Request) -> Response:
    """Bytes by device and use, and what would become of other models."""
    api, body = api_of(request), await decode_body(request, PlanRequest)
    name = require_model(body.model)
    return json_reply(await until_disconnect(request.receive, _planned(api, body, name)))


async def _planned(api: Api, body: PlanRequest, name: str) -> dict[str, object]:
    if not body.quantization:
        try:
            spec = await api.catalog.spec(name)
        except ModelNotFound:
            pass
        else:
            report = await _report(api, body, spec, spec.parameters)
            return {"model": spec.name, "pulled": True, **_facts(spec), **_told(report)}
    path = api.services.settings.home / "shortnames.toml"
    text = await asyncio.to_thread(lambda: shortnames.expand(name, path=path))
    if is_address(text):
        raise InvalidReference("only models with a name can be planned without a pull", text=text)
    settings = api.services.settings
    pull = sources.PullOptions(
        insecure=bool(body.insecure),
        access=settings.remotes.access(streams=settings.transfer_streams),
        quantization=body.quantization,
        memory_bytes=await api.services.pool.model_memory_bytes(),
    )
    reference = Reference.parse(text)
    async with peeked(reference, pull, reference.short) as model:
        report = await _report(api, body, model, {})
        return {
            "model": model.name,
            "pulled": False,
            **_facts(model),
            "download": model.size_bytes,
            "why": model.why,
            **_told(report),
        }


async def _report(
    api: Api, body: PlanRequest, spec: ModelSpec | PeekedModel, parameters: Mapping[str, Any]
) -> PlanReport:
    options = Options.layered(parameters, body.options or {})
    wanted = load_options(api.services, spec, options)
    if body.parallel is not None:
        if not 1 <= body.parallel <= MOST_PARALLEL:
            raise InvalidRequest(f"parallel must be 1 to {MOST_PARALLEL}", field="parallel")
        contexts = 1 if wanted.embedding else body.parallel
        wanted = msgspec.structs.replace(wanted, sequences=body.parallel, contexts=contexts)
    if body.kv_cache_type is not None:
        if body.kv_cache_type not in KV_CACHE_TYPES:
            known = ", ".join(KV_CACHE_TYPES)
            raise InvalidRequest(f"the KV cache type must be one of {known}", field="kv_cache_type")
        wanted = msgspec.structs.replace(wanted, kv_cache_type=body.kv_cache_type)
    devices = body.devices or []
    if len(devices) > MOST_DEVICES:
        raise InvalidRequest(f"at most {MOST_DEVICES} devices can be named", field="devices")
    return await plan_report(api.services, spec, wanted, devices=devices)


def _facts(spec: ModelSpec | PeekedModel) -> dict[str, object]:
    return {"quantization": spec.gguf.quantization, "trained_context": spec.gguf.context_length}


def _told(report: PlanReport) -> dict[str, object]:
    return {
        "context_length": report.context_tokens,
        "context_by": report.context_by.value,
        "contexts": report.contexts,
        "largest_context_length": report.largest_context_tokens or None,
        "layers": report.layers,
        "devices": [_device(line) for line in report.devices],
        "evicts": list(report.evicted),
        "notes": list(report.notes),
        "most_tokens_per_second": report.most_tokens_per_s,
    }


def _device(line: DeviceLine) -> dict[str, object]:
    told: dict[str, object] = dataclasses.asdict(line)
    told["bytes_per_second"] = told.pop("bytes_per_s")
    return told
