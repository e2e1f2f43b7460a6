"""A daemon on several devices: where it places models, whom it evicts, and what it says of them.

The devices are llama.cpp's RPC servers, processes on this machine. They have all of the machine's
memory, so budgets are made small by `OLM_GPU_OVERHEAD`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from olmkit.engine.devices.enginesurvey import SurveyUnderWay
from olmkit.engine.devices.inventory import usable_devices
from support.daemon import Daemon, running_daemon, wait_until
from support.models import gemma3, minilm_gguf, smollm2
from support.olm import olm, out
from support.rpcservers import RpcServer, rpc_environment, rpc_servers

pytestmark = pytest.mark.timeout(300)
MIB = 2**20


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
            asked = {"model": name, "keep_alive": 0}
            assert self.daemon.request("POST", "/api/generate", asked)[0] == 200
        wait_until(lambda: not self.loaded(), what="the end of all models")


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


def test_a_plan_says_who_would_leave_and_nobody_does(machine: Machine) -> None:
    machine.answer("one")
    machine.answer("two")
    said = json.loads(out(olm(machine.daemon.environ, "plan", "big", "--json", "--ctx", "1024")))
    assert set(said["evicts"]) == {"one:latest", "two:latest"}
    layers = {device["name"]: device["layers"] for device in said["devices"]}
    assert sum(layers.values()) == said["layers"]
    assert layers["CPU"] == 0
    assert machine.loaded().keys() == {"one", "two"}


def test_a_third_one_evicts_the_one_that_was_used_longest_ago(machine: Machine) -> None:
    machine.answer("one")
    machine.answer("two")
    machine.answer("one")
    status, reply = machine.daemon.request("POST", "/api/embed", {"model": "mini", "input": "a"})
    assert status == 200, reply
    assert machine.loaded().keys() == {"one", "mini"}


def test_a_larger_one_takes_both_devices_and_ps_shows_the_parts(machine: Machine) -> None:
    assert machine.answer("big")
    assert machine.where("big") == {server.device for server in machine.servers}
    assert machine.loaded().keys() == {"big"}  # all others had to leave for it
    said = out(olm(machine.daemon.environ, "ps"))
    assert "100% GPU (" in said
    assert all(server.device in said for server in machine.servers)


def test_a_plan_takes_devices_by_name_and_number_and_an_unknown_one_for_an_error(
    machine: Machine,
) -> None:
    machine.unload_all()
    first, second = (server.device for server in machine.servers)
    for named, device in (("1", second), (second.lower(), second), ("0", first), ("cpu", "CPU")):
        text = out(olm(machine.daemon.environ, "plan", "one", "--json", "--device", named))
        lines = json.loads(text)["devices"]
        assert [line["name"] for line in lines if line["layers"]] == [device]
    done = olm(machine.daemon.environ, "plan", "one", "--device", "CUDA0")
    assert done.returncode == 2
    assert f"0: {first}; 1: {second}" in done.stderr.decode()


def test_a_model_that_must_be_on_cards_and_does_not_fit_is_refused(machine: Machine) -> None:
    status, reply = machine.ask("big", require_gpu=True, main_gpu=0)
    assert status == 507, reply
    assert "does not fit on the graphics cards" in json.loads(reply)["error"]


def test_a_main_card_that_is_not_there_is_a_wrong_request(machine: Machine) -> None:
    status, reply = machine.ask("one", main_gpu=7)
    assert status == 400, reply
    assert "main_gpu" in json.loads(reply)["error"]


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
    # The runner dies before it has said anything: what it was asked is asked of another one.
    assert machine.answer("one")
    assert lost not in machine.where("one")
    assert machine.answer("two")
    assert machine.where("two") == {s.device for s in machine.servers} - {lost}
