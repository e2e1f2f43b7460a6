"""What models took is found again, by what it depends on."""

from pathlib import Path

from olmkit.engine.devices.inventory import Device
from olmkit.engine.planning.measuredcosts import MeasuredCosts, cost_key
from olmkit.engine.runner.layouts import DeviceShare, Layout
from olmkit.engine.runner.protocol import Buffer, LoadOptions

CARD = Device(name="CUDA0", description="NVIDIA H100", backend="CUDA", free_bytes=1, total_bytes=2)
LAYOUT = Layout(shares=(DeviceShare(device="CUDA0", layers=3),))
BUFFERS = [Buffer(device="CUDA0", weights_bytes=10, kv_bytes=2, compute_bytes=1)]


def key(
    *,
    model: str = "m",
    layout: Layout = LAYOUT,
    card: Device = CARD,
    engine: str = "e",
    context_tokens: int = 4096,
    threads: int = 0,
) -> str:
    options = LoadOptions(context_tokens=context_tokens, threads=threads)
    return cost_key(model, options, layout, [card], engine=engine)


def test_costs_outlive_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "costs.json"
    MeasuredCosts(path).remember(key(), BUFFERS)
    assert MeasuredCosts(path).find(key()) == BUFFERS
    assert MeasuredCosts(path).find(key(model="other")) is None


def test_weights_shape_layout_device_and_engine_make_another_cost() -> None:
    other_card = Device(
        name="CUDA0", description="NVIDIA L4", backend="CUDA", free_bytes=1, total_bytes=2
    )
    other_layout = Layout(shares=(DeviceShare(device="CUDA0", layers=2),))
    keys = {
        key(),
        key(model="n"),
        key(context_tokens=8192),
        key(layout=other_layout),
        key(card=other_card),
        key(engine="f"),
    }
    assert len(keys) == 6
    assert key(threads=4) == key()  # which takes no memory


def test_a_cost_that_was_not_true_is_forgotten() -> None:
    costs = MeasuredCosts()
    costs.remember(key(), BUFFERS)
    costs.forget(key())
    assert costs.find(key()) is None


def test_a_broken_file_costs_dry_runs_only(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text('{"a": [{"device"')
    costs = MeasuredCosts(path)
    assert costs.find(key()) is None
    costs.remember(key(), BUFFERS)
    assert MeasuredCosts(path).find(key()) == BUFFERS


def test_the_oldest_go_when_there_are_too_many() -> None:
    costs = MeasuredCosts()
    for number in range(600):
        costs.remember(key(model=f"m{number}"), BUFFERS)
    assert costs.find(key(model="m0")) is None
    assert costs.find(key(model="m599")) == BUFFERS
