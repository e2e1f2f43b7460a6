"""Processor, build and findings as files tell of them, and what follows."""

import json
from pathlib import Path

import pytest

from olmkit.engine.facts.enginebuild import EngineBuild, read_build
from olmkit.engine.facts.enginelibraries import EngineLibraries, find_libraries
from olmkit.engine.facts.processor import Processor, this_processor
from olmkit.engine.facts.suitability import flags_of_system_info, missing_flags, warning
from olmkit.engine.runner.protocol import SafeMode
from olmkit.engine.safemode.findings import Finding, Findings
from olmkit.engine.safemode.safeguard import Known, Safeguard

X86 = """processor\t: 0
model name\t: Intel(R) Xeon(R) 6975P-C
flags\t\t: fpu sse4_2 avx2 avx512f amx_tile amx_int8

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd asimddp i8mm\nCPU part\t: 0xd40\n"


def processor(*flags: str) -> Processor:
    return Processor(model="Old Xeon", machine="x86_64", flags=frozenset(flags), threads=2)


def test_the_first_processor_stands_for_all(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(X86)
    found = this_processor(path)
    assert found.model == "Intel(R) Xeon(R) 6975P-C"
    assert found.flags == {"fpu", "sse4_2", "avx2", "avx512f", "amx_tile", "amx_int8"}
    path.write_text(ARM)
    assert this_processor(path).flags == {"fp", "asimd", "asimddp", "i8mm"}
    assert this_processor(tmp_path / "absent").flags == frozenset()


def test_this_machine_says_what_it_is() -> None:
    found = this_processor()
    assert found.flags
    assert found.threads > 0
    assert found.fingerprint == this_processor().fingerprint


def test_another_flag_is_another_processor() -> None:
    assert processor("avx2").fingerprint != processor("avx2", "amx_int8").fingerprint


BUILD = {
    "schema": 1,
    "llama_cpp_python": "0.3.36",
    "compiler": {"id": "GNU", "version": "12.2.0"},
    "c_flags": "-include amx.h",
    "cpu": {"model": "New Xeon", "flags": ["avx2", "avx512f", "amx_int8", "hypervisor"]},
    "backends": ["cpu", "cuda"],
    "portable": False,
    "workarounds": ["AMX is mended: GCC 12.2 miscompiles it"],
    "built_at": "2026-11-28T16:00:00+00:00",
}


def write_build(folder: Path, **changes: object) -> EngineBuild | None:
    (folder / "olm-engine.json").write_text(json.dumps(BUILD | changes))
    return read_build(folder)


def test_a_build_is_read_as_it_was_written(tmp_path: Path) -> None:
    build = write_build(tmp_path)
    assert build is not None
    assert (build.compiler, build.built_for) == ("GNU 12.2.0", "New Xeon")
    assert build.backends == ("cpu", "cuda")
    assert build.workarounds == ("AMX is mended: GCC 12.2 miscompiles it",)
    assert write_build(tmp_path, cpu={"flags": "avx2 fma"}) == EngineBuild(
        llama_cpp_python="0.3.36",
        compiler="GNU 12.2.0",
        c_flags="-include amx.h",
        built_for_flags=frozenset({"avx2", "fma"}),
        backends=("cpu", "cuda"),
        workarounds=("AMX is mended: GCC 12.2 miscompiles it",),
        built_at="2026-11-28T16:00:00+00:00",
    )


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', "null", "[" * 5000, "\xff"])
def test_what_is_no_build_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "olm-engine.json").write_text(text, encoding="latin-1")
    assert read_build(tmp_path) is None
    assert read_build(tmp_path / "absent") is None
    assert read_build(None) is None


def test_fields_of_another_type_count_as_not_said(tmp_path: Path) -> None:
    wrong = dict.fromkeys(BUILD, 7) | {"schema": 1}
    assert write_build(tmp_path, **wrong) == EngineBuild()


def test_an_engine_for_a_later_processor_is_told_by_what_is_missing(tmp_path: Path) -> None:
    build = write_build(tmp_path)
    old = processor("avx2", "sse4_2")
    missing = missing_flags(build, old)
    assert missing == ("amx_int8", "avx512f")
    assert warning(missing, build, old) == (
        "the engine was built for New Xeon with amx_int8, avx512f, "
        "which this processor (Old Xeon) lacks"
    )
    assert missing_flags(build, processor("avx2", "avx512f", "amx_int8")) == ()
    assert warning((), build, old) == ""


def test_what_the_build_left_out_is_not_missing(tmp_path: Path) -> None:
    build = write_build(tmp_path, c_flags="-mno-amx-tile -mno-amx-int8 -O2")
    assert missing_flags(build, processor("avx2", "avx512f")) == ()


def test_nothing_is_missing_where_nothing_is_known(tmp_path: Path) -> None:
    assert missing_flags(write_build(tmp_path, portable=True), processor("sse4_2")) == ()
    assert missing_flags(write_build(tmp_path), processor()) == ()
    assert missing_flags(None, processor("sse4_2")) == ()


def test_without_a_word_of_the_build_the_engine_s_own_counts() -> None:
    said = "CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 1 | AMX_INT8 = 0 | REPACK = 1 |"
    compiled = flags_of_system_info(said)
    assert compiled == {"pni", "avx2", "avx512f"}
    assert missing_flags(None, processor("pni", "avx2"), compiled=compiled) == ("avx512f",)


def test_a_library_that_was_built_anew_is_another_engine(tmp_path: Path) -> None:
    (tmp_path / "libllama.so.0").write_bytes(b"one")
    (tmp_path / "notes.txt").write_bytes(b"")
    libraries = EngineLibraries(installed=None, chosen=tmp_path)
    before = libraries.fingerprint
    (tmp_path / "notes.txt").write_bytes(b"more")
    assert libraries.fingerprint == before
    (tmp_path / "libllama.so.0").write_bytes(b"four")
    assert libraries.fingerprint != before


def test_there_is_a_fallback_only_beside_a_choice(tmp_path: Path) -> None:
    assert not find_libraries(None).has_fallback
    assert find_libraries(tmp_path).has_fallback
    assert find_libraries(tmp_path).directory == tmp_path


def finding(engine: str = "e", **mode: bool) -> Finding:
    return Finding(
        engine=engine,
        processor="p",
        mode=SafeMode(**mode),
        reason="was killed by SIGILL",
        found_at="2026-11-28T16:00:00+00:00",
    )


def test_findings_are_kept_the_later_one_of_a_pair(tmp_path: Path) -> None:
    findings = Findings(tmp_path / "cache" / "findings.json")
    assert findings.find(engine="e", processor="p") is None
    findings.remember(finding(plain_buffers=True))
    findings.remember(finding(installed_libraries=True))
    findings.remember(finding("other"))
    again = Findings(tmp_path / "cache" / "findings.json")
    assert again.find(engine="e", processor="p") == finding(installed_libraries=True)
    assert again.find(engine="e", processor="q") is None
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["findings.json"]


def test_findings_do_not_grow_for_ever(tmp_path: Path) -> None:
    findings = Findings(tmp_path / "f")
    for number in range(40):
        findings.remember(finding(str(number)))
    assert len(json.loads((tmp_path / "f").read_bytes())["findings"]) == 16
    assert findings.find(engine="39", processor="p") is not None
    assert findings.find(engine="0", processor="p") is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "[" * 9000, '{"schema": 1}', '{"schema": 9, "findings": []}'),
        *('{"schema": 1, "findings": [7]}', '{"schema": 1, "findings": {"a": 1}}'),
        '{"schema": 1, "findings": [{"engine": "e", "processor": "p", "mode": {"x": 1}}]}',
    ],
)
def test_a_broken_file_counts_as_nothing_found_and_is_written_anew(
    text: str, tmp_path: Path
) -> None:
    (tmp_path / "f").write_text(text)
    findings = Findings(tmp_path / "f")
    assert findings.find(engine="e", processor="p") is None
    findings.remember(finding())
    assert findings.find(engine="e", processor="p") == finding()


def test_what_cannot_be_kept_is_known_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    guard = Safeguard(findings=Findings(tmp_path / "file" / "f"))
    known = Known(mode=SafeMode(plain_buffers=True), reason="was killed by SIGILL")
    guard.learn(known)
    assert guard.known() == known
