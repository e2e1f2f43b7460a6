"""What is planned and claimed for a model on the processor, against what its runner then takes."""

from contextlib import aclosing
from pathlib import Path

import psutil
import pytest

from olmkit.engine.runner.protocol import LoadOptions
from olmkit.engine.scheduling.bringup import buffer_bytes
from olmkit.engine.scheduling.leases import Lease
from olmkit.engine.supervision.localrunner import LocalRunner
from support.filespec import spec_of
from support.models import gemma3, minilm_gguf, qwen_coder, smollm2
from support.pools import open_pool, pid_of, run
from support.randommodel import write_llama, write_mixture

pytestmark = pytest.mark.timeout(300)
CASES = (
    ("smollm2", 512, 512),
    ("smollm2", 8192, 512),
    ("gemma3", 1024, 512),
    ("gemma3", 32768, 512),
    ("qwen", 4096, 64),
    ("minilm", 512, 512),
    ("llama", 512, 512),
    ("mixture", 4096, 512),
)
"""Models, tokens of the context, tokens of a batch."""


def weights(name: str, folder: Path) -> Path:
    real = {"smollm2": smollm2, "gemma3": gemma3, "qwen": qwen_coder, "minilm": minilm_gguf}
    if name in real:
        return real[name]()
    path = folder / f"{name}.gguf"
    if name == "mixture":
        return write_mixture(path, layers=4, width=384)
    return write_llama(path, layers=6, width=512)


def is_near(planned_bytes: int, real_bytes: int) -> bool:
    return abs(planned_bytes - real_bytes) <= 0.05 * real_bytes


@pytest.mark.parametrize(("name", "context_tokens", "batch_tokens"), CASES)
def test_plans_and_claims_are_what_the_runner_takes(
    name: str, context_tokens: int, batch_tokens: int, tmp_path: Path
) -> None:
    spec = spec_of(weights(name, tmp_path))
    options = LoadOptions(
        context_tokens=context_tokens,
        batch_tokens=batch_tokens,
        threads=1,
        embedding=name == "minilm",
    )

    async def test() -> None:
        async with open_pool(start_runner=LocalRunner.start) as pool:
            plan = (await pool.plan(spec, options)).placed
            buffers_bytes = sum(map(buffer_bytes, plan.buffers))
            async with pool.lease(spec, options) as lease:
                (info,) = pool.instances()
                await use(lease, batch_tokens)
                resident_bytes = psutil.Process(pid_of(lease)).memory_info().rss
            assert is_near(buffers_bytes, info.size_bytes)
            assert is_near(plan.taken["CPU"], resident_bytes)
            assert is_near(info.planned_bytes, resident_bytes)

    run(test)


async def use(lease: Lease, batch_tokens: int) -> None:
    """Makes the runner take what it takes when it works: a batch and some answer."""
    if lease.loaded.has_encoder_only:
        await lease.runner.embed(["word " * 500] * 4)
        return
    length = min(batch_tokens + 32, lease.loaded.context_tokens - 32)
    prompt = [70 + number % 100 for number in range(length)]
    async with aclosing(lease.runner.complete(prompt, max_tokens=4, ignore_eos=True)) as items:
        assert [item async for item in items]
