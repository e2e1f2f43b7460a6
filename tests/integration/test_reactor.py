"""Callbacks in one thread for what happens in others and on sockets."""

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from olmkit.registry.download.reactor import Reactor, Workers

LONG_S = 3600.0
"""Whoever waits so long hangs."""

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
def reactor() -> Iterator[Reactor]:
    found = Reactor()
    yield found
    found.close()


def must_not_fail(error: Exception) -> None:
    raise error


def wait_until_done(reactor: Reactor, done: list[object], count: int = 1) -> None:
    reactor.wait_for(lambda: len(done) >= count, LONG_S)
    assert len(done) == count


def test_what_another_thread_posts_ends_the_wait(reactor: Reactor) -> None:
    done: list[object] = []
    threading.Timer(
        0.1, lambda: reactor.post(lambda: done.append(threading.current_thread()))
    ).start()
    wait_until_done(reactor, done)
    assert done == [threading.current_thread()]


def test_ten_thousand_posts_of_ten_threads_all_arrive(reactor: Reactor) -> None:
    done: list[object] = []

    def post() -> None:
        for _ in range(1000):
            reactor.post(lambda: done.append(None))

    threads = [threading.Thread(target=post) for _ in range(10)]
    for thread in threads:
        thread.start()
    wait_until_done(reactor, done, 10_000)
    for thread in threads:
        thread.join()


def test_a_descriptor_is_told_of_until_it_is_no_longer_watched(reactor: Reactor) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done: list[object] = []
        reactor.watch(ours.fileno(), lambda: done.append(ours.recv(1)))
        theirs.sendall(b"ab")
        wait_until_done(reactor, done, 2)
        reactor.unwatch(ours.fileno())
        theirs.sendall(b"c")
        reactor.wait(0.05)
        assert done == [b"a", b"b"]


def test_jobs_run_side_by_side_and_tell_here(reactor: Reactor) -> None:
    workers = Workers(reactor, "test", 3)
    together = threading.Barrier(3)
    done: list[object] = []
    for _ in range(9):
        workers.submit(lambda: together.wait(LONG_S), lambda _: done.append(None), must_not_fail)
    assert workers.pending == 9
    wait_until_done(reactor, done, 9)
    assert workers.pending == 0
    workers.end()
    workers.join(time.monotonic() + LONG_S)
    assert "test" not in [thread.name for thread in threading.enumerate()]


def test_a_job_that_fails_tells_why(reactor: Reactor) -> None:
    workers = Workers(reactor, "test", 1)
    done: list[object] = []
    workers.submit(lambda: os.stat("/nowhere"), lambda _: pytest.fail(), done.append)
    wait_until_done(reactor, done)
    assert isinstance(done[0], FileNotFoundError)
    workers.end()


def test_a_job_that_ends_late_finds_nobody_and_says_nothing() -> None:
    reactor = Reactor()
    workers, go_on = Workers(reactor, "test", 1), threading.Event()
    workers.submit(go_on.wait, lambda _: pytest.fail(), must_not_fail)
    workers.end()
    workers.join(time.monotonic() + 0.1)
    assert "test" in [thread.name for thread in threading.enumerate()]
    reactor.close()
    go_on.set()
    workers.join(time.monotonic() + LONG_S)
    assert "test" not in [thread.name for thread in threading.enumerate()]
