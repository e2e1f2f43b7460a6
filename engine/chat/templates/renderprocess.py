"""The daemon's side of the template worker: starts it, gives it jobs, kills it when it is late.

The worker is started with the first job and ends after a minute without one. Used from one
event loop; jobs queue.
"""

import asyncio
import socket
import sys
from typing import Final

from olmkit.engine.chat.templates.renderlimits import DEADLINE_S, IDLE_S, START_TIMEOUT_S
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
from olmkit.engine.errors import InvalidRequest, TemplateFailed, TemplateRefused
from olmkit.engine.framing import FRAME_HEADER, ProtocolViolation, encode_frame, payload_length
from olmkit.engine.oomkills import offer

_GONE: Final = (asyncio.IncompleteReadError, ConnectionError, ProtocolViolation)


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

    @classmethod
    async def start(cls, deadline_s: float) -> "_Worker":
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-P", "-m", "olmkit.engine.chat.templates.renderworker"),
                    *("--fd", str(theirs.fileno()), "--deadline", str(deadline_s)),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
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
        header = await self._reader.readexactly(FRAME_HEADER.size)
        return decode_reply(await self._reader.readexactly(payload_length(header)))

    async def exchange(self, frame: bytes) -> Reply:
        self._writer.write(frame)
        await self._writer.drain()
        return await self.receive()

    async def close(self) -> None:
        """Let the worker end by itself: it sees EOF."""
        self._writer.close()
        try:
            async with asyncio.timeout(1):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        self._writer.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class TemplateProcess:
    """Runs template jobs in a child process."""

    def __init__(self, *, deadline_s: float = DEADLINE_S, idle_s: float = IDLE_S) -> None:
        self._deadline_s = deadline_s
        self._idle_s = idle_s
        self._turn = asyncio.Lock()
        self._worker: _Worker | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def run(self, job: Job) -> str:
        """What the job's template writes.

        Raises:
            TemplateFailed: the template is broken, or went over a limit.
            InvalidRequest: the job's data cannot be handed over.
        """
        reply = await self._answer(job)
        if isinstance(reply, Rendered):
            return reply.text
        raise _unexpected(reply)

    async def inspect(self, template: str) -> Inspected:
        """What a Go template takes account of.

        Raises:
            TemplateFailed: it does not parse.
        """
        reply = await self._answer(InspectGo(template=template))
        if isinstance(reply, Inspected):
            return reply
        raise _unexpected(reply)

    async def _answer(self, job: Job) -> Reply:
        try:
            frame = encode_frame(job)
        except ProtocolViolation as error:
            raise InvalidRequest(f"the messages cannot be rendered: {error}") from error
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            reply = await self._exchange(frame)
            self._idle = asyncio.get_running_loop().call_later(self._idle_s, self._retire)
        return reply

    async def _exchange(self, frame: bytes) -> Reply:
        if self._worker is None:
            self._worker = await _Worker.start(self._deadline_s)
        worker = self._worker
        try:
            async with asyncio.timeout(self._deadline_s):
                return await worker.exchange(frame)
        except TimeoutError as error:
            await self._discard(worker)
            raise TemplateFailed(
                f"the chat template takes longer than {self._deadline_s:g} s"
            ) from error
        except _GONE as error:
            await self._discard(worker)
            raise TemplateFailed("the chat template broke its worker process") from error
        except BaseException:  # cancelled: the worker is in the middle of a job nobody wants
            await self._discard(worker)
            raise

    async def _discard(self, worker: _Worker) -> None:
        self._worker = None
        await worker.kill()

    def _retire(self) -> None:
        if self._worker is not None and not self._turn.locked():
            task = asyncio.ensure_future(self._worker.close())
            self._worker = None
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End the worker, after the job that it is doing."""
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            if self._worker is not None:
                await self._worker.close()
                self._worker = None
        await asyncio.gather(*self._closing)


def _unexpected(reply: Reply) -> TemplateFailed:
    if isinstance(reply, JobFailed):
        return (TemplateRefused if reply.is_refusal else TemplateFailed)(reply.message)
    return TemplateFailed("the template worker answers what nobody asked")
