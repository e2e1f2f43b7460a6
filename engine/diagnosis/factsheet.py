"""Everything that is known of this installation, gathered in about a second.

Nothing is waited for longer than it takes; the bounds are for drivers that hang and hosts that
swallow packets, and so long that a busy machine keeps them.
"""

import platform
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import olmkit
from olmkit.engine.access.origins import Origins
from olmkit.engine.confinement.confining import Measures, available
from olmkit.engine.devices.enginesurvey import EngineSurvey, SurveyUnderWay
from olmkit.engine.diagnosis.daemonstate import DaemonState, ask_daemon
from olmkit.engine.diagnosis.drivers import Driver, find_drivers
from olmkit.engine.diagnosis.places import Place, look_at
from olmkit.engine.diagnosis.processlimits import Limits, read_limits_of_process
from olmkit.engine.diagnosis.tlsstate import TlsState, find_tls
from olmkit.engine.diagnosis.variables import SettingFact, settings_of, variables_of
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.facts import suitability
from olmkit.engine.facts.enginebuild import EngineBuild, read_build
from olmkit.engine.facts.enginelibraries import find_libraries
from olmkit.engine.facts.processor import Processor, this_processor
from olmkit.engine.safemode.safeguard import Safeguard
from olmkit.engine.settings import Settings

ENGINE_S: Final = 15.0
"""The engine has this long to describe itself, its drivers included."""
_DAEMON_S: Final = 3.0
_SIZES_S: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Versions of olm and of what it runs on."""

    olm: str
    python: str
    system: str
    llama_cpp_python: str
    """Empty: not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """The engine of this environment."""

    libraries: str
    """The directory; empty: there is none."""
    build: EngineBuild | None
    """None: a prebuilt wheel, of which nobody says how it was built."""
    survey: EngineSurvey
    backends: tuple[str, ...]
    """`CPU`, `CUDA`: as the engine says, else as the set-up wrote down."""
    safe_mode: str
    """Sentence that says what the engine does without on this machine, and why; empty: nothing."""
    findings_path: str
    """File that remembers the safe mode."""
    warning: str
    """Sentence that the engine was built for another processor; empty: not as far as is known."""
    used_flags: tuple[str, ...]
    """What of the processor's instructions it uses, in the kernel's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactSheet:
    """All that `olm info` shows: versions, engine, machine, places, limits and settings."""

    versions: Versions
    daemon: DaemonState
    tls: TlsState | None
    """None: a daemon of this machine is not to speak TLS."""
    engine: EngineFacts
    processor: Processor
    cards: tuple[str, ...]
    """Vendors of the graphics cards of this machine, whether the engine uses them or not."""
    drivers: tuple[Driver, ...]
    home: Place
    store: Place
    limits: Limits
    confinement: Measures
    """What runners give up before they read a model."""
    settings: tuple[SettingFact, ...]
    setting_warnings: tuple[str, ...]
    variables: dict[str, str]
    log_path: str
    partial_bytes: int
    """What unfinished downloads take."""
    docker_config: Place
    now_s: float
    """The clock, in seconds of Unix time."""
    installed_at_s: float
    """When this olm was put here, by the same clock; 0 where that is not known."""


def gather(settings: Settings, environ: Mapping[str, str]) -> FactSheet:
    """The report as of now; `environ`: the variables that `settings` came from. Never fails."""
    from olmkit.engine.install.accelerators import Machine

    began_s = time.monotonic()
    guard = Safeguard.of(settings)
    known = guard.known()
    survey = SurveyUnderWay(guard.environment(known.mode))
    libraries = find_libraries(settings.engine_libraries)
    build = read_build(libraries.directory)
    processor = this_processor()
    daemon = ask_daemon(settings, timeout_s=_DAEMON_S)
    until_s = time.monotonic() + _SIZES_S
    store = look_at(settings.models, until_s=until_s)
    home = look_at(settings.home, until_s=until_s)
    limits = read_limits_of_process()
    drivers = find_drivers()
    left_s = max(0.1, began_s + ENGINE_S - time.monotonic())
    said = _with_free_memory(survey.result(timeout_s=left_s), limits)
    compiled = suitability.flags_of_system_info(said.system_info)
    missing = suitability.missing_flags(build, processor, compiled=compiled)
    return FactSheet(
        versions=_versions(),
        daemon=daemon,
        tls=find_tls(settings),
        engine=EngineFacts(
            libraries=str(libraries.directory or ""),
            build=build,
            survey=said,
            backends=_backends(said, build),
            safe_mode=known.caveat,
            findings_path=str(settings.findings_file),
            warning=suitability.warning(missing, build, processor),
            used_flags=tuple(sorted(compiled & processor.flags)),
        ),
        processor=processor,
        cards=tuple(Machine(environ=environ).cards()),
        drivers=drivers,
        home=home,
        store=store,
        limits=limits,
        confinement=_confinement(settings),
        settings=settings_of(settings),
        setting_warnings=(*settings.warnings, *_bad_origins(settings)),
        variables=variables_of(environ),
        log_path=str(settings.log_file),
        partial_bytes=look_at(settings.models / "partial", until_s=until_s).size_bytes,
        docker_config=look_at(settings.remotes.docker_config, until_s=until_s),
        now_s=time.time(),
        installed_at_s=_installed_at(),
    )


def _bad_origins(settings: Settings) -> tuple[str, ...]:
    """Why the daemon would not start with these origins; empty: it would."""
    try:
        Origins(settings.origins)
    except InvalidRequest as error:
        return (str(error),)
    return ()


def _confinement(settings: Settings) -> Measures:
    """What runners of these settings give up on this machine, and what not and why."""
    if not settings.confines:
        return Measures(missing=("confined at all: OLM_CONFINE is 0",))
    found = available()
    if settings.rpc_servers:
        why = "the network: devices of other machines (OLM_RPC) need it"
        active = tuple(one for one in found.active if "network" not in one)
        return replace(found, active=active, missing=(*found.missing, why))
    return found


def _with_free_memory(said: EngineSurvey, limits: Limits) -> EngineSurvey:
    """The same with the processor's memory as it is: llama.cpp calls all of it free."""
    devices = tuple(
        replace(
            device,
            free_bytes=limits.memory_available_bytes,
            total_bytes=limits.memory_total_bytes,
        )
        if device.kind == "cpu"
        else device
        for device in said.devices
    )
    return replace(said, devices=devices)


def _backends(said: EngineSurvey, build: EngineBuild | None) -> tuple[str, ...]:
    names = re.findall(r"(\w+) : ", said.system_info)
    return tuple(names) or (build.backends if build else ())


def _versions() -> Versions:
    try:
        llama = version("llama-cpp-python")
    except PackageNotFoundError:
        llama = ""
    return Versions(
        olm=olmkit.__version__,
        python=f"{platform.python_version()} ({sys.executable})",
        system=_system_name(),
        llama_cpp_python=llama,
    )


def _system_name() -> str:
    """`Debian GNU/Linux 12 (bookworm), Linux 6.1.0 x86_64`."""
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    return f"{name}, {kernel}" if name else kernel


def _installed_at() -> float:
    try:
        return Path(olmkit.__file__).stat().st_mtime
    except (OSError, TypeError):
        return 0.0
