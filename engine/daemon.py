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
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import uvicorn
import uvloop

from olmkit.engine import logs
from olmkit.engine.access.keyfile import KeyFile
from olmkit.engine.access.origins import Origins
from olmkit.engine.addresses.certificates import ServedCertificate, served_certificate
from olmkit.engine.addresses.listening import (
    BACKLOG,
    announced,
    bound_address,
    listening,
    tell_supervisor,
)
from olmkit.engine.addresses.localsocket import listen_locally, socket_path
from olmkit.engine.addresses.tlsdoor import TlsDoor
from olmkit.engine.api.connections import HEAD_S, ConnectionLimits, bounded
from olmkit.engine.chat.templates.renderprocess import TemplateProcess
from olmkit.engine.confinement.levels import Confinement
from olmkit.engine.devices.enumeration import Enumerator, Found
from olmkit.engine.errors import DaemonError
from olmkit.engine.planning.available import has_accelerator
from olmkit.engine.planning.measuredcosts import MeasuredCosts
from olmkit.engine.safemode.safeguard import Safeguard
from olmkit.engine.scheduling.pool import Pool
from olmkit.engine.services import Services
from olmkit.engine.settings import Settings
from olmkit.engine.supervision.steadyrunner import SteadyRunner
from olmkit.engine.telemetry.eventlog import EventLog
from olmkit.engine.telemetry.metrics import Metrics
from olmkit.engine.telemetry.tracing import start_tracing
from olmkit.registry.store.store import Store

DRAIN_S: Final = 3.0
"""Answers under way at a shutdown may end by themselves for so long; then their models are
unloaded, and after as long again whatever still runs (a download, to be resumed) is cancelled."""

END_S: Final = 9.5
"""From the signal until the process has gone, whatever is still at work in it."""

MakeApp = Callable[[Services], Any]
"""Makes the ASGI application."""

log = logging.getLogger(__name__)


def run(settings: Settings, *, make_app: MakeApp | None = None, drain_s: float = DRAIN_S) -> None:
    """Serve at the settings' address until SIGTERM, SIGINT or SIGHUP; returns after a clean end.

    `make_app`: the API, if not olm's own. `drain_s`: see `DRAIN_S`.

    Raises:
        AddressInUse, DaemonError, InvalidRequest: nothing was served.
    """
    os.umask(os.umask(0o022) | 0o022)  # nothing that the daemon makes is for others to write
    logs.configure(settings.log_level, rotated=settings.log_file)
    Origins(settings.origins)  # an entry that is none ends the start
    with listening(settings) as listener:
        settings = replace(settings, address=bound_address(settings.address, listener))
        _require_keys(settings)
        certificate = served_certificate(settings)
        with announced(settings.home, settings.address):
            for warning in settings.warnings:
                log.warning(warning)
            with (
                _own_socket(settings) as own,
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
            ):
                ways = _WaysIn(listener=listener, own=own, certificate=certificate)
                runner.run(_serve(settings, ways, make_app or _own_app, drain_s))
    log.info("ended")


@dataclass(frozen=True, slots=True, kw_only=True)
class _WaysIn:
    """The sockets that the daemon listens at."""

    listener: socket.socket
    own: list[socket.socket]
    """For this user's own programs, at most one; never with TLS."""
    certificate: ServedCertificate | None
    """None: the listener is for plain HTTP."""


def _require_keys(settings: Settings) -> None:
    """Refuse to be open to other machines unless that was asked for. Raises: DaemonError."""
    where = settings.address.netloc
    if settings.is_exposed and not KeyFile(settings.home).read():
        raise DaemonError(
            f"other machines reach {where}, and there is no key to ask them for",
            hint="make one with `olm key create NAME`, or say --insecure or OLM_INSECURE=1",
        )
    if settings.is_insecure and not settings.address.is_loopback:
        log.warning(
            "whoever reaches the address may use, pull and delete models", extra={"address": where}
        )


@contextmanager
def _own_socket(settings: Settings) -> Iterator[list[socket.socket]]:
    """The Unix socket for this user's own programs; none where it cannot be made."""
    path = socket_path(settings.home, settings.address)
    if path is None:
        yield []
        return
    try:
        listener = listen_locally(path, BACKLOG)
    except OSError as error:
        log.warning("no Unix socket", extra={"path": path, "reason": error.strerror})
        yield []
        return
    with listener:
        try:
            yield [listener]
        finally:
            with suppress(OSError):
                path.unlink()


def _own_app(services: Services) -> Any:
    from olmkit.engine.api.application import create_app

    return create_app(services)


async def _serve(settings: Settings, ways: _WaysIn, make_app: MakeApp, drain_s: float) -> None:
    stop = asyncio.Event()
    safeguard = Safeguard.of(settings)

    events = EventLog()

    async def start_runner(model: str) -> SteadyRunner:
        return await SteadyRunner.start(model, safeguard, events)

    enumerator = Enumerator(
        servers=settings.rpc_servers,
        environ=lambda: safeguard.environment(safeguard.known().mode),
    )

    def list_devices(used: frozenset[str]) -> Awaitable[Found] | None:
        """The devices, asked for whenever a model is placed: drivers come late, cards go."""
        has_card = has_accelerator() and safeguard.libraries.has_device_backend
        return enumerator.devices(used=used) if has_card or settings.rpc_servers else None

    metrics = Metrics()
    services = Services(
        settings=settings,
        store=Store(
            settings.models,
            keeps_replaced=settings.no_prune,
            kept_free_bytes=settings.min_free_bytes,
        ),
        pool=Pool(
            settings,
            start_runner=start_runner,
            metrics=metrics,
            events=events,
            list_devices=list_devices,
            costs=MeasuredCosts(settings.measured_costs_file),
            engine=lambda: safeguard.engine,
        ),
        safeguard=safeguard,
        templates=TemplateProcess(
            confinement=Confinement.FULL if settings.confines else Confinement.OFF
        ),
        started_at=datetime.now().astimezone(),
        metrics=metrics,
        events=events,
        tracing=start_tracing(settings),
    )
    services.rename_old_blobs()
    try:
        with _signals(stop, settings):
            config = _config(make_app(services), drain_s, settings)
            server = _Server(config, services, stop, ways)
            serving = asyncio.create_task(server.serve(sockets=[ways.listener, *ways.own]))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            tell_supervisor("STOPPING=1")
            events.close()
            await asyncio.wait((serving,), timeout=drain_s)
            stopping.cancel()
            await services.pool.close()
            await serving
    finally:
        await services.pool.close()
        await services.templates.close()
        if services.tracing is not None:
            await asyncio.to_thread(services.tracing.close)


def _limits(settings: Settings) -> ConnectionLimits:
    stall_s = settings.stall_timeout_s
    return ConnectionLimits(
        stall_s=stall_s,
        head_s=min(HEAD_S, stall_s),
        connections=settings.max_connections,
    )


def _config(app: Any, drain_s: float, settings: Settings) -> uvicorn.Config:
    private = socket_path(settings.home, settings.address)
    return uvicorn.Config(
        app,
        http=bounded(_limits(settings), private_door=private),  # type: ignore[arg-type] # anything that makes a protocol
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a header must not make a stranger look like a local peer
        timeout_graceful_shutdown=math.ceil(2 * drain_s),
    )


def _end_for_sure(settings: Settings) -> None:
    """End the process when its shutdown takes too long: something in it does not end.

    Runners and workers see EOF and end too; downloads have their journals.
    """
    time.sleep(END_S)
    log.warning("ended without waiting for all work any longer")
    with suppress(OSError):
        settings.daemon_file.unlink()
    os._exit(0)


@contextmanager
def _signals(stop: asyncio.Event, settings: Settings) -> Iterator[None]:
    """The first signal to end sets `stop`, the second one ends the process by itself."""
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
        threading.Thread(target=_end_for_sure, args=(settings,), daemon=True).start()

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup(1) has it
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


class _Server(uvicorn.Server):
    """Ends when `stop` is set. The daemon handles signals, and nothing polls."""

    def __init__(
        self, config: uvicorn.Config, services: Services, stop: asyncio.Event, ways: _WaysIn
    ) -> None:
        super().__init__(config)
        self._services = services
        self._stop = stop
        self._ways = ways
        self._door: TlsDoor | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections; uvicorn's own TLS would be for all sockets or none."""
        if self._ways.certificate is None:
            await super().startup(sockets)
            return
        await super().startup(self._ways.own)
        self._door = TlsDoor(
            self._ways.listener,
            self._ways.certificate,
            self._make_protocol,
            greeting_s=_limits(self._services.settings).head_s,
        )
        self._door.open()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and let answers end."""
        if self._door is not None:
            self._door.close()
        await super().shutdown(sockets)

    def _make_protocol(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Wait for the order to end; meanwhile the `Date` header is renewed every second."""
        address = self._services.settings.address.url
        log.info("listening", extra={"address": address, "pid": os.getpid()})
        tell_supervisor("READY=1")
        self._services.start_cleaning()
        self._services.check_engine()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._stop.wait()
                self.should_exit = True
