"""The daemon's side of the template workers: starts them, gives them jobs, kills late ones.

A worker is started when all others are busy, and all end after a minute without a job. Used from
one event loop; whose job is next, `turns` decides.
"""

import asyncio
import signal
import socket
import sys
from hashlib import sha256
from typing import Final

from olmkit.engine.chat.templates.renderlimits import (
    DEADLINE_S,
    IDLE_S,
    MAX_WORKERS,
    PATIENCE,
    START_TIMEOUT_S,
)
from olmkit.engine.chat.templates.renderprotocol import (
    Inspected,
    InspectGo,
    Job,
    JobFailed,
    Ready,
    Rendered,
    Reply,
    decode_reply,
)
from olmkit.engine.chat.templates.turns import FairTurns
from olmkit.engine.childenv import child_environment
from olmkit.engine.confinement.levels import Confinement
from olmkit.engine.errors import InvalidRequest, TemplateFailed, TemplateRefused, TemplateTooSlow
from olmkit.engine.framing import FrameBuffer, ProtocolViolation, encode_frame
from olmkit.engine.oomkills import offer

_GONE: Final = (ConnectionError, ProtocolViolation)
_READ_BYTES: Final = 1 << 16


class _Worker:
    """One running worker process."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._frames = FrameBuffer()

    @classmethod
    async def start(cls, deadline_s: float, confinement: Confinement) -> "_Worker":
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-P", "-m", "olmkit.engine.chat.templates.renderworker"),
                    *("--fd", str(theirs.fileno()), "--deadline", str(deadline_s)),
                    *("--confine", confinement.value),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=child_environment(),
                )
            offer(process.pid)
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        worker = cls(process, reader, writer)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                greeting = await worker.receive()
        except BaseException as error:
            await worker.kill()
            if isinstance(error, (*_GONE, TimeoutError)):
                raise TemplateFailed("the template worker does not start") from error
            raise
        if not isinstance(greeting, Ready):
            await worker.kill()
            raise TemplateFailed("the template worker does not start")
        return worker

    async def receive(self) -> Reply:
        payloads: list[bytes] = []
        while not payloads:
            data = await self._reader.read(_READ_BYTES)
            if not data:
                raise ConnectionError("the worker has closed its end")
            payloads = self._frames.take(data)
        return decode_reply(payloads[-1])

    async def exchange(self, frame: bytes) -> Reply:
        self._writer.write(frame)
        await self._writer.drain()
        return await self.receive()

    async def close(self) -> int:
        """Let the worker end by itself, which sees EOF; its exit status."""
        self._writer.close()
        try:
            async with asyncio.timeout(1):
                return await self._process.wait()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        self._writer.close()
        if self._process.returncode is None:
            self._process.kill()
        return await self._process.wait()


class TemplateProcess:
    """Runs template jobs in child processes, one job an owner at a time."""

    def __init__(
        self,
        *,
        deadline_s: float = DEADLINE_S,
        idle_s: float = IDLE_S,
        max_workers: int = MAX_WORKERS,
        confinement: Confinement = Confinement.FULL,
    ) -> None:
        self._confinement = confinement
        self._deadline_s = deadline_s
        self._idle_s = idle_s
        self._turns = FairTurns(max_workers)
        self._resting: list[_Worker] = []
        """The one used last at the end."""
        self._busy = 0
        self._idle: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[int]] = set()

    async def run(self, job: Job, *, owner: str = "") -> str:
        """What the job's template writes.

        `owner`: the model whose template it is; jobs of one wait for each other, those of others
        are not kept waiting.

        Raises:
            TemplateFailed: the template is broken, or went over a limit.
            InvalidRequest: the job's data cannot be handed over.
        """
        reply = await self._answer(job, owner)
        if isinstance(reply, Rendered):
            return reply.text
        raise _unexpected(reply)

    async def inspect(self, template: str) -> Inspected:
        """What a Go template takes account of.

        Raises:
            TemplateFailed: it does not parse.
        """
        owner = sha256(template.encode("utf-8", "replace")).hexdigest()
        reply = await self._answer(InspectGo(template=template), owner)
        if isinstance(reply, Inspected):
            return reply
        raise _unexpected(reply)

    async def _answer(self, job: Job, owner: str) -> Reply:
        try:
            frame = encode_frame(job)
        except ProtocolViolation as error:
            raise InvalidRequest(f"the messages cannot be rendered: {error}") from error
        async with self._turns.turn(owner):
            if self._idle is not None:
                self._idle.cancel()
            self._busy += 1
            try:
                return await self._exchange(frame)
            finally:
                self._busy -= 1
                self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._retire)

    async def _exchange(self, frame: bytes) -> Reply:
        if self._resting:
            worker = self._resting.pop()
        else:
            worker = await _Worker.start(self._deadline_s, self._confinement)
        try:
            async with asyncio.timeout(PATIENCE * self._deadline_s):
                reply = await worker.exchange(frame)
        except TimeoutError as error:
            await worker.kill()
            raise self._too_slow() from error
        except _GONE as error:
            if await worker.close() == -signal.SIGPROF:
                raise self._too_slow() from error
            raise TemplateFailed("the chat template broke its worker process") from error
        except BaseException:  # cancelled: the worker is in the middle of a job nobody wants
            await worker.kill()
            raise
        self._resting.append(worker)
        return reply

    def _too_slow(self) -> TemplateTooSlow:
        return TemplateTooSlow(f"the chat template takes longer than {self._deadline_s:g} s")

    def _retire(self) -> None:
        if not self._busy:
            while self._resting:
                task = asyncio.ensure_future(self._resting.pop().close())
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End the workers that rest. Those at work end with their job's deadline or caller."""
        if self._idle is not None:
            self._idle.cancel()
        self._retire()
        while self._resting:
            await self._resting.pop().close()
        await asyncio.gather(*self._closing)


def _unexpected(reply: Reply) -> TemplateFailed:
    if isinstance(reply, JobFailed):
        return (TemplateRefused if reply.is_refusal else TemplateFailed)(reply.message)
    return TemplateFailed("the template worker answers what nobody asked")
