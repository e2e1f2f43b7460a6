"""Models on devices: planned bytes against real ones, and one model over several devices.

The devices are llama.cpp's RPC servers, processes on this machine: llama.cpp places layers, KV
cache and buffers on them as on cards, with sizes of their own. They have all of the machine's
memory, so budgets are made small by `OLM_GPU_OVERHEAD`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from olmkit.engine.devices.enginesurvey import SurveyUnderWay
from olmkit.engine.devices.inventory import usable_devices
from olmkit.engine.gguf.header import read_header
from olmkit.engine.planning.modelcosts import as_loaded
from olmkit.engine.runner import protocol as p
from olmkit.engine.runner.layouts import DeviceShare, Layout
from support.daemon import Daemon, running_daemon
from support.models import gemma3, minilm_gguf, qwen_coder, smollm2
from support.olm import olm, out
from support.randommodel import write_mamba
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
    runner: RunnerClient, path: Path, operation: str, layout: Layout, **options: object
) -> list[p.Buffer]:
    given = p.LoadOptions(**{"context_tokens": 1024, "threads": 1, **options})  # type: ignore[arg-type]
    files = p.ModelFiles(weights_path=str(path))
    request = p.Load(
        id=runner.new_id(),
        operation=p.LoadOperation(operation),
        files=files,
        options=given,
        layout=layout,
    )
    return runner.call(request, p.Loaded).buffers


def check_plan(path: Path, layout: Layout, **options: object) -> None:
    """A dry run's bytes and those of the load, device by device: at most 5 % apart."""
    with RunnerClient() as runner:
        fitted = ask(runner, path, "fit", layout, **options)
        planned = as_loaded(read_header(path), layout, fitted, is_mapped=True)
        real = ask(runner, path, "commit", layout, **options)
    assert [one.device for one in planned] == [one.device for one in real]
    for plan, truth in zip(planned, real, strict=True):
        # Alignment is more than that of buffers that have next to nothing in them.
        assert abs(total(plan) - total(truth)) <= max(total(truth) * 0.05, MIB), truth.device


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("model", MODELS)
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


def test_a_server_that_is_not_there_is_an_error_with_its_name() -> None:
    layout = Layout(shares=(DeviceShare(device="RPC[127.0.0.1:1]", layers=3),))
    with RunnerClient() as runner, pytest.raises(RunnerFailure, match=r"127\.0\.0\.1:1") as caught:
        ask(runner, smollm2(), "fit", layout)
    assert caught.value.failed.kind is p.FailureKind.DEVICE_LOST


# --- the daemon ------------------------------------------------------------------------------


@dataclass
class Machine:
    """A daemon, and the servers whose devices it uses."""

    daemon: Daemon
    servers: list[RpcServer]

    def answer(self, name: str, **options: object) -> str:
        status, reply = self.ask(name, **options)
        assert status == 200, reply
        return str(json.loads(reply)["response"])

    def ask(self, name: str, **options: object) -> tuple[int, bytes]:
        options = {"num_predict": 4, "temperature": 0, "num_ctx": 1024, **options}
        body = {"model": name, "prompt": "Say hi", "stream": False, "options": options}
        return self.daemon.request("POST", "/api/generate", body, timeout_s=120)

    def loaded(self) -> dict[str, dict[str, int]]:
        """Bytes by device, of every loaded model."""
        _, body = self.daemon.request("GET", "/api/ps")
        return {
            model["name"].partition(":")[0]: model.get("devices", {})
            for model in json.loads(body)["models"]
        }

    def where(self, name: str) -> set[str]:
        return self.loaded()[name].keys() - {"CPU"}

    def unload_all(self) -> None:
        for name in self.loaded():
            out(olm(self.daemon.environ, "stop", name))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Two devices with room for one small model each, or a larger one together."""
    with rpc_servers(2) as started:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in rpc_environment(started).items():
                patch.setenv(name, value)
            found = usable_devices(SurveyUnderWay().result(timeout_s=60).devices)
        assert [device.name for device in found] == [server.device for server in started]
        overhead = found[0].total_bytes - 230 * MIB
        environ = rpc_environment(started) | {"OLM_GPU_OVERHEAD": str(overhead)}
        home = tmp_path_factory.mktemp("machine") / "home"
        with running_daemon(home, environ=environ) as daemon:
            # Other bytes, other models: names of equal weights share a runner.
            for name, path in (("one", smollm2()), ("big", gemma3()), ("mini", minilm_gguf())):
                out(olm(daemon.environ, "create", name, "-f", "-", stdin=f"FROM {path}\n"))
            copy = home.parent / "two.gguf"
            copy.write_bytes(smollm2().read_bytes() + bytes(32))
            out(olm(daemon.environ, "create", "two", "-f", "-", stdin=f"FROM {copy}\n"))
            yield Machine(daemon, started)


def test_a_model_that_one_device_takes_is_on_one(machine: Machine) -> None:
    assert machine.answer("one")
    assert len(machine.where("one")) == 1


def test_a_second_one_goes_to_the_other_device_and_both_stay(machine: Machine) -> None:
    assert machine.answer("one")
    assert machine.answer("two")
    assert machine.where("one") | machine.where("two") == {s.device for s in machine.servers}


def test_a_larger_one_takes_both_devices_and_ps_shows_the_parts(machine: Machine) -> None:
    assert machine.answer("big")
    assert machine.where("big") == {server.device for server in machine.servers}
    assert machine.loaded().keys() == {"big"}  # both others had to leave for it
    said = out(olm(machine.daemon.environ, "ps"))
    assert "100% GPU (" in said
    assert all(server.device in said for server in machine.servers)


def test_a_third_one_evicts_the_one_that_was_used_longest_ago(machine: Machine) -> None:
    machine.unload_all()
    machine.answer("one")
    machine.answer("two")
    machine.answer("one")
    status, reply = machine.daemon.request("POST", "/api/embed", {"model": "mini", "input": "a"})
    assert status == 200, reply
    assert machine.loaded().keys() == {"one", "mini"}


def test_a_model_that_must_be_on_cards_and_does_not_fit_is_refused(machine: Machine) -> None:
    status, reply = machine.ask("big", require_gpu=True, main_gpu=0)
    assert status == 507, reply
    assert "does not fit on the graphics cards" in json.loads(reply)["error"]


def test_less_context_will_do_where_that_is_allowed(machine: Machine) -> None:
    machine.unload_all()
    assert machine.answer("one", require_gpu=True, main_gpu=0, num_ctx=8192, min_ctx=1024)
    _, body = machine.daemon.request("GET", "/api/ps")
    (model,) = json.loads(body)["models"]
    assert 1024 <= model["context_length"] < 8192
    assert "instead of 8192" in model["notes"][0]
    assert model["size"] == model["size_vram"]


def test_what_does_not_fit_is_loaded_in_part_and_says_so(machine: Machine) -> None:
    machine.unload_all()
    assert machine.answer("one", main_gpu=0, num_ctx=8192)
    _, body = machine.daemon.request("GET", "/api/ps")
    (model,) = json.loads(body)["models"]
    assert any("layers are on graphics cards" in note for note in model["notes"])
    said = olm(machine.daemon.environ, "ps")
    assert b"more do not fit" in said.stderr


def test_a_device_that_dies_takes_its_own_models_with_it(machine: Machine) -> None:
    """The last test of this daemon: one of its devices is gone afterwards."""
    machine.unload_all()
    machine.answer("one")
    machine.answer("two")
    (lost,) = machine.where("one")
    server = next(one for one in machine.servers if one.device == lost)
    server.kill()
    status, _ = machine.ask("one")
    assert status >= 500
    assert machine.answer("two")
    assert machine.where("two") == {s.device for s in machine.servers} - {lost}
