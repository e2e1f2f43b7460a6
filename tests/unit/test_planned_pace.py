"""The bound on the pace that `olm plan` gives."""

import pytest

from olmkit.engine.inference.planreport import DeviceLine, pace

GB = 10**9


def line(name: str, *, layers: int, weights_bytes: int, bytes_per_s: float | None) -> DeviceLine:
    return DeviceLine(
        name=name,
        description=name,
        layers=layers,
        weights_bytes=weights_bytes,
        kv_bytes=0,
        compute_bytes=0,
        process_bytes=0,
        free_bytes=0,
        total_bytes=0,
        bytes_per_s=bytes_per_s,
    )


def test_one_device_reads_all_weights_once_a_token() -> None:
    card = line("CUDA0", layers=33, weights_bytes=5 * GB, bytes_per_s=1000.0 * GB)
    assert pace([card], 5 * GB) == pytest.approx(200)
    assert pace([card], GB) == pytest.approx(1000), "experts that are not used are not read"


def test_devices_compute_one_after_the_other() -> None:
    card = line("CUDA0", layers=20, weights_bytes=3 * GB, bytes_per_s=1000.0 * GB)
    main = line("CPU", layers=13, weights_bytes=2 * GB, bytes_per_s=20.0 * GB)
    assert pace([card, main], 5 * GB) == pytest.approx(1 / (0.003 + 0.1))


def test_main_memory_without_layers_does_not_count() -> None:
    card = line("CUDA0", layers=33, weights_bytes=5 * GB, bytes_per_s=1000.0 * GB)
    main = line("CPU", layers=0, weights_bytes=GB, bytes_per_s=None)
    assert pace([card, main], 5 * GB) == pytest.approx(200)


def test_a_device_that_was_not_measured_leaves_the_pace_open() -> None:
    card = line("CUDA0", layers=20, weights_bytes=3 * GB, bytes_per_s=1000.0 * GB)
    other = line("RPC[a:1]", layers=13, weights_bytes=2 * GB, bytes_per_s=None)
    assert pace([card, other], 5 * GB) is None
    assert pace([], 5 * GB) is None
