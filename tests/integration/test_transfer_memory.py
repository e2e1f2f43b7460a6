"""How much memory a pull takes."""

import subprocess
from pathlib import Path

import pytest

from support.pulling import publish, start
from support.registry import serving

MIB = 1 << 20
LIMIT_BYTES = 120e6


@pytest.mark.parametrize("sizes_mib", [(200,), (24,) * 8])
@pytest.mark.parametrize("rate", [None, 30 * MIB])
def test_a_pull_takes_less_than_120_megabytes_whatever_the_size(
    sizes_mib: tuple[int, ...], rate: float | None, tmp_path: Path
) -> None:
    weights = (b"GGUF%d" % i + bytes(size * MIB) for i, size in enumerate(sizes_mib))
    with serving() as registry:
        registry.rate = rate
        name, _ = publish(registry, *weights)
        with start(tmp_path, name, stdout=subprocess.PIPE) as process:
            output, _ = process.communicate(timeout=120)
    assert 20e6 < int(output) < LIMIT_BYTES
