"""The judgements of `olm doctor` over facts: each failure is told, with what to do."""

from dataclasses import replace
from typing import Any

import pytest

from olmkit.engine.confinement.confining import Measures
from olmkit.engine.devices.enginesurvey import EngineDevice, EngineSurvey
from olmkit.engine.diagnosis.daemonstate import DaemonState
from olmkit.engine.diagnosis.factsheet import EngineFacts, FactSheet, Versions
from olmkit.engine.diagnosis.places import Place
from olmkit.engine.diagnosis.processlimits import Limits
from olmkit.engine.diagnosis.tlsstate import TlsState
from olmkit.engine.diagnosis.verdicts import Check, Verdict, checks
from olmkit.engine.facts.processor import Processor

GB = 10**9
PLACE = Place(
    path="/home/u/.olm",
    is_there=True,
    is_writable=True,
    size_bytes=GB,
    is_size_whole=True,
    file_system="ext4",
    free_bytes=100 * GB,
    mode=0o700,
    is_own=True,
)
CPU = EngineDevice(name="CPU", description="Xeon", kind="cpu", free_bytes=GB, total_bytes=GB)
ENGINE = EngineFacts(
    libraries="/venv/llama_cpp/lib",
    build=None,
    survey=EngineSurvey(llama_cpp="1", system_info="CPU : AVX2 = 1", devices=(CPU,)),
    backends=("CPU",),
    safe_mode="",
    findings_path="/home/u/.olm/cache/engine-findings.json",
    warning="",
    used_flags=("avx2",),
)
DAEMON = DaemonState(address="http://127.0.0.1:11434", is_local=True)
CERTIFICATE = TlsState(
    path="/cert.pem", names=("a.example",), expires_at="2030-01-02T03:04:05+00:00"
)
WELL = FactSheet(
    versions=Versions(olm="1.0", python="3.11", system="Linux", llama_cpp_python="0.3.36"),
    daemon=DAEMON,
    tls=None,
    engine=ENGINE,
    processor=Processor(model="Xeon", machine="x86_64", flags=frozenset({"avx2"}), threads=2),
    cards=(),
    drivers=(),
    home=PLACE,
    store=PLACE,
    limits=Limits(
        memory_total_bytes=32 * GB,
        memory_available_bytes=16 * GB,
        cgroup_memory_bytes=None,
        cgroup_cores=None,
        ulimits={"open_files": 1024},
    ),
    confinement=Measures(),
    settings=(),
    setting_warnings=(),
    variables={},
    log_path="/home/u/.olm/logs/daemon.log",
    partial_bytes=0,
    docker_config=replace(PLACE, mode=0o600),
    now_s=2e9,
    installed_at_s=1.9e9,
)


def judged(name: str, **changes: Any) -> Check:
    """The check of that name over the healthy sheet with changes; the worst of several."""
    found = [check for check in checks(replace(WELL, **changes)) if check.name == name]
    return max(found, key=lambda check: list(Verdict).index(check.verdict))


def test_a_healthy_installation_passes_every_check() -> None:
    assert {check.verdict for check in checks(WELL)} == {Verdict.OK}


def test_whatever_is_not_well_says_what_to_do() -> None:
    sick = replace(
        WELL,
        engine=replace(ENGINE, safe_mode="safe mode: …", warning="built for another"),
        cards=("NVIDIA",),
        daemon=replace(DAEMON, holder="nginx (pid 7)"),
        tls=TlsState(path="/cert.pem", failure="the key is another's", hint="name its own"),
        store=replace(PLACE, is_writable=False, free_bytes=0),
        limits=replace(WELL.limits, memory_available_bytes=1, ulimits={"open_files": 100}),
        partial_bytes=9 * GB,
        docker_config=replace(PLACE, mode=0o644),
        now_s=1.0,
        variables={"HTTPS_PROXY": "http://:x"},
        setting_warnings=("OLM_KEEP_ALIVE='x' is no duration, using 300",),
    )
    found = checks(sick)
    assert all(check.hint for check in found if check.verdict is not Verdict.OK)
    assert all(check.verdict is not Verdict.OK for check in found)
    assert all(check.text == check.text.rstrip(".") for check in found)


@pytest.mark.parametrize(
    ("name", "verdict", "text", "changes"),
    [
        ("engine", "failed", "not installed", {"engine": replace(ENGINE, libraries="")}),
        (
            "engine",
            "failed",
            "the engine was killed by SIGILL",
            {"engine": replace(ENGINE, survey=EngineSurvey(failure="was killed by SIGILL"))},
        ),
        ("engine", "warning", "safe mode", {"engine": replace(ENGINE, safe_mode="safe mode: x")}),
        ("processor", "failed", "avx512f", {"engine": replace(ENGINE, warning="avx512f lacks")}),
        ("graphics card", "warning", "cannot use it", {"cards": ("NVIDIA",)}),
        (
            "graphics card",
            "warning",
            "does not see it",
            {"cards": ("NVIDIA",), "engine": replace(ENGINE, backends=("CUDA", "CPU"))},
        ),
        ("daemon", "failed", "held by nginx", {"daemon": replace(DAEMON, holder="nginx (pid 7)")}),
        ("daemon", "failed", "no answer", {"daemon": replace(DAEMON, failure="no answer")}),
        (
            "daemon",
            "warning",
            "not olm",
            {"daemon": replace(DAEMON, version="0.12.0")},
        ),
        (
            "daemon",
            "warning",
            "olm 0.9 serves",
            {"daemon": replace(DAEMON, version="0.9", pid=7)},
        ),
        ("certificate", "ok", "for a.example until 2030-01-02", {"tls": CERTIFICATE}),
        (
            "certificate",
            "warning",
            "until 2030-01-02",
            {"tls": replace(CERTIFICATE, ends_soon=True)},
        ),
        ("certificate", "warning", "for no name", {"tls": replace(CERTIFICATE, names=())}),
        ("daemon", "ok", "it answers", {"daemon": replace(DAEMON, version="1.0", pid=7)}),
        ("store", "failed", "written", {"store": replace(PLACE, is_writable=False)}),
        ("store", "warning", "nfs4", {"store": replace(PLACE, file_system="nfs4")}),
        ("store", "warning", "hard links", {"store": replace(PLACE, file_system="vfat")}),
        ("store", "warning", "restart", {"store": replace(PLACE, file_system="tmpfs")}),
        ("disk space", "failed", "499 MB", {"store": replace(PLACE, free_bytes=499 * 10**6)}),
        ("disk space", "warning", "4.0 GB", {"store": replace(PLACE, free_bytes=4 * GB)}),
        ("stale files", "warning", "process 7", {"daemon": replace(DAEMON, stale_pid=7)}),
        ("permissions", "warning", "another user", {"home": replace(PLACE, is_own=False)}),
        ("permissions", "warning", "may write", {"store": replace(PLACE, mode=0o775)}),
        ("clock", "failed", "behind", {"now_s": 0.0}),
        ("proxy", "failed", "no address", {"variables": {"http_proxy": "http://"}}),
        ("proxy", "ok", "***@proxy:3128", {"variables": {"HTTPS_PROXY": "http://u:p@proxy:3128"}}),
    ],
)
def test_each_failure_is_told(name: str, verdict: str, text: str, changes: dict[str, Any]) -> None:
    check = judged(name, **changes)
    assert check.verdict == verdict
    assert text in check.text


def test_a_card_in_use_is_named() -> None:
    card = EngineDevice(
        name="CUDA0", description="NVIDIA H200", kind="gpu", free_bytes=GB, total_bytes=GB
    )
    survey = replace(ENGINE.survey, devices=(card, CPU))
    check = judged("graphics card", cards=("NVIDIA",), engine=replace(ENGINE, survey=survey))
    assert (check.verdict, check.text) == ("ok", "NVIDIA H200")
