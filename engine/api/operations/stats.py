"""GET /api/stats: olm's own, what each runner takes and does now."""

import asyncio
import time
from collections import Counter
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from olmkit.engine.api.native.status import own_instances
from olmkit.engine.api.state import api_of
from olmkit.engine.api.streams import json_reply
from olmkit.engine.inference.vitals import health_of
from olmkit.engine.planning.available import swapped_bytes
from olmkit.engine.scheduling.leases import InstanceInfo


async def stats(request: Request) -> Response:
    """Each loaded model's process and work. Totals count from the start of its process, so that
    two replies give the rates between them; `at` is seconds on one clock.

    What a runner does not tell at once, because it computes or no longer gets on, is null.
    """
    api = api_of(request)
    waiting = Counter(spec.model_key for spec in api.services.pool.waiting())
    told = [_told(one, waiting[one.model_key]) for one in await own_instances(api)]
    return json_reply({"at": time.monotonic(), "models": await asyncio.gather(*told)})


async def _told(instance: InstanceInfo, waiting: int) -> dict[str, Any]:
    health = await health_of(instance.runner)
    pid = instance.runner.pid if instance.runner is not None else None
    memory_bytes, cpu_s = _process(pid)
    return {
        "name": instance.name,
        "digest": instance.digest.removeprefix("sha256:"),
        "serves": instance.model_key.split(),
        "state": instance.state,
        "pid": pid,
        "memory": memory_bytes,
        "swapped": swapped_bytes(pid) if pid is not None else None,
        "size": instance.size_bytes,
        "size_vram": instance.size_vram_bytes,
        "cpu_seconds": cpu_s,
        "sequences": {
            "total": instance.sequences,
            "busy": instance.leases,
            "contexts": instance.contexts,
            "short": health.short_requests if health else None,
        },
        "waiting": waiting,
        "context_length": instance.context_tokens,
        "cached_tokens": health.cached_tokens if health else None,
        "prompt_tokens": health.prompt_tokens if health else None,
        "completion_tokens": health.completion_tokens if health else None,
    }


def _process(pid: int | None) -> tuple[int | None, float | None]:
    """Resident bytes and processor seconds; None where there is no such process here."""
    import psutil  # what only some requests need is not loaded before

    if pid is None:
        return None, None
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times = process.cpu_times()
            return process.memory_info().rss, times.user + times.system
    except psutil.Error:
        return None, None
