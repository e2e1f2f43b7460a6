import os
from pathlib import Path

from olmkit.engine.runner.decoding.threads import default_threads, physical_cores, quota_cores


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def siblings(cpus: Path, of: str) -> None:
    for cpu in os.sched_getaffinity(0):
        write(cpus / f"cpu{cpu}/topology/thread_siblings_list", of.format(cpu=cpu) + "\n")


def test_the_default_is_between_one_and_the_cpus_allowed() -> None:
    assert 1 <= default_threads() <= len(os.sched_getaffinity(0))


def test_hardware_threads_of_one_core_count_once(tmp_path: Path) -> None:
    siblings(tmp_path, "0-255")
    assert physical_cores(tmp_path) == 1


def test_cores_of_their_own_count_each(tmp_path: Path) -> None:
    siblings(tmp_path, "{cpu}")
    assert physical_cores(tmp_path) == len(os.sched_getaffinity(0))


def test_without_topology_every_cpu_is_a_core(tmp_path: Path) -> None:
    assert physical_cores(tmp_path / "absent") == len(os.sched_getaffinity(0))


def test_the_tightest_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    write(tmp_path / "own", "0::/a/b\n")
    write(tmp_path / "fs/cpu.max", "max 100000\n")
    write(tmp_path / "fs/a/cpu.max", "150000 100000\n")
    write(tmp_path / "fs/a/b/cpu.max", "400000 100000\n")
    assert quota_cores(tmp_path / "own", tmp_path / "fs") == 1.5


def test_the_older_hierarchy_has_quotas_too(tmp_path: Path) -> None:
    write(tmp_path / "own", "5:cpu,cpuacct:/box\n4:memory:/box\n")
    write(tmp_path / "fs/cpu/box/cpu.cfs_quota_us", "50000\n")
    write(tmp_path / "fs/cpu/box/cpu.cfs_period_us", "100000\n")
    write(tmp_path / "fs/cpu/cpu.cfs_quota_us", "-1\n")
    write(tmp_path / "fs/cpu/cpu.cfs_period_us", "100000\n")
    assert quota_cores(tmp_path / "own", tmp_path / "fs") == 0.5


def test_no_quota_is_none(tmp_path: Path) -> None:
    write(tmp_path / "own", "0::/\n")
    write(tmp_path / "fs/cpu.max", "max 100000\n")
    assert quota_cores(tmp_path / "own", tmp_path / "fs") is None
    assert quota_cores(tmp_path / "absent", tmp_path / "fs") is None
