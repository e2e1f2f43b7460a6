"""With graphics cards that the engine can use: plans against real bytes, and models over two cards.

Cards are larger than any model that a test may write, so their budgets are made small by
`OLM_GPU_OVERHEAD`. Elsewhere the summary says that none of it was tested; the same on devices that
every machine has is in `test_remote_devices.py`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from olmkit.engine.devices.enginesurvey import SurveyUnderWay
from olmkit.engine.devices.inventory import Device, usable_devices
from olmkit.engine.gguf.header import read_header
from olmkit.engine.planning.modelcosts import as_loaded
from olmkit.engine.runner import protocol as p
from olmkit.engine.runner.layouts import DeviceShare, Layout
from support.daemon import Daemon, running_daemon
from support.models import gemma3, minilm_gguf, smollm2
from support.olm import olm, out
from support.randommodel import write_llama
from support.runner import RunnerClient

pytestmark = pytest.mark.timeout(300)
MIB = 2**20
BUDGET = 700 * MIB
"""Of each card, for buffers: one model of half a gigabyte, not two."""


def cards() -> list[Device]:
    return list(usable_devices(SurveyUnderWay().result(timeout_s=120).devices))


@pytest.fixture(scope="module")
def one_card() -> Device:
    found = cards()
    if not found:
        pytest.skip("NOT TESTED: there is no graphics card here that this engine can use")
    return found[0]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights of 0.5 GB, three times, and of 1 GB."""
    folder = tmp_path_factory.mktemp("models")
    small = write_llama(folder / "a.gguf", layers=12, width=1024)
    made = {"a": small}
    for name in ("b", "c"):
        # Other bytes, other models: names of equal weights share a runner.
        made[name] = folder / f"{name}.gguf"
        made[name].write_bytes(small.read_bytes() + bytes(32 * len(made)))
    made["large"] = write_llama(folder / "large.gguf", layers=24, width=1024)
    return made


def buffers(runner: RunnerClient, path: Path, operation: str, layout: Layout) -> list[p.Buffer]:
    request = p.Load(
        id=runner.new_id(),
        operation=p.LoadOperation(operation),
        files=p.ModelFiles(weights_path=str(path)),
        options=p.LoadOptions(context_tokens=2048),
        layout=layout,
    )
    return runner.call(request, p.Loaded).buffers


def total(buffer: p.Buffer) -> int:
    return buffer.weights_bytes + buffer.kv_bytes + buffer.compute_bytes


def check_plan(path: Path, layout: Layout) -> None:
    with RunnerClient() as runner:
        fitted = buffers(runner, path, "fit", layout)
        planned = as_loaded(read_header(path), layout, fitted, is_mapped=True)
        real = buffers(runner, path, "commit", layout)
    on_cards = [one for one in real if one.device != "CPU"]
    assert [one.device for one in planned if one.device != "CPU"] == [o.device for o in on_cards]
    by_device = {one.device: total(one) for one in planned}
    for one in on_cards:
        assert abs(by_device[one.device] - total(one)) <= max(0.05 * total(one), MIB), one


@pytest.mark.parametrize("part", [1.0, 0.5])
@pytest.mark.parametrize("model", [smollm2, gemma3, minilm_gguf])
def test_a_dry_run_tells_what_a_card_gives(one_card: Device, model: Any, part: float) -> None:
    path = model()
    layers = int(((read_header(path).block_count or 0) + 1) * part)
    share = DeviceShare(device=one_card.name, layers=layers)
    check_plan(path, Layout(shares=(share,)))


def test_what_a_process_takes_beside_buffers_is_planned(
    one_card: Device, models: dict[str, Path]
) -> None:
    layout = Layout(shares=(DeviceShare(device=one_card.name, layers=13),))
    before = cards()[0].free_bytes
    with RunnerClient() as runner:
        loaded = buffers(runner, models["a"], "commit", layout)
        runner.complete("a", max_tokens=2)
        used = before - cards()[0].free_bytes
    planned = sum(total(one) for one in loaded if one.device == one_card.name)
    planned += one_card.process_bytes
    assert abs(used - planned) <= 0.1 * planned, (used // MIB, planned // MIB)


# --- two cards -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_cards() -> list[Device]:
    found = [card for card in cards() if not card.is_remote]
    if len(found) < 2:
        pytest.skip("NOT TESTED: there are not two graphics cards here that this engine can use")
    return found[:2]


def halves(two_cards: list[Device], layers: int) -> Layout:
    """Half of the layers on each card."""
    first, second = (card.name for card in two_cards)
    rest = layers - layers // 2
    return Layout(
        shares=(
            DeviceShare(device=first, layers=layers // 2),
            DeviceShare(device=second, layers=rest),
        )
    )


def greedy_tokens(path: Path, layout: Layout) -> list[int]:
    """The likeliest tokens, of a model that is where the layout says."""
    with RunnerClient() as runner:
        taken = buffers(runner, path, "commit", layout)
        holding = {one.device for one in taken if one.device != "CPU" and one.weights_bytes}
        assert holding == {share.device for share in layout.shares}
        return runner.complete("ab", max_tokens=48, ignore_eos=True).tokens


def test_a_model_says_the_same_over_two_cards_as_on_one(
    two_cards: list[Device], models: dict[str, Path]
) -> None:
    alone = Layout(shares=(DeviceShare(device=two_cards[0].name, layers=13),))
    tokens = greedy_tokens(models["a"], alone)
    assert len(tokens) == 48
    assert greedy_tokens(models["a"], halves(two_cards, 13)) == tokens


def test_a_dry_run_tells_what_two_cards_give(
    two_cards: list[Device], models: dict[str, Path]
) -> None:
    check_plan(models["large"], halves(two_cards, 25))


def test_what_is_planned_of_two_cards_is_what_they_give(
    two_cards: list[Device], models: dict[str, Path]
) -> None:
    path, layout = models["large"], halves(two_cards, 25)
    before = [card.free_bytes for card in cards()]
    with RunnerClient() as runner:
        fitted = buffers(runner, path, "fit", layout)
        planned = as_loaded(read_header(path), layout, fitted, is_mapped=True)
        buffers(runner, path, "commit", layout)
        runner.complete("a", max_tokens=2)
        after = [card.free_bytes for card in cards()]
    for card, free, left in zip(two_cards, before, after, strict=False):
        expected = sum(total(one) for one in planned if one.device == card.name)
        expected += card.process_bytes
        used = free - left
        assert abs(used - expected) <= 0.05 * used, (card.name, used // MIB, expected // MIB)


@pytest.fixture(scope="module")
def daemon(
    two_cards: list[Device], models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    least = min(card.free_bytes - card.growth_bytes for card in two_cards)
    environ = {"OLM_GPU_OVERHEAD": str(least - BUDGET)}
    with running_daemon(tmp_path_factory.mktemp("cards") / "home", environ=environ) as running:
        for name, path in models.items():
            out(olm(running.environ, "create", name, "-f", "-", stdin=f"FROM {path}\n"))
        yield running


def ask(daemon: Daemon, name: str, **options: object) -> tuple[int, bytes]:
    options = {"num_predict": 4, "temperature": 0, "num_ctx": 512, **options}
    body = {"model": name, "prompt": "ab", "raw": True, "stream": False, "options": options}
    return daemon.request("POST", "/api/generate", body, timeout_s=120)


def answer(daemon: Daemon, name: str, **options: object) -> None:
    status, reply = ask(daemon, name, **options)
    assert status == 200, reply


def loaded(daemon: Daemon) -> dict[str, set[str]]:
    """The cards that each loaded model is on."""
    _, body = daemon.request("GET", "/api/ps")
    return {
        model["name"].partition(":")[0]: model.get("devices", {}).keys() - {"CPU"}
        for model in json.loads(body)["models"]
    }


def test_two_models_are_on_one_card_each(daemon: Daemon, two_cards: list[Device]) -> None:
    answer(daemon, "a")
    answer(daemon, "b")
    where = loaded(daemon)
    assert len(where["a"]) == len(where["b"]) == 1
    assert where["a"] | where["b"] == {card.name for card in two_cards}


def test_a_third_one_evicts_the_one_that_was_used_longest_ago(daemon: Daemon) -> None:
    answer(daemon, "a")
    answer(daemon, "b")
    answer(daemon, "a")
    answer(daemon, "c")
    assert loaded(daemon).keys() == {"a", "c"}


def test_a_model_larger_than_a_card_is_on_both_and_ps_says_so(
    daemon: Daemon, two_cards: list[Device]
) -> None:
    answer(daemon, "large")
    assert loaded(daemon) == {"large": {card.name for card in two_cards}}
    said = out(olm(daemon.environ, "ps"))
    assert "100% GPU (" in said
    assert all(card.name in said for card in two_cards)


def test_a_model_larger_than_both_is_on_them_in_part(daemon: Daemon) -> None:
    answer(daemon, "large", num_ctx=512, main_gpu=0)
    _, body = daemon.request("GET", "/api/ps")
    (model,) = json.loads(body)["models"]
    assert 0 < model["size_vram"] < model["size"]
    assert any("layers are on graphics cards" in note for note in model["notes"])


def test_a_model_that_must_be_on_cards_and_does_not_fit_is_refused(daemon: Daemon) -> None:
    status, reply = ask(daemon, "large", main_gpu=0, require_gpu=True)
    assert status == 507, reply
