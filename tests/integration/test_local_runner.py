"""What `interface.Runner` promises, on a program that only keeps the protocol and on llama.cpp."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from olmkit.engine.errors import (
    ContextExceeded,
    InvalidRequest,
    ModelUnloadable,
    RunnerDied,
    UnsupportedCapability,
)
from olmkit.engine.gguf.header import read_header
from olmkit.engine.planning.modelcosts import as_loaded
from olmkit.engine.runner.layouts import Layout
from olmkit.engine.runner.protocol import (
    Completed,
    EndReason,
    LoadOperation,
    LoadOptions,
    ModelFiles,
    Piece,
    Sampling,
)
from olmkit.engine.supervision import localrunner
from olmkit.engine.supervision.interface import ExitReason
from olmkit.engine.supervision.localrunner import LocalRunner, Patience
from olmkit.registry.errors import Cancelled
from support import runner_program
from support.daemon import wait_until
from support.models import smollm2

OPTIONS = LoadOptions(context_tokens=512)
GREEDY = Sampling(temperature=0)


@dataclass(frozen=True)
class Kind:
    """One implementation of a runner and a model that it takes half a second to run through."""

    command: Sequence[str]
    model: Path
    patience: Patience = field(default_factory=Patience)

    @property
    def files(self) -> ModelFiles:
        return ModelFiles(weights_path=str(self.model))

    async def start(self) -> LocalRunner:
        return await LocalRunner.start("m", command=self.command, patience=self.patience)

    @asynccontextmanager
    async def loaded(self, options: LoadOptions = OPTIONS) -> AsyncIterator[LocalRunner]:
        runner = await self.start()
        try:
            await runner.load(self.files, options)
            yield runner
        finally:
            await runner.close()


@pytest.fixture(params=["program", "llama.cpp"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    if request.param == "llama.cpp":
        return Kind(localrunner.COMMAND, smollm2())
    model = runner_program.write_model(tmp_path / "m.json", token_s=0.005, context_tokens=8192)
    return Kind(runner_program.COMMAND, model)


@pytest.fixture
def program(tmp_path: Path) -> Kind:
    model = runner_program.write_model(tmp_path / "m.json", token_s=0.001)
    return Kind(runner_program.COMMAND, model)


Test = Callable[[], Coroutine[Any, Any, None]]


def run(test: Test) -> None:
    asyncio.run(asyncio.wait_for(test(), 60), debug=True)


async def text_of(runner: LocalRunner, prompt: str, **options: Any) -> tuple[str, Completed]:
    async with aclosing(runner.complete(prompt, sampling=GREEDY, **options)) as batches:
        found = [item async for items in batches for item in items]
    *pieces, end = [item for item in found if isinstance(item, Piece | Completed)]
    assert isinstance(end, Completed)
    return "".join(piece.text for piece in pieces) + end.text, end


def test_load_tells_what_the_model_takes_and_how_far_it_is(kind: Kind) -> None:
    async def test() -> None:
        runner = await kind.start()
        fractions: list[float] = []
        loaded = await runner.load(kind.files, OPTIONS, on_progress=fractions.append)
        assert loaded.context_tokens == 512
        assert loaded.trained_context_tokens == 8192
        assert sum(buffer.kv_bytes for buffer in loaded.buffers) > 0
        assert fractions
        assert fractions == sorted(fractions)
        assert 0 <= fractions[0] <= fractions[-1] <= 1
        await runner.close()
        assert not psutil.pid_exists(runner.pid)

    run(test)


def test_completions_run_side_by_side(kind: Kind) -> None:
    async def test() -> None:
        async with kind.loaded() as runner:
            answers = await asyncio.gather(
                *(text_of(runner, f"{i} and then", max_tokens=8, ignore_eos=True) for i in range(6))
            )
            assert [end.completion_tokens for _, end in answers] == [8] * 6
            assert {end.reason for _, end in answers} == {EndReason.LENGTH}
            assert all(text for text, _ in answers)

    run(test)


def test_closing_the_iterator_cancels_in_the_runner(kind: Kind) -> None:
    async def test() -> None:
        async with kind.loaded() as runner:
            async with aclosing(runner.complete("Once upon", ignore_eos=True)) as batches:
                async for items in batches:
                    if isinstance(items[-1], Piece):
                        break
            while (await runner.health()).active_sequences:
                await asyncio.sleep(0.005)
            text, _ = await text_of(runner, "The next one", max_tokens=2)
            assert text

    run(test)


def test_cancelling_the_task_cancels_in_the_runner(kind: Kind) -> None:
    async def test() -> None:
        async with kind.loaded() as runner:
            work = asyncio.create_task(text_of(runner, "Once upon", ignore_eos=True))
            while not (await runner.health()).active_sequences:
                await asyncio.sleep(0.005)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work
            while (await runner.health()).active_sequences:
                await asyncio.sleep(0.005)

    run(test)


def test_a_prompt_over_the_context_is_an_error_with_both_numbers(kind: Kind) -> None:
    async def test() -> None:
        async with kind.loaded() as runner:
            with pytest.raises(ContextExceeded) as caught:
                await text_of(runner, "word " * 2000)
            assert caught.value.limit_tokens == 512
            assert caught.value.given_tokens > 512
            assert (await text_of(runner, "word", max_tokens=1))[1].completion_tokens == 1

    run(test)


def test_tokens_and_text_go_back_and_forth(kind: Kind) -> None:
    async def test() -> None:
        async with kind.loaded() as runner:
            tokens = await runner.tokenize("Hello, wörld 🦉", add_special=False)
            assert await runner.detokenize(tokens) == "Hello, wörld 🦉"

    run(test)


def test_a_model_loaded_for_embeddings_gives_them_and_nothing_else(kind: Kind) -> None:
    async def test() -> None:
        async with kind.loaded(LoadOptions(context_tokens=512, embedding=True)) as runner:
            embedded = await runner.embed(["one", "two", "three"])
            assert [len(vector) for vector in embedded.vectors] == [embedded.dimensions * 4] * 3
            with pytest.raises(UnsupportedCapability):
                await text_of(runner, "Once")

    run(test)


def test_a_model_loaded_for_text_gives_embeddings_as_well(kind: Kind) -> None:
    async def test() -> None:
        async with kind.loaded() as runner:
            _, embedded = await asyncio.gather(
                text_of(runner, "Once", max_tokens=5), runner.embed(["one"])
            )
            assert len(embedded.vectors) == 1

    run(test)


def test_a_broken_file_is_an_error_and_no_death(kind: Kind, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))

    async def test() -> None:
        runner = await kind.start()
        with pytest.raises(ModelUnloadable):
            await runner.load(ModelFiles(weights_path=str(broken)), OPTIONS)
        assert not runner.died.done()
        await runner.close()

    run(test)


def test_what_cannot_be_sent_is_a_bad_request(kind: Kind) -> None:
    async def test() -> None:
        async with kind.loaded() as runner:
            with pytest.raises(InvalidRequest):
                await runner.tokenize("\ud800")
            with pytest.raises(InvalidRequest):
                await runner.tokenize("x" * (65 << 20))
            assert await runner.tokenize("x")

    run(test)


def test_a_killed_runner_fails_what_is_in_flight_and_what_comes(kind: Kind) -> None:
    async def test() -> None:
        async with kind.loaded() as runner:
            async with aclosing(runner.complete("Once", ignore_eos=True)) as batches:
                async for items in batches:
                    if isinstance(items[-1], Piece):
                        break
                os.kill(runner.pid, signal.SIGKILL)
                with pytest.raises(RunnerDied) as caught:
                    async for _ in batches:
                        pass
            assert caught.value.exit_status == -signal.SIGKILL
            assert str(caught.value) == "the runner of m was killed by SIGKILL"
            assert (await asyncio.shield(runner.died)).reason is ExitReason.SIGNALLED
            with pytest.raises(RunnerDied):
                await runner.health()

    run(test)


def test_close_ends_what_is_in_flight_and_the_process(kind: Kind) -> None:
    async def test() -> None:
        async with kind.loaded() as runner:
            work = asyncio.create_task(text_of(runner, "Once", ignore_eos=True))
            while not (await runner.health()).active_sequences:
                await asyncio.sleep(0.005)
            await runner.close()
            with pytest.raises(Cancelled):
                await work
            assert not psutil.pid_exists(runner.pid)
            assert (await asyncio.shield(runner.died)).reason is ExitReason.CLOSED
            await runner.close()

    run(test)


def test_a_runner_does_not_outlive_a_killed_parent(kind: Kind, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = f"""
import asyncio
from pathlib import Path
from olmkit.engine.supervision.localrunner import LocalRunner
from olmkit.engine.runner.protocol import LoadOptions, ModelFiles
async def main():
    runner = await LocalRunner.start("m", command={tuple(kind.command)!r})
    await runner.load(ModelFiles(weights_path={str(kind.model)!r}), LoadOptions(context_tokens=512))
    batches = runner.complete("Once", ignore_eos=True)
    await anext(batches)
    Path({str(pid_file)!r}).write_text(str(runner.pid))
    async for _ in batches: pass
asyncio.run(main())
"""
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], env=environ) as parent:
        wait_until(lambda: pid_file.exists() and pid_file.read_text(), timeout_s=30)
        runner = psutil.Process(int(pid_file.read_text()))
        parent.kill()
    runner.wait(5)


# --- what only the program does on request --------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_crash_is_named(program: Kind, number: signal.Signals) -> None:
    async def test() -> None:
        async with program.loaded() as runner:
            with pytest.raises(RunnerDied) as caught:
                await text_of(runner, f"die {number.value}")
            assert number.name in str(caught.value)
            assert caught.value.exit_status == -number

    run(test)


def test_a_death_while_loading_carries_the_last_log_lines(tmp_path: Path) -> None:
    model = runner_program.write_model(tmp_path / "m.json", die=7)

    async def test() -> None:
        runner = await LocalRunner.start("m", command=runner_program.COMMAND)
        with pytest.raises(RunnerDied) as caught:
            await runner.load(ModelFiles(weights_path=str(model)), OPTIONS)
        assert caught.value.exit_status == 7
        assert str(caught.value) == "the runner of m ended with exit status 7"
        assert caught.value.log_tail == "about to die"
        await runner.close()

    run(test)


def test_garbage_from_a_runner_ends_it(program: Kind) -> None:
    async def test() -> None:
        async with program.loaded() as runner:
            with pytest.raises(RunnerDied, match="no message"):
                await text_of(runner, "garbage")
            assert (await asyncio.shield(runner.died)).reason is ExitReason.MISBEHAVED

    run(test)


def test_a_runner_that_hears_nothing_is_killed(program: Kind) -> None:
    hasty = replace(program, patience=Patience(eof_s=0.1, term_s=0.1))

    async def test() -> None:
        async with hasty.loaded() as runner:
            await text_of(runner, "deaf", max_tokens=1)
            await runner.close()
            info = await asyncio.shield(runner.died)
            assert (info.reason, info.exit_status) == (ExitReason.CLOSED, -signal.SIGKILL)

    run(test)


def test_a_program_that_cannot_be_started_is_a_death(tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(RunnerDied, match="cannot be started"):
            await LocalRunner.start("m", command=[str(tmp_path / "absent")])

    run(test)


def test_an_answer_that_nobody_reads_is_cancelled_not_kept(tmp_path: Path) -> None:
    model = runner_program.write_model(tmp_path / "m.json")
    kind = Kind(runner_program.COMMAND, model, Patience(unread_replies=20))

    async def test() -> None:
        async with kind.loaded() as runner, aclosing(runner.complete("slow reader")) as batches:
            await anext(batches)
            while (await runner.health()).active_sequences:
                await asyncio.sleep(0.005)
            with pytest.raises(Cancelled, match="not read"):
                async for _ in batches:
                    pass

    run(test)


def test_a_dry_run_measures_and_leaves_the_runner_usable() -> None:
    kind = Kind(localrunner.COMMAND, smollm2())

    async def test() -> None:
        runner = await kind.start()
        try:
            fit = await runner.load(kind.files, OPTIONS, operation=LoadOperation.FIT)
            loaded = await runner.load(kind.files, OPTIONS)
        finally:
            await runner.close()
        # The file is mapped whole, and what the processor has repacked lies beside it.
        planned = as_loaded(read_header(kind.model), Layout(), fit.buffers, is_mapped=True)
        assert [b.weights_bytes for b in planned] == [b.weights_bytes for b in loaded.buffers]

    run(test)
