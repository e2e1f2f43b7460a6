"""Models on devices: planned bytes against real ones, and one model over several devices.

The devices are llama.cpp's RPC servers, processes on this machine: llama.cpp places layers, KV
cache and buffers on them as on cards, with sizes of their own. They have all of the machine's
memory, so budgets are made small by `OLM_GPU_OVERHEAD`.
"""

import asyncio
import itertools
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from olmkit.engine.devices.bandwidth import measured_bandwidths
from olmkit.engine.devices.enumeration import Enumerator, Found
from olmkit.engine.gguf.header import read_header
from olmkit.engine.planning.modelcosts import as_loaded, model_cost
from olmkit.engine.runner import protocol as p
from olmkit.engine.runner.layouts import DeviceShare, Layout, SplitMode
from support.models import gemma3, minilm_gguf, qwen_coder, smollm2
from support.randommodel import write_mamba, write_mixture
from support.rpcservers import RpcServer, rpc_environment, rpc_servers
from support.runner import RunnerClient, RunnerFailure

pytestmark = pytest.mark.timeout(300)
MIB = 2**20
MODELS = {"smollm2": smollm2, "gemma3": gemma3, "qwen": qwen_coder, "minilm": minilm_gguf}
SHAPES: dict[str, dict[str, object]] = {
    "short": {},
    "long, large batches, q8_0": {
        "context_tokens": 8192,
        "batch_tokens": 1024,
        "kv_cache_type": "q8_0",
    },
}
WAYS = ("main memory", "one device", "two devices", "half a model on one")


def cases() -> list[tuple[str, str, str]]:
    """Every model, shape and way: all of them together for small vocabularies, whose loads take
    little, and for each large one every second, in turns."""
    return [
        (model, shape, way)
        for (m, model), (s, shape), (w, way) in itertools.product(
            enumerate(MODELS), enumerate(SHAPES), enumerate(WAYS)
        )
        if model in ("smollm2", "minilm") or (m + s + w) % 2 == 0
    ]


@pytest.fixture(scope="module")
def servers() -> Iterator[list[RpcServer]]:
    with rpc_servers(3) as started, pytest.MonkeyPatch.context() as patch:
        for name, value in rpc_environment(started).items():
            patch.setenv(name, value)
        yield started


def layout_of(servers: list[RpcServer], *layers: int) -> Layout:
    return Layout(
        shares=tuple(
            DeviceShare(device=server.device, layers=count)
            for server, count in zip(servers, layers, strict=False)
        )
    )


def layout_by_way(way: str, servers: list[RpcServer], layers: int) -> Layout:
    half = layers // 2
    counts = {WAYS[0]: (), WAYS[1]: (layers,), WAYS[2]: (half, layers - half), WAYS[3]: (half,)}
    return layout_of(servers, *counts[way])


def total(buffer: p.Buffer) -> int:
    return buffer.weights_bytes + buffer.kv_bytes + buffer.compute_bytes


def ask(
    runner: RunnerClient,
    path: Path,
    operation: str,
    layout: Layout,
    unread: p.UnreadVocabulary | None = None,
    **options: object,
) -> list[p.Buffer]:
    given = p.LoadOptions(**{"context_tokens": 1024, "threads": 1, **options})  # type: ignore[arg-type]
    files = p.ModelFiles(weights_path=str(path))
    request = p.Load(
        id=runner.new_id(),
        operation=p.LoadOperation(operation),
        files=files,
        options=given,
        layout=layout,
        unread=unread,
    )
    return runner.call(request, p.Loaded).buffers


def check_plan(path: Path, layout: Layout, **options: Any) -> None:
    """A dry run's bytes and those of the load, device by device: at most 5 % apart.

    The dry run does without the vocabulary, as the daemon's do.
    """
    header = read_header(path)
    assert header.vocabulary_tokens
    unread = p.UnreadVocabulary(architecture=header.architecture, tokens=header.vocabulary_tokens)
    with RunnerClient() as runner:
        fitted = ask(runner, path, "fit", layout, unread, **options)
        planned = as_loaded(header, layout, fitted, is_mapped=True)
        real = ask(runner, path, "commit", layout, **options)
    assert [one.device for one in planned] == [one.device for one in real]
    for plan, truth in zip(planned, real, strict=True):
        # Alignment is more than that of buffers that have next to nothing in them.
        assert abs(total(plan) - total(truth)) <= max(total(truth) * 0.05, MIB), truth.device


@pytest.mark.parametrize(("model", "shape", "way"), cases())
def test_a_dry_run_tells_what_a_load_takes(
    servers: list[RpcServer], model: str, shape: str, way: str
) -> None:
    path = MODELS[model]()
    layers = (read_header(path).block_count or 0) + 1
    check_plan(path, layout_by_way(way, servers, layers), **SHAPES[shape])


@pytest.mark.parametrize("way", WAYS)
def test_a_recurrent_model_is_planned_too(
    servers: list[RpcServer], way: str, tmp_path: Path
) -> None:
    path = write_mamba(tmp_path / "mamba.gguf", layers=3)
    check_plan(path, layout_by_way(way, servers, 4))


def test_a_kv_cache_in_main_memory_takes_none_of_the_device(servers: list[RpcServer]) -> None:
    one = layout_of(servers, 31)
    layout = Layout(shares=one.shares, kv_on_host=True)
    with RunnerClient() as runner:
        by_device = {b.device: b for b in ask(runner, smollm2(), "fit", layout)}
    assert by_device[servers[0].device].kv_bytes == 0
    assert by_device["CPU"].kv_bytes > 0


def test_experts_that_stay_in_main_memory_are_planned_there(
    servers: list[RpcServer], tmp_path: Path
) -> None:
    path = write_mixture(tmp_path / "mixture.gguf")
    cost = model_cost(read_header(path), p.LoadOptions(context_tokens=512))
    texts, on_device = [], []
    for kept in (0, 2):
        shares = layout_of(servers, 4).shares
        layout = Layout(shares=shares, cpu_expert_layers=kept)
        with RunnerClient() as runner:
            fitted = ask(runner, path, "fit", layout)
            planned = as_loaded(read_header(path), layout, fitted, is_mapped=True)
            real = ask(runner, path, "commit", layout)
            texts.append(runner.complete([1, 70, 71], max_tokens=6, ignore_eos=True).tokens)
        for plan, truth in zip(planned, real, strict=True):
            assert abs(total(plan) - total(truth)) <= MIB
        by_device = {one.device: one.weights_bytes for one in real}
        on_device.append(by_device[servers[0].device])
    experts = sum(layer.expert_bytes for layer in cost.layers[:2])
    assert experts > MIB
    assert abs(on_device[0] - on_device[1] - experts) < MIB / 16
    assert texts[0] == texts[1]


def test_two_and_three_devices_give_the_same_text_as_one(servers: list[RpcServer]) -> None:
    texts = []
    for counts in ((31,), (15, 16), (10, 10, 11)):
        layout = layout_of(servers, *counts)
        with RunnerClient() as runner:
            buffers = ask(runner, smollm2(), "commit", layout)
            assert len(buffers) == len(counts) + 1
            texts.append(runner.complete("The capital of France is", max_tokens=12).text)
    assert texts[0].strip()
    assert texts[1:] == texts[:1] * 2


@pytest.mark.parametrize(
    ("mode", "reason"),
    [(SplitMode.ROW, "does not support split buffers"), (SplitMode.TENSOR, "cannot be split over")],
)
def test_what_devices_of_other_machines_cannot_do_is_refused(
    servers: list[RpcServer], mode: SplitMode, reason: str
) -> None:
    layout = msgspec.structs.replace(layout_of(servers, 15, 16), split_mode=mode)
    with RunnerClient() as runner, pytest.raises(RunnerFailure, match=reason):
        ask(runner, smollm2(), "commit", layout)


def test_memory_that_a_device_gives_is_proven_and_given_back(servers: list[RpcServer]) -> None:
    def prove(size_bytes: int) -> p.Loaded:
        proof = [p.Buffer(device=servers[0].device, weights_bytes=size_bytes)]
        request = p.Load(
            id=runner.new_id(),
            operation=p.LoadOperation.ALLOC,
            files=p.ModelFiles(weights_path="none"),
            options=p.LoadOptions(context_tokens=1),
            proof=proof,
        )
        return runner.call(request, p.Loaded)

    with RunnerClient() as runner:
        for _ in range(3):
            assert prove(64 * MIB).buffers
        with pytest.raises(RunnerFailure) as caught:
            prove(1 << 60)
    assert caught.value.failed.kind is p.FailureKind.OUT_OF_MEMORY
    assert caught.value.failed.device == servers[0].device


def test_the_memory_of_devices_of_this_machine_is_measured(servers: list[RpcServer]) -> None:
    speeds = measured_bandwidths(["CPU", servers[0].device])
    assert speeds.keys() == {"CPU"}
    assert 1e8 < speeds["CPU"] < 1e13
    assert measured_bandwidths(["CUDA99"]) == {}


def test_a_server_that_is_not_there_is_an_error_with_its_name() -> None:
    layout = Layout(shares=(DeviceShare(device="RPC[127.0.0.1:1]", layers=3),))
    with RunnerClient() as runner, pytest.raises(RunnerFailure, match=r"127\.0\.0\.1:1") as caught:
        ask(runner, smollm2(), "fit", layout)
    assert caught.value.failed.kind is p.FailureKind.DEVICE_LOST


def test_a_server_that_does_not_answer_costs_nobody_the_others(servers: list[RpcServer]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        enumerator = Enumerator(servers=[endpoint, servers[0].endpoint])
        found = asyncio.run(enumerator.devices())
    assert [device.name for device in found.devices] == [servers[0].device]
    assert any(endpoint in problem for problem in found.problems)


def test_devices_that_do_not_answer_in_time_are_none(servers: list[RpcServer]) -> None:
    enumerator = Enumerator(servers=[servers[0].endpoint], answer_s=0.001)
    found = asyncio.run(enumerator.devices())
    assert found.devices == ()
    assert "did not answer within" in found.problems[0]


def test_a_server_that_our_runner_uses_keeps_its_place(servers: list[RpcServer]) -> None:
    async def listed_twice() -> tuple[Found, Found]:
        enumerator = Enumerator(servers=[servers[0].endpoint])
        first = await enumerator.devices()
        with RunnerClient() as runner:
            ask(runner, smollm2(), "commit", layout_of(servers, 31))
            return first, await enumerator.devices(used=frozenset([servers[0].device]))

    first, second = asyncio.run(listed_twice())
    assert first.devices == second.devices != ()
