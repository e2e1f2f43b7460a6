"""A machine that is nothing but memory, for storms of loads by the thousand.

Real devices do not fill up, vanish and refuse on demand. Its runners keep the contract of
`Runner.load`: a dry run and the load of the same layout take the same, an allocation that there is
no room for fails with the device's name and takes nothing, and a runner that is closed or dies has
given everything back. The same contract is held against real devices by
`tests/integration/test_remote_devices.py` and `test_planned_bytes.py`.
"""

import asyncio
import random
import selectors
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from olmkit.engine.devices.enumeration import Found
from olmkit.engine.devices.inventory import Device
from olmkit.engine.errors import DeviceLost, OutOfMemory
from olmkit.engine.gguf.header import GgufHeader
from olmkit.engine.gguf.tables import Tensor
from olmkit.engine.planning.footprint import process_bytes
from olmkit.engine.planning.ledger import HOST
from olmkit.engine.planning.modelcosts import as_loaded, model_cost
from olmkit.engine.runner.layouts import Layout
from olmkit.engine.runner.protocol import Buffer, Loaded, LoadOperation, LoadOptions, ModelFiles
from olmkit.engine.supervision.interface import ExitInfo, ExitReason
from support.filespec import FileSpec

MIB = 2**20


@dataclass(slots=True, kw_only=True)
class Memory:
    """One device, or main memory."""

    total_bytes: int
    others_bytes: int = 0
    """What other programs have of it."""
    is_there: bool = True
    taken: dict["MemoryRunner", int] = field(default_factory=dict)
    disturbed: int = 0
    """How often others took more of it, or it failed, since the beginning."""

    @property
    def free_bytes(self) -> int:
        return max(0, self.total_bytes - self.others_bytes - sum(self.taken.values()))


class MemoryMachine:
    """Devices and main memory, the runners in them, and what went wrong that should not."""

    def __init__(self, memories: dict[str, Memory], *, integrated: frozenset[str]) -> None:
        self.memories = memories
        self.integrated = integrated
        self.mapped: dict[MemoryRunner, int] = {}
        """Pages of files, which the system counts as free."""
        self.trace: list[str] = []
        self.unexcused: list[str] = []
        self.refusals = 0
        """So many of the next allocations fail though there is room."""

    def devices(self) -> tuple[Device, ...]:
        return tuple(
            Device(
                name=name,
                description="memory",
                backend="Vulkan",
                free_bytes=min(
                    one.free_bytes,
                    self.memories[HOST].free_bytes if name in self.integrated else one.free_bytes,
                ),
                total_bytes=one.total_bytes,
                is_integrated=name in self.integrated,
            )
            for name, one in self.memories.items()
            if name != HOST and one.is_there
        )

    async def listed(self) -> Found:
        await asyncio.sleep(0.01)
        return Found(devices=self.devices())

    def free_host_bytes(self) -> int:
        return self.memories[HOST].free_bytes

    def disturbances(self) -> int:
        return sum(one.disturbed for one in self.memories.values())

    def needs(self, buffers: Sequence[Buffer]) -> dict[str, int]:
        """What these buffers take of each memory, mapped files aside."""
        needs = {HOST: process_bytes(0, uses_devices=len(buffers) > 1)}
        for one in buffers:
            size = one.kv_bytes + one.compute_bytes + one.weights_bytes
            if one.device == HOST:
                size -= one.weights_bytes - one.repacked_bytes
            elif one.device in self.integrated:
                needs[HOST] += size
            needs[one.device] = needs.get(one.device, 0) + size
        return needs


class MemoryRunner:
    """A runner that takes memory and does nothing else."""

    def __init__(
        self, machine: MemoryMachine, spec: "MemoryModel", *, disturbances: int = 0
    ) -> None:
        """`disturbances`: those that there were when its devices were listed."""
        self.machine, self.spec = machine, spec
        self.died: asyncio.Future[ExitInfo] = asyncio.get_running_loop().create_future()
        self.pid: int | None = None
        self.caveat = ""
        self.loaded: Loaded | None = None
        self._disturbed = disturbances

    async def load(
        self,
        files: ModelFiles,
        options: LoadOptions,
        *,
        operation: LoadOperation = LoadOperation.COMMIT,
        layout: Layout | None = None,
        proof: Sequence[Buffer] = (),
        unread: object = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> Loaded:
        machine = self.machine
        if operation is LoadOperation.ALLOC:
            await asyncio.sleep(0.01)
            for one in proof:
                self._require(one.device, one.weights_bytes + one.kv_bytes + one.compute_bytes)
            return self._answer(options, proof)
        assert layout is not None
        self._check(layout)
        fitted = self.spec.fitted(options, layout)
        if operation is LoadOperation.FIT:
            await asyncio.sleep(0.01)
            return self._answer(options, fitted)
        buffers = as_loaded(self.spec.gguf, layout, fitted, is_mapped=True)
        await asyncio.sleep(0.1)
        needs = machine.needs(buffers)
        mapped_bytes = sum(b.weights_bytes - b.repacked_bytes for b in buffers if b.device == HOST)
        for name, size in needs.items():
            pages = mapped_bytes + sum(machine.mapped.values()) if name == HOST else 0
            self._require(name, size + pages)
        for name, size in needs.items():
            machine.memories[name].taken[self] = size
        machine.mapped[self] = mapped_bytes
        await asyncio.sleep(0.5)
        machine.trace.append(f"loaded {self.spec.name} {layout.shares}")
        self.loaded = self._answer(options, buffers)
        return self.loaded

    async def close(self) -> None:
        await asyncio.sleep(0.02)
        self.end(ExitReason.CLOSED)

    def end(self, reason: ExitReason) -> None:
        for memory in self.machine.memories.values():
            memory.taken.pop(self, None)
        self.machine.mapped.pop(self, None)
        if not self.died.done():
            self.died.set_result(ExitInfo(reason=reason, description="ended"))

    def _check(self, layout: Layout) -> None:
        """Every layer lies in one place, and every place is one that there is."""
        names = [share.device for share in layout.shares]
        known = [name for name in self.machine.memories if name in names]
        assert names == known, names
        assert all(share.layers > 0 for share in layout.shares)
        assert layout.layers <= len(self.spec.layers) + 1
        for name in names:
            if not self.machine.memories[name].is_there:
                raise DeviceLost(f"{name} is gone", model=self.spec.name)

    def _require(self, name: str, size_bytes: int) -> None:
        """Room for that much, or the error; one that nobody could foresee is excused."""
        machine = self.machine
        memory = machine.memories[name]
        if not memory.is_there:
            raise DeviceLost(f"{name} is gone", model=self.spec.name)
        if machine.refusals:
            machine.refusals -= 1
            memory.disturbed += 1
            raise OutOfMemory(f"{name} refuses", device=name)
        if size_bytes > memory.free_bytes:
            if self._disturbed == machine.disturbances():
                machine.unexcused.append(
                    f"{self.spec.name} wants {size_bytes} of {memory.free_bytes} of {name}"
                )
            raise OutOfMemory(f"{name} is full", device=name)

    def _answer(self, options: LoadOptions, buffers: Sequence[Buffer]) -> Loaded:
        return loaded(buffers, context_tokens=options.context_tokens)


def loaded(buffers: Sequence[Buffer], *, context_tokens: int, vocabulary_tokens: int = 0) -> Loaded:
    """What a runner says of a load that took these buffers."""
    return Loaded(
        id=1,
        buffers=list(buffers),
        context_tokens=context_tokens,
        trained_context_tokens=8192,
        vocabulary_tokens=vocabulary_tokens,
        embedding_length=64,
        has_encoder_only=False,
        adds_bos=False,
        adds_eos=False,
        bos_token="",
        eos_token="",
        threads=1,
        load_ns=1,
    )


@dataclass(frozen=True, kw_only=True)
class MemoryModel(FileSpec):
    """A model of layers that are numbers only, of which a load takes other sizes than are said."""

    layers: tuple[int, ...]
    over: float
    """Times the header's compute buffers are what a step really takes."""

    def fitted(self, options: LoadOptions, layout: Layout) -> list[Buffer]:
        """What a dry run says."""
        cost = model_cost(self.gguf, options)
        compute_bytes = int(cost.compute_bytes * self.over)
        first = len(cost.layers) + 1 - layout.layers
        units = [(one.weights_bytes, one.kv_bytes) for one in cost.layers]
        units.append((cost.output_bytes, 0))
        buffers, begin = [], first
        for share in layout.shares:
            part = units[begin : begin + share.layers]
            begin += share.layers
            buffers.append(
                Buffer(
                    device=share.device,
                    weights_bytes=sum(weights for weights, _ in part),
                    kv_bytes=sum(kv for _, kv in part),
                    compute_bytes=compute_bytes,
                )
            )
        rest = units[:first]
        host = Buffer(
            device=HOST,
            weights_bytes=self.gguf.tensors[0].size_bytes + sum(weights for weights, _ in rest),
            kv_bytes=sum(kv for _, kv in rest),
            compute_bytes=compute_bytes,
        )
        return [host, *buffers]


def memory_model(name: str, layers: Sequence[int], *, over: float, kv_heads: int) -> MemoryModel:
    """A model with layers of so many bytes, and inputs and outputs of one MiB each."""
    sizes = {
        "token_embd.weight": MIB,
        **{f"blk.{number}.ffn.weight": size for number, size in enumerate(layers)},
        "output.weight": MIB,
    }
    tensors, offset = [], 0
    for tensor, size in sizes.items():
        shape, kind = (size,), "I8"
        tensors.append(
            Tensor(name=tensor, shape=shape, type_name=kind, offset_bytes=offset, size_bytes=size)
        )
        offset += size
    values: dict[str, Any] = {
        "block_count": len(layers),
        "embedding_length": 64,
        "context_length": 8192,
        "feed_forward_length": 256,
        "attention.head_count": 8,
        "attention.head_count_kv": kv_heads,
        "attention.key_length": 64,
        "attention.value_length": 64,
    }
    header = GgufHeader(
        path=Path(name),
        name=name,
        version=3,
        metadata={"general.architecture": "x", **{f"x.{key}": v for key, v in values.items()}},
        tensors=tuple(tensors),
        data_offset_bytes=0,
        size_bytes=offset,
    )
    return MemoryModel(
        name=name,
        digest=f"sha256:{name}",
        model_key=name,
        files=ModelFiles(weights_path=name),
        gguf=header,
        layers=tuple(layers),
        over=over,
    )


class _AtOnce(ThreadPoolExecutor):
    """Work of threads, done by who asks for it: the order of events is the program's alone."""

    def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


class _Jumping(selectors.SelectSelector):
    """Waits for nothing: the time until the next timer is over at once."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found:
            assert timeout is not None, "everybody waits for somebody else"
            self.now_s += max(0.0, timeout)
        return found


class TimelessLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer when there is nothing else to do."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self.set_default_executor(_AtOnce(max_workers=1))

    def time(self) -> float:
        return self._jumping.now_s

    def rewind(self) -> None:
        """It is the beginning again."""
        self._jumping.now_s = 0.0


def random_machine(random_: random.Random) -> MemoryMachine:
    """Up to four devices of some sizes, one of them perhaps integrated."""
    memories = {HOST: Memory(total_bytes=random_.choice([300, 1000, 4000]) * MIB)}
    for number in range(random_.randint(0, 4)):
        memories[f"GPU{number}"] = Memory(total_bytes=random_.choice([20, 60, 150, 400]) * MIB)
    integrated: frozenset[str] = frozenset()
    if len(memories) == 2 and random_.random() < 0.5:
        integrated = frozenset({"GPU0"})
    return MemoryMachine(memories, integrated=integrated)
