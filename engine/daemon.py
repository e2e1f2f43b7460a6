"""The daemon's life: bind, announce, serve, and end in an order that loses nothing.

    bind → announce → runners and API → serve … signal → stop accepting → let answers end
    → unload what is left → un-announce → exit 0

The address is bound before anything else, so that of two daemons one fails at once. A second
signal ends the process by that signal on the spot; runners see EOF and end with it.
"""

import asyncio
import logging
import math
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import uvicorn
import uvloop

from olmkit.engine import logs
from olmkit.engine.chat.templates.renderprocess import TemplateProcess
from olmkit.engine.listening import announced, listen, tell_supervisor
from olmkit.engine.safemode.safeguard import Safeguard
from olmkit.engine.scheduling.pool import Pool
from olmkit.engine.services import Services
from olmkit.engine.settings import Settings
from olmkit.engine.supervision.steadyrunner import SteadyRunner
from olmkit.registry.store.store import Store

DRAIN_S: Final = 3.0
"""Answers under way at a shutdown may end by themselves for so long; then their models are
unloaded, and after as long again whatever still runs (a download, to be resumed) is cancelled."""

MakeApp = Callable[[Services], Any]
"""Makes the ASGI application."""

log = logging.getLogger(__name__)


def run(settings: Settings, *, make_app: MakeApp | None = None, drain_s: float = DRAIN_S) -> None:
    """Serve at the settings' address until SIGTERM or SIGINT; returns after a clean end.

    `make_app`: the API, if not olm's own. `drain_s`: see `DRAIN_S`.

    Raises:
        AddressInUse, DaemonError: nothing was served.
    """
    logs.configure(settings.log_level)
    listener = listen(settings.address)
    with listener:
        port = listener.getsockname()[1]
        settings = replace(settings, address=replace(settings.address, port=port))
        with announced(settings.home, settings.address):
            for warning in settings.warnings:
                log.warning(warning)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_serve(settings, listener, make_app or _own_app, drain_s))
    log.info("ended")


def _own_app(services: Services) -> Any:
    from olmkit.engine.api.application import create_app

    return create_app(services)


async def _serve(
    settings: Settings, listener: socket.socket, make_app: MakeApp, drain_s: float
) -> None:
    stop = asyncio.Event()
    safeguard = Safeguard.of(settings)

    async def start_runner(model: str) -> SteadyRunner:
        return await SteadyRunner.start(model, safeguard)

    services = Services(
        settings=settings,
        store=Store(settings.models, keeps_replaced=settings.no_prune),
        pool=Pool(settings, start_runner=start_runner),
        safeguard=safeguard,
        templates=TemplateProcess(),
        started_at=datetime.now().astimezone(),
    )
    services.rename_old_blobs()
    try:
        with _signals(stop, settings):
            server = _Server(_config(make_app(services), drain_s), services, stop)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            tell_supervisor("STOPPING=1")
            await asyncio.wait((serving,), timeout=drain_s)
            stopping.cancel()
            await services.pool.close()
            await serving
    finally:
        await services.pool.close()
        await services.templates.close()


def _config(app: Any, drain_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a header must not make a stranger look like a local peer
        timeout_graceful_shutdown=math.ceil(2 * drain_s),
    )


@contextmanager
def _signals(stop: asyncio.Event, settings: Settings) -> Iterator[None]:
    """The first SIGTERM or SIGINT sets `stop`, the second one ends the process by itself."""
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            log.warning("ending at once", extra={"signal": number.name})
            with suppress(OSError):
                settings.daemon_file.unlink()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        log.info("shutting down", extra={"signal": number.name})
        stop.set()

    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


class _Server(uvicorn.Server):
    """Ends when `stop` is set. The daemon handles signals, and nothing polls."""

    def __init__(self, config: uvicorn.Config, services: Services, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._services = services
        self._stop = stop

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Wait for the order to end; meanwhile the `Date` header is renewed every second."""
        address = self._services.settings.address.netloc
        log.info("listening", extra={"address": address, "pid": os.getpid()})
        tell_supervisor("READY=1")
        self._services.start_cleaning()
        self._services.check_engine()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._stop.wait()
                self.should_exit = True
