"""GET / /api/version /api/status /api/ps: is it alive, what is it, what has it loaded."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

import olmkit
from olmkit.engine.access.caller import current
from olmkit.engine.api.native.types import Details, Drawing, RunningModel, RunningModels, Sequences
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.api.streams import json_reply
from olmkit.engine.inference.vitals import health_of
from olmkit.engine.models.catalog import Summary
from olmkit.engine.scheduling.leases import InstanceInfo
from olmkit.engine.scheduling.modelplaces import swap_notes
from olmkit.registry.errors import InvalidReference, RegistryError
from olmkit.registry.oci.reference import Reference

API_VERSION = "0.32.15"
"""The release of Ollama whose native API this one follows."""
FOREVER = timedelta(days=365 * 292)
"""From now: what Ollama's largest duration comes to."""


async def root(request: Request) -> Response:
    """The text that clients take for a sign of life."""
    return PlainTextResponse("Ollama is running")


async def version(request: Request) -> Response:
    """Of the API, as clients compare it with the least one that they want; olm's own beside it."""
    return json_reply({"version": API_VERSION, "olm": {"version": olmkit.__version__}})


async def status(request: Request) -> Response:
    """That there is no cloud; to clients on this machine also where files are handed over."""
    answer: dict[str, object] = {"cloud": {"disabled": True, "source": "none"}}
    api = api_of(request)
    # No address at all: the Unix socket.
    if request.client is None or request.client.host in ("127.0.0.1", "::1"):
        store = api.services.store
        try:
            incoming = str(await asyncio.to_thread(lambda: store.incoming))
        except RegistryError:
            incoming = ""  # a store that cannot be written takes no files
        answer["olm"] = {
            "version": olmkit.__version__,
            "pid": os.getpid(),
            "models": str(store.root),
            "incoming": incoming,
        }
    return json_reply(answer)


async def me(request: Request) -> Response:
    """There is no account: what a server says to who has not signed in."""
    return json_reply({"error": "unauthorized", "signin_url": ""}, status=401)


async def signout(request: Request) -> Response:
    """There is no account: nobody is signed in."""
    return json_reply({"error": "you are not currently signed in"}, status=401)


async def cloud_search(request: Request) -> Response:
    """There is no cloud that would search the web."""
    what = request.url.path.rpartition("/")[2].replace("_", " ")
    return json_reply({"error": f"ollama cloud is disabled: {what} is unavailable"}, status=403)


async def recommendations(request: Request) -> Response:
    """There is no library that would recommend models."""
    return json_reply({"recommendations": []})


async def ps(request: Request) -> Response:
    """The loaded models, the one that stays longest first."""
    api = api_of(request)
    instances = await own_instances(api)
    running = await asyncio.gather(*(_running(api, instance) for instance in instances))
    return json_reply(RunningModels(models=running))


async def own_instances(api: Api) -> list[InstanceInfo]:
    """The loaded models that answer models of the caller's, each as one of those."""
    found = []
    for instance in api.services.pool.instances():
        if may_see(instance.name):
            found.append(instance)
        elif (own := await api.catalog.own(instance.model_key)) is not None:
            digest = str(own.manifest_digest)
            found.append(replace(instance, name=own.reference.short, digest=digest))
    return found


def may_see(name: str) -> bool:
    """Whether a model of that name is one of the caller's."""
    caller = current()
    if caller.models is None:
        return True
    try:
        return caller.may_use(Reference.parse(name))
    except InvalidReference:
        return False  # a file, which has no name that a pattern could cover


async def _running(api: Api, instance: InstanceInfo) -> RunningModel:
    summary = await api.catalog.summary_by_digest(instance.digest)
    health = await health_of(instance.runner)
    short = health.short_requests if health is not None else 0
    notes = [*instance.notes, *swap_notes(instance.runner), *_room_notes(short)]
    return RunningModel(
        name=instance.name,
        model=instance.name,
        size=instance.size_bytes,
        digest=instance.digest.removeprefix("sha256:"),
        details=Details() if summary is None else details_of(summary),
        expires_at=instance.expires_at or datetime.now().astimezone() + FOREVER,
        size_vram=instance.size_vram_bytes,
        context_length=instance.context_tokens,
        context_by=instance.context_by.value if instance.context_by else msgspec.UNSET,
        serves=instance.model_key.split(),
        state=instance.state,
        sequences=Sequences(
            total=instance.sequences,
            busy=instance.leases,
            contexts=instance.contexts,
            short=health.short_requests if health is not None else msgspec.UNSET,
        ),
        cached_tokens=health.cached_tokens if health is not None else msgspec.UNSET,
        devices=dict(instance.devices) or msgspec.UNSET,
        notes=notes or msgspec.UNSET,
        drawing=msgspec.convert(instance.drawing, Drawing, from_attributes=True)
        if instance.drawing
        else msgspec.UNSET,
        safe_mode=instance.caveat or msgspec.UNSET,
    )


def _room_notes(short: int) -> Iterator[str]:
    """What is said of requests that wait for room in the KV cache."""
    if short:
        waiting = "1 request waits" if short == 1 else f"{short} requests wait"
        yield (
            f"{waiting} for room in the KV cache, which all share:"
            " with OLM_NUM_PARALLEL set it has a whole context for each"
        )


def details_of(summary: Summary) -> Details:
    """What tags, ps and show say of a model's make."""
    config = summary.config
    return Details(
        parent_model=summary.parent,
        format=config.model_format or "",
        family=config.model_family or "",
        families=list(config.model_families) or None,
        parameter_size=config.model_type or "",
        quantization_level=config.file_type or "",
    )
