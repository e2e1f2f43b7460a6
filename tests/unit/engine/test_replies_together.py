"""What a runner says at once is passed on at once, over a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from olmkit.engine.errors import RunnerFailed
from olmkit.engine.framing import encode_frame
from olmkit.engine.runner import protocol as p
from olmkit.engine.supervision.multiplex import Multiplex
from olmkit.registry.errors import Cancelled


class Runner:
    """The other end of a stream."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer

    def say(self, *replies: p.Reply) -> None:
        """Send replies as one frame."""
        self._peer.sendall(encode_frame(p.StepOutput(replies=list(replies))))


async def all_came(stream: Multiplex, runner: Runner) -> None:
    """Return when all is there that the runner said so far."""
    last = asyncio.ensure_future(stream.call(p.Detokenize(id=stream.next_id(), tokens=[])))
    await asyncio.sleep(0)
    runner.say(p.Text(id=stream.next_id() - 1, text=""))
    await last


@asynccontextmanager
async def connected(*, unread_limit: int = 100) -> AsyncIterator[tuple[Multiplex, Runner]]:
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    with theirs:
        _, stream = await loop.create_unix_connection(
            lambda: Multiplex(unread_limit=unread_limit), sock=ours
        )
        try:
            yield stream, Runner(theirs)
        finally:
            stream.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(10):
            await test()

    asyncio.run(limited())


def piece(request: int, text: str) -> p.Piece:
    return p.Piece(id=request, text=text, tokens=[1])


def failure(request: int) -> p.Failed:
    return p.Failed(id=request, kind=p.FailureKind.INTERNAL, message="it failed")


def refuse(reply: p.Reply) -> p.Reply:
    assert isinstance(reply, p.Failed)
    raise RunnerFailed(reply.message, model="m")


def texts(replies: list[p.Reply]) -> list[str]:
    return [reply.text for reply in replies if isinstance(reply, p.Piece)]


def test_each_request_gets_what_a_frame_has_for_it_as_one() -> None:
    async def test() -> None:
        async with connected() as (stream, runner):
            first, second = (stream.stream(p.Completion(id=id_, prompt="")) for id_ in (1, 2))
            async with aclosing(first), aclosing(second):
                both = [asyncio.ensure_future(anext(one)) for one in (first, second)]
                await asyncio.sleep(0)
                runner.say(piece(1, "a"), piece(2, "b"), piece(1, "c"), piece(3, "nobody's"))
                assert [texts(found) for found in await asyncio.gather(*both)] == [
                    ["a", "c"],
                    ["b"],
                ]

    run(test)


def test_what_came_before_a_failure_is_told_before_it() -> None:
    async def test() -> None:
        async with connected() as (stream, runner):
            replies = stream.stream(p.Completion(id=stream.next_id(), prompt=""), check=refuse)
            async with aclosing(replies):
                found = asyncio.ensure_future(anext(replies))
                await asyncio.sleep(0)
                runner.say(piece(1, "a"), piece(1, "b"), failure(1))
                assert texts(await found) == ["a", "b"]
                with pytest.raises(RunnerFailed, match="it failed"):
                    await anext(replies)

    run(test)


def test_what_waited_unread_comes_as_one_until_it_is_too_much() -> None:
    async def test() -> None:
        async with connected(unread_limit=3) as (stream, runner):
            replies = stream.stream(p.Completion(id=stream.next_id(), prompt=""))
            async with aclosing(replies):
                found = asyncio.ensure_future(anext(replies))
                await asyncio.sleep(0)
                runner.say(piece(1, "a"))
                assert texts(await found) == ["a"]
                for text in "bcd":
                    runner.say(piece(1, text))
                await all_came(stream, runner)
                assert texts(await anext(replies)) == ["b", "c", "d"]
                for text in "efgh":
                    runner.say(piece(1, text))
                await all_came(stream, runner)
                assert texts(await anext(replies)) == ["e", "f", "g", "h"]
                with pytest.raises(Cancelled, match="not read"):
                    await anext(replies)

    run(test)
