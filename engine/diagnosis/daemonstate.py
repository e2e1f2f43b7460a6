"""Whether a daemon answers at the address that the settings name, asked for a bounded time."""

import threading
from dataclasses import dataclass

from olmkit.engine.client import connect
from olmkit.engine.client.launch import find_daemon, port_holder
from olmkit.engine.client.replies import served_version
from olmkit.engine.errors import AddressInUse, DaemonError, DaemonNotRunning
from olmkit.engine.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model in memory."""

    name: str
    size_bytes: int
    card_bytes: int
    safe_mode: str
    """What the engine does without for it, and why; empty: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonState:
    """What answers at the daemon's address, or why nothing does."""

    address: str
    is_local: bool
    version: str = ""
    """Version of the daemon that answers, olm's own where it is olm; empty: none answers."""
    pid: int | None = None
    loaded: tuple[LoadedModel, ...] = ()
    failure: str = ""
    """Reason that there is no answer, other than that no daemon runs; else empty."""
    holder: str = ""
    """Name of another program that has the port; empty: none has it."""
    stale_pid: int | None = None
    """Process id in a `daemon.json` whose daemon is gone; None: there is no such file."""


def ask_daemon(settings: Settings, *, timeout_s: float) -> DaemonState:
    """The state now, or after `timeout_s` that there was no answer."""
    address = settings.address
    nothing = DaemonState(address=address.connect_url, is_local=address.is_local)
    answers: list[DaemonState] = []
    # A name that does not resolve, or a host that swallows packets, would keep us for long.
    thread = threading.Thread(
        target=lambda: answers.append(_ask(settings, timeout_s)), name="ask", daemon=True
    )
    thread.start()
    thread.join(timeout_s)
    if answers:
        return answers[0]
    failure = f"did not answer within {timeout_s:.1f} s"
    return DaemonState(address=nothing.address, is_local=nothing.is_local, failure=failure)


def _ask(settings: Settings, timeout_s: float) -> DaemonState:
    address = settings.address
    client = connect(settings, start=False)
    try:
        version = served_version(client.request("GET", "/api/version", timeout_s=timeout_s))
        loaded = tuple(
            LoadedModel(
                name=model.name,
                size_bytes=model.size_bytes,
                card_bytes=model.vram_bytes,
                safe_mode=model.safe_mode,
            )
            for model in client.running()
        )
        return DaemonState(
            address=address.connect_url,
            is_local=address.is_local,
            version=version,
            pid=client.status().pid,
            loaded=loaded,
        )
    except DaemonNotRunning as error:
        failure = "" if address.is_local else str(error)
        return DaemonState(
            address=address.connect_url,
            is_local=address.is_local,
            failure=failure,
            stale_pid=_stale_pid(settings),
        )
    except AddressInUse as error:
        holder = error.holder or "another program"
        return DaemonState(address=address.connect_url, is_local=address.is_local, holder=holder)
    except DaemonError as error:
        return DaemonState(
            address=address.connect_url,
            is_local=address.is_local,
            failure=str(error),
            holder=(port_holder(address.port) or "") if address.is_local else "",
        )


def _stale_pid(settings: Settings) -> int | None:
    """The process that `daemon.json` names, if it is not there any more."""
    import json

    if find_daemon(settings) is not None:
        return None
    try:
        return int(json.loads(settings.daemon_file.read_bytes()[:4096])["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
