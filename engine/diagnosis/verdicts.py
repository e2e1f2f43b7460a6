"""Judgements over a fact sheet: what is wrong with this installation, and what to do. Pure."""

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from olmkit.engine.diagnosis.factsheet import FactSheet
from olmkit.engine.diagnosis.places import Place
from olmkit.engine.diagnosis.variables import without_credentials
from olmkit.engine.safemode.safeguard import rebuild_command

LEAST_ROOM_BYTES: Final = 500 * 10**6
LITTLE_ROOM_BYTES: Final = 5 * 10**9
LEAST_OPEN_FILES: Final = 512
LITTLE_MEMORY_BYTES: Final = 10**9
MUCH_PARTIAL_BYTES: Final = 10**9
_CLOCK_SLACK_S: Final = 86_400.0
_NETWORK_FILE_SYSTEMS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"})
_POOR_FILE_SYSTEMS: Final = frozenset({"vfat", "exfat", "ntfs", "ntfs3", "fuseblk"})
_FLEETING_FILE_SYSTEMS: Final = frozenset({"tmpfs", "ramfs"})
_OTHERS_MAY_WRITE: Final = 0o022
_OTHERS_MAY_READ: Final = 0o077


class Verdict(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """It works; it could be better, or may surprise."""
    FAILED = "failed"
    """Something will not work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check and what came of it."""

    name: str
    verdict: Verdict
    text: str
    """One sentence, lower case, no full stop."""
    hint: str = ""
    """What to do."""


def checks(sheet: FactSheet, *, is_tried: bool = False, proof_failure: str = "") -> list[Check]:
    """Every check, in the order in which the answers matter.

    `is_tried`: the engine was given a tiny model; `proof_failure`: why it could not run it, as a
    clause.
    """
    return [
        _engine(sheet, proof_failure, is_tried=is_tried),
        *_processor(sheet),
        *_cards(sheet),
        _port(sheet),
        *_tls(sheet),
        *_store(sheet),
        _room(sheet),
        *_leftovers(sheet),
        _permissions(sheet),
        _memory(sheet),
        *_open_files(sheet),
        _clock(sheet),
        _proxies(sheet),
        *_settings(sheet),
    ]


def _ok(name: str, text: str) -> Check:
    return Check(name=name, verdict=Verdict.OK, text=text)


def _warning(name: str, text: str, hint: str) -> Check:
    return Check(name=name, verdict=Verdict.WARNING, text=text, hint=hint)


def _failed(name: str, text: str, hint: str) -> Check:
    return Check(name=name, verdict=Verdict.FAILED, text=text, hint=hint)


def _engine(sheet: FactSheet, proof_failure: str, *, is_tried: bool) -> Check:
    engine = sheet.engine
    if not engine.libraries:
        return _failed("engine", "llama-cpp-python is not installed", _rebuild())
    if engine.survey.is_late:
        hint = "the machine is busy, or a driver hangs: try again"
        return _warning("engine", f"the engine {engine.survey.failure}", hint)
    if engine.survey.failure:
        return _failed("engine", f"the engine {engine.survey.failure}", _rebuild())
    if engine.safe_mode:
        hint = f"{_rebuild()}; or remove {engine.findings_path} to try again as it is"
        return _warning("engine", engine.safe_mode, hint)
    if proof_failure:
        text = f"the engine was loaded, but cannot run a model: {proof_failure}"
        return _failed("engine", text, _rebuild())
    version = f"llama.cpp {engine.survey.llama_cpp}".strip()
    state = "runs a model" if is_tried else "can be loaded"
    return _ok("engine", f"{version} {state}, with {', '.join(engine.backends) or 'no backends'}")


def _processor(sheet: FactSheet) -> Iterator[Check]:
    if sheet.engine.warning:
        yield _failed("processor", sheet.engine.warning, _rebuild())
    elif sheet.engine.build is not None:
        yield _ok("processor", "the engine was built for a processor like this one")
    elif sheet.engine.used_flags:
        yield _ok(
            "processor",
            "nobody wrote down how the engine was built; what it says it uses, this processor has",
        )


def _cards(sheet: FactSheet) -> Iterator[Check]:
    used = [device for device in sheet.engine.survey.devices if device.is_card]
    if used:
        yield _ok("graphics card", ", ".join(device.description for device in used))
    elif sheet.cards and not sheet.engine.survey.failure:
        vendors = " and ".join(sheet.cards)
        if {"CPU"} >= set(sheet.engine.backends):
            hint = "build one that has it: " + _rebuild().removeprefix("build it again: ")
            yield _warning(
                "graphics card",
                f"there is a card of {vendors}, but this engine cannot use it",
                hint.replace("--build native", "--gpu auto"),
            )
        else:
            yield _warning(
                "graphics card",
                f"there is a card of {vendors}, but the engine does not see it",
                "see that its driver is loaded and that no variable such as CUDA_VISIBLE_DEVICES "
                "hides it",
            )


def _port(sheet: FactSheet) -> Check:
    daemon = sheet.daemon
    if daemon.version:
        if daemon.is_local and daemon.pid is None:
            text = f"a server {daemon.version} that is not olm answers at {daemon.address}"
            return _warning("daemon", text, "stop it, or set OLM_HOST, to use olm's own daemon")
        if daemon.version != sheet.versions.olm:
            text = f"olm {daemon.version} serves {daemon.address}, this is {sheet.versions.olm}"
            return _warning("daemon", text, "`olm serve --stop`: the next command starts this one")
        return _ok("daemon", f"it answers at {daemon.address}")
    if daemon.holder:
        text = f"{daemon.address} is held by {daemon.holder}"
        return _failed("daemon", text, "stop that program, or set OLM_HOST to another address")
    if daemon.failure:
        hint = "see its log" if daemon.is_local else "OLM_HOST names that address"
        return _failed("daemon", f"{daemon.address}: {daemon.failure}", hint)
    return _ok("daemon", f"none runs; {daemon.address} is free, and the next command starts one")


def _tls(sheet: FactSheet) -> Iterator[Check]:
    tls = sheet.tls
    if tls is None:
        return
    text = f"{tls.path} for {', '.join(tls.names) or 'no name'} until {tls.expires_at[:10]}"
    if tls.failure:
        yield _failed("certificate", tls.failure, tls.hint)
    elif not tls.names:
        yield _warning("certificate", text, "clients want one that names the host that they ask")
    elif tls.ends_soon:
        hint = "replace its files: the daemon takes up what is there with the next connection"
        yield _warning("certificate", text, hint)
    else:
        yield _ok("certificate", text)


def _store(sheet: FactSheet) -> Iterator[Check]:
    store = sheet.store
    kind = store.file_system or "an unknown file system"
    if not store.is_writable:
        text = f"{store.path} cannot be written by this user"
        yield _failed("store", text, "give it to this user, or set OLM_MODELS to another directory")
    elif kind in _NETWORK_FILE_SYSTEMS:
        text = f"{store.path} is on {kind}: loading is as slow as the network, locks may be missing"
        yield _warning("store", text, "set OLM_MODELS to a directory on a disk of this machine")
    elif kind in _POOR_FILE_SYSTEMS:
        text = f"{store.path} is on {kind}: no hard links, and names with ports cannot be stored"
        yield _warning("store", text, "set OLM_MODELS to a directory on ext4, XFS, Btrfs or APFS")
    elif kind in _FLEETING_FILE_SYSTEMS:
        text = f"{store.path} is on {kind}: models take memory and are gone after a restart"
        yield _warning("store", text, "set OLM_MODELS to a directory on a disk")
    else:
        yield _ok("store", f"{store.path} on {kind} can be written")


def _room(sheet: FactSheet) -> Check:
    free, path = sheet.store.free_bytes, sheet.store.path
    hint = "`olm rm` removes models, `olm system prune` what no model needs"
    if free < LEAST_ROOM_BYTES:
        return _failed("disk space", f"{free // 10**6} MB are free for {path}", hint)
    text = f"{free / 10**9:.1f} GB are free for {path}"
    if free < LITTLE_ROOM_BYTES:
        return _warning("disk space", text, hint)
    return _ok("disk space", text)


def _leftovers(sheet: FactSheet) -> Iterator[Check]:
    if sheet.daemon.stale_pid is not None:
        text = f"a daemon ended without tidying up (process {sheet.daemon.stale_pid})"
        yield _warning("stale files", text, f"its log says why: {sheet.log_path}")
    if sheet.partial_bytes > MUCH_PARTIAL_BYTES:
        text = f"unfinished downloads take {sheet.partial_bytes / 10**9:.1f} GB"
        hint = "pull them again to go on, or `olm system prune --all` removes them"
        yield _warning("stale files", text, hint)


def _permissions(sheet: FactSheet) -> Check:
    for place in (sheet.home, sheet.store):
        if not place.is_own:
            hint = f"`sudo chown -R $(id -u) {place.path}`, or set OLM_HOME"
            return _warning("permissions", f"{place.path} belongs to another user", hint)
        if _lets_others(place, _OTHERS_MAY_WRITE):
            text = f"others may write to {place.path}, and so change what models say"
            return _warning("permissions", text, f"`chmod go-w {place.path}`")
    if _lets_others(sheet.docker_config, _OTHERS_MAY_READ):
        path = sheet.docker_config.path
        text = f"others may read the logins in {path}"
        return _warning("permissions", text, f"`chmod 600 {path}`")
    return _ok("permissions", "files belong to this user alone")


def _memory(sheet: FactSheet) -> Check:
    free, total = sheet.limits.memory_available_bytes, sheet.limits.memory_total_bytes
    text = f"{free / 10**9:.1f} of {total / 10**9:.1f} GB are free"
    if free < LITTLE_MEMORY_BYTES:
        return _warning("memory", text, "stop other programs, or raise the container's limit")
    return _ok("memory", text)


def _open_files(sheet: FactSheet) -> Iterator[Check]:
    files = sheet.limits.ulimits.get("open_files")
    if files is not None and files < LEAST_OPEN_FILES:
        text = f"only {files} files may be open, which many requests side by side exceed"
        yield _warning("open files", text, "`ulimit -n 4096` before the daemon starts")


def _clock(sheet: FactSheet) -> Check:
    if sheet.now_s + _CLOCK_SLACK_S < sheet.installed_at_s:
        text = (
            "the clock is behind the day on which olm was installed; certificates will be refused"
        )
        return _failed("clock", text, "set it, for instance by `timedatectl set-ntp true`")
    return _ok("clock", "it is past the day on which olm was installed")


def _proxies(sheet: FactSheet) -> Check:
    found = []
    for name, value in sheet.variables.items():
        if name.lower() not in ("http_proxy", "https_proxy", "all_proxy"):
            continue
        where = without_credentials(value)
        if not _is_proxy(value):
            text = f"{name}={where} is no address of a proxy"
            return _failed("proxy", text, f"write it as http://host:port, or unset {name}")
        found.append(f"{name}={where}")
    return _ok("proxy", ", ".join(found) or "none is set")


def _settings(sheet: FactSheet) -> Iterator[Check]:
    for warning in sheet.setting_warnings:
        yield _warning("settings", warning, "`man olm` lists the variables and their values")


def _is_proxy(value: str) -> bool:
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _lets_others(place: Place, bits: int) -> bool:
    return place.is_there and place.mode & bits != 0


def _rebuild() -> str:
    return f"build it again: {rebuild_command()}"
