"""GET /metrics: what the daemon did and does, for Prometheus."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from starlette.requests import Request
from starlette.responses import Response

import olmkit
from olmkit.engine.api.state import Api, api_of
from olmkit.engine.scheduling.leases import InstanceInfo
from olmkit.engine.telemetry.series import CONTENT_TYPE, gauge_text

_Values = list[tuple[dict[str, str], float]]


async def metrics(request: Request) -> Response:
    """All metrics in Prometheus' text format."""
    api = api_of(request)
    text = api.services.metrics.text((*_models(api), *_process(api)))
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


def _models(api: Api) -> Iterator[str]:
    pool, label = api.services.pool, api.services.metrics.model
    instances = pool.instances()

    def by_model(pairs: Iterable[tuple[str, int]]) -> _Values:
        sums: Counter[str] = Counter()
        for name, value in pairs:  # several models may share the label of those without their own
            sums[label(name)] += value
        return [({"model": name}, value) for name, value in sums.items()]

    def of_each(name: str, meaning: str, value: Callable[[InstanceInfo], int]) -> str:
        return gauge_text(name, meaning, by_model((one.name, value(one)) for one in instances))

    states = Counter(instance.state for instance in instances)
    yield gauge_text(
        "olm_runners",
        "Runner processes by the state of their model.",
        [({"state": state}, count) for state, count in states.items()],
    )
    yield of_each("olm_model_leases", "Requests that use the model now.", lambda one: one.leases)
    yield of_each(
        "olm_model_memory_bytes",
        "What the engine says that the loaded model takes; what is planned, while it loads.",
        lambda one: one.size_bytes,
    )
    yield of_each(
        "olm_model_card_memory_bytes",
        "The part of olm_model_memory_bytes on graphics cards.",
        lambda one: one.size_vram_bytes,
    )
    yield of_each(
        "olm_model_planned_memory_bytes",
        "What the model was expected to take before it was loaded.",
        lambda one: one.planned_bytes,
    )
    yield gauge_text(
        "olm_queue_length",
        "Requests that wait for their turn.",
        by_model((spec.name, 1) for spec in pool.waiting()),
    )
    evictions: _Values = [({}, pool.evictions)]
    yield gauge_text(
        "olm_evictions_total", "Models that made room for others.", evictions, kind="counter"
    )


def _process(api: Api) -> Iterator[str]:
    """What concerns the daemon's own process, under the names that Prometheus' libraries give them.

    Source: https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
    """
    import psutil  # what only some requests need is not loaded before

    process = psutil.Process()
    with process.oneshot():
        times = process.cpu_times()
        cpu_s, resident_bytes = times.user + times.system, process.memory_info().rss
    in_progress = api.services.metrics.in_progress
    for name, meaning, value, kind in (
        ("olm_http_requests_in_progress", "Requests being answered.", in_progress, "gauge"),
        ("process_cpu_seconds_total", "Processor time of the daemon.", cpu_s, "counter"),
        ("process_resident_memory_bytes", "Memory of the daemon.", resident_bytes, "gauge"),
        ("process_start_time_seconds", "When the daemon began.", process.create_time(), "gauge"),
    ):
        yield gauge_text(name, meaning, [({}, value)], kind)
    build: _Values = [({"version": olmkit.__version__}, 1)]
    yield gauge_text("olm_build_info", "The version of olm.", build)
