import os
from pathlib import Path

from olmkit.engine.runner.decoding.threads import default_threads, physical_cores


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
