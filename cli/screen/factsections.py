"""The report of `olm info`, as sections of aligned rows or as an object of JSON."""

import dataclasses
import json
from typing import Any

from olmkit.cli.screen.units import size_text
from olmkit.engine.devices.inventory import usable_devices
from olmkit.engine.diagnosis.factsheet import FactSheet
from olmkit.engine.diagnosis.places import Place

Rows = list[tuple[str, ...]]


def sheet_object(sheet: FactSheet) -> dict[str, Any]:
    """All of it as JSON has it."""
    said: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(sheet), default=sorted))
    return said


def sheet_sections(sheet: FactSheet) -> dict[str, Rows]:
    """The sections, for people."""
    return {
        "Versions": _versions(sheet),
        "Engine": _engine(sheet),
        "Processor": _processor(sheet),
        "Devices": _devices(sheet),
        "Places": _places(sheet),
        "Limits": _limits(sheet),
        "Settings": [(each.name, each.value, each.source) for each in sheet.settings],
        "Environment": [(name, value) for name, value in sheet.variables.items()],
    }


def _versions(sheet: FactSheet) -> Rows:
    versions, daemon = sheet.versions, sheet.daemon
    if daemon.version:
        pid = f", pid {daemon.pid}" if daemon.pid else ""
        state = f"{daemon.version} ({daemon.address}{pid})"
    else:
        reason = daemon.failure or (daemon.holder and f"the port is held by {daemon.holder}")
        state = f"not running ({daemon.address}{f': {reason}' if reason else ''})"
    return [
        ("olm", versions.olm),
        ("daemon", state),
        *(("loaded", f"{model.name} {model.safe_mode}".strip()) for model in daemon.loaded),
        ("llama-cpp-python", versions.llama_cpp_python or "not installed"),
        ("llama.cpp", sheet.engine.survey.llama_cpp or "not known"),
        ("Python", versions.python),
        ("system", versions.system),
    ]


def _engine(sheet: FactSheet) -> Rows:
    engine, build = sheet.engine, sheet.engine.build
    rows: Rows = [("libraries", engine.libraries or "none")]
    if engine.survey.failure:
        rows.append(("state", f"the engine {engine.survey.failure}"))
    if engine.safe_mode:
        rows.append(("state", engine.safe_mode))
    if engine.warning:
        rows.append(("state", engine.warning))
    rows.append(("backends", ", ".join(engine.backends) or "not known"))
    if build is None:
        rows.append(("build", "not known: nothing beside the libraries says how they were built"))
        return rows
    rows += [
        ("compiler", build.compiler or "not known"),
        ("flags", build.c_flags or "none added"),
        ("built for", _target(build.is_portable, build.built_for)),
        ("built at", build.built_at or "not known"),
    ]
    rows += [
        ("workaround" if not index else "", text) for index, text in enumerate(build.workarounds)
    ]
    return rows


def _target(is_portable: bool, built_for: str) -> str:
    if is_portable:
        return "every processor of its kind, the code is chosen when it starts"
    return built_for or "not known"


def _processor(sheet: FactSheet) -> Rows:
    processor = sheet.processor
    return [
        ("model", processor.model or processor.machine),
        ("threads", str(processor.threads)),
        ("engine uses", ", ".join(sheet.engine.used_flags) or "not known"),
    ]


def _devices(sheet: FactSheet) -> Rows:
    numbers = {one.name: n for n, one in enumerate(usable_devices(sheet.engine.survey.devices))}
    rows: Rows = [
        (
            device.name,
            device.description,
            f"{size_text(device.free_bytes)} of {size_text(device.total_bytes)} free",
            *([f"number {numbers[device.name]}"] if device.name in numbers else []),
            *([device.uuid] if device.uuid else []),
        )
        for device in sheet.engine.survey.devices
    ]
    if sheet.cards and not any(device.is_card for device in sheet.engine.survey.devices):
        rows.append(("card", f"{', '.join(sheet.cards)}: not used by this engine"))
    for driver in sheet.drivers:
        names = ", ".join(dict.fromkeys(driver.cards))
        version = driver.version or "of the kernel"
        rows.append(("driver", f"{driver.name} {version}", names))
    return rows


def _places(sheet: FactSheet) -> Rows:
    return [
        ("home", *_place(sheet.home)),
        ("store", *_place(sheet.store)),
        ("log", sheet.log_path),
        *_certificate(sheet),
    ]


def _certificate(sheet: FactSheet) -> Rows:
    tls = sheet.tls
    if tls is None:
        return []
    if tls.failure:
        return [("certificate", tls.path or "none", tls.failure)]
    return [("certificate", tls.path, ", ".join(tls.names), f"until {tls.expires_at[:10]}")]


def _place(place: Place) -> tuple[str, ...]:
    if not place.is_there:
        return (place.path, "not there yet")
    size = size_text(place.size_bytes) + ("" if place.is_size_whole else " or more")
    return (
        place.path,
        size,
        f"{place.file_system or 'unknown file system'}, {size_text(place.free_bytes)} free",
    )


def _limits(sheet: FactSheet) -> Rows:
    limits = sheet.limits
    rows: Rows = [
        (
            "memory",
            f"{size_text(limits.memory_available_bytes)} of "
            f"{size_text(limits.memory_total_bytes)} free",
        )
    ]
    if limits.cgroup_memory_bytes is not None:
        rows.append(("control group", f"{size_text(limits.cgroup_memory_bytes)} of memory"))
    if limits.cgroup_cores is not None:
        rows.append(("control group", f"{limits.cgroup_cores:g} processors"))
    for name, value in limits.ulimits.items():
        is_size = name.endswith("_bytes")
        shown = "unlimited" if value is None else size_text(value) if is_size else str(value)
        rows.append((name.removesuffix("_bytes").replace("_", " "), shown))
    confinement = sheet.confinement
    rows += [("runners give up", each) for each in confinement.active]
    rows += [("not", each) for each in confinement.missing]
    return rows
