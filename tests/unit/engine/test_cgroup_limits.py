"""Limits as containers of all kinds show them; the kernel's own are in the integration tests."""

from pathlib import Path

import pytest

from olmkit.engine.cgroups import count_oom_kills, read_limits
from support.cgrouptree import CgroupTree

NO_LIMIT = "9223372036854771712"


@pytest.fixture
def tree(tmp_path: Path) -> CgroupTree:
    return CgroupTree(tmp_path)


def version_1(tree: CgroupTree, at: str, limit: str, used: str, stat: str = "") -> None:
    tree.group(
        at,
        memory__limit_in_bytes=limit,
        memory__usage_in_bytes=used,
        memory__stat=stat,
        memory__use_hierarchy="1",
    )


def test_a_process_that_no_group_limits_has_no_limits(tree: CgroupTree) -> None:
    tree.member("0::/")
    tree.mount("fs")
    tree.group("fs", cpu__max="max 100000")
    limits = read_limits(tree.process)
    assert (limits.memory, limits.cpu) == (None, None)


def test_without_the_kernels_files_there_are_no_limits(tmp_path: Path) -> None:
    limits = read_limits(tmp_path / "absent")
    assert (limits.memory, limits.cpu) == (None, None)


def test_version_2_counts_the_group_and_all_above(tree: CgroupTree) -> None:
    tree.member("0::/a/b")
    tree.mount("fs")
    tree.group("fs/a", memory__max="1000", memory__current="900", memory__stat="inactive_file 50")
    tree.group("fs/a/b", memory__max="800", memory__current="100")
    tree.group("fs/a", cpu__max="150000 100000")
    tree.group("fs/a/b", cpu__max="400000 100000")
    limits = read_limits(tree.process)
    assert limits.memory is not None
    assert limits.memory.left_bytes == 150
    assert (limits.memory.limit_bytes, limits.memory.used_bytes) == (1000, 900)
    assert limits.memory.folder == tree.folder / "fs/a"
    assert limits.cpu is not None
    assert (limits.cpu.cores, limits.cpu.folder) == (1.5, tree.folder / "fs/a")


def test_memory_over_which_the_kernel_slows_a_group_down_is_no_memory_to_have(
    tree: CgroupTree,
) -> None:
    tree.member("0::/a")
    tree.mount("fs")
    tree.group("fs/a", memory__max="max", memory__high="500", memory__current="100")
    memory = read_limits(tree.process).memory
    assert memory is not None
    assert memory.left_bytes == 400


def test_version_1_counts_a_nested_group(tree: CgroupTree) -> None:
    tree.member("4:memory:/box/inner")
    tree.mount("fs/memory", controllers="memory")
    version_1(tree, "fs/memory", NO_LIMIT, "90000")
    version_1(tree, "fs/memory/box", "2000", "500")
    version_1(tree, "fs/memory/box/inner", "1000", "400", "total_inactive_file 100\ncache 7")
    memory = read_limits(tree.process).memory
    assert memory is not None
    assert (memory.limit_bytes, memory.used_bytes, memory.left_bytes) == (1000, 400, 700)


def test_version_1_tells_of_limits_above_what_is_mounted(tree: CgroupTree) -> None:
    tree.member("4:memory:/docker/one")
    tree.mount("fs/memory", root="/docker/one", controllers="memory")
    version_1(tree, "fs/memory", NO_LIMIT, "100", "hierarchical_memory_limit 3000")
    memory = read_limits(tree.process).memory
    assert memory is not None
    assert (memory.limit_bytes, memory.left_bytes) == (3000, 2900)


def test_version_1_without_hierarchy_does_not_hold_for_groups_below(tree: CgroupTree) -> None:
    tree.member("4:memory:/a/b")
    tree.mount("fs/memory", controllers="memory")
    tree.group("fs/memory/a", memory__limit_in_bytes="10", memory__usage_in_bytes="9")
    tree.group("fs/memory/a", memory__use_hierarchy="0")
    version_1(tree, "fs/memory/a/b", "700", "100")
    memory = read_limits(tree.process).memory
    assert memory is not None
    assert memory.limit_bytes == 700


def test_version_1_quotas_are_found_where_the_controllers_are_mounted(tree: CgroupTree) -> None:
    tree.member("5:cpu,cpuacct:/box")
    tree.member("1:name=systemd:/box")
    tree.mount("elsewhere/cpu and more", controllers="cpu,cpuacct")
    tree.group("elsewhere/cpu and more/box", cpu__cfs_quota_us="50000", cpu__cfs_period_us="100000")
    tree.group("elsewhere/cpu and more", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    cpu = read_limits(tree.process).cpu
    assert cpu is not None
    assert cpu.cores == 0.5


def test_swap_space_of_version_2_is_what_all_groups_leave(tree: CgroupTree) -> None:
    tree.member("0::/a/b")
    tree.mount("fs")
    tree.group("fs/a/b", memory__swap__max="max", memory__swap__current="700")
    assert read_limits(tree.process).swap_left_bytes is None
    tree.group("fs/a", memory__swap__max="1000", memory__swap__current="700")
    assert read_limits(tree.process).swap_left_bytes == 300
    tree.group("fs/a/b", memory__swap__max="0", memory__swap__current="0")
    assert read_limits(tree.process).swap_left_bytes == 0


def test_swap_space_of_version_1_is_what_both_together_leave_over_main_memory(
    tree: CgroupTree,
) -> None:
    tree.member("4:memory:/box")
    tree.mount("fs/memory", controllers="memory")
    version_1(tree, "fs/memory/box", "1000", "900")
    assert read_limits(tree.process).swap_left_bytes is None
    both = {"memory__memsw__limit_in_bytes": "1500", "memory__memsw__usage_in_bytes": "1100"}
    tree.group("fs/memory/box", **both)
    assert read_limits(tree.process).swap_left_bytes == 300


def test_both_versions_side_by_side_are_both_read(tree: CgroupTree) -> None:
    tree.member("4:memory:/old")
    tree.member("0::/new")
    tree.mount("fs/memory", controllers="memory")
    tree.mount("fs/unified")
    version_1(tree, "fs/memory/old", "1000", "0")
    tree.group("fs/unified/new", cpu__max="200000 100000")
    limits = read_limits(tree.process)
    assert limits.memory is not None
    assert limits.cpu is not None
    assert (limits.memory.limit_bytes, limits.cpu.cores) == (1000, 2.0)


@pytest.mark.parametrize("path", ["/kubepods/pod1/c1", "/../../c1"])
def test_a_group_mounted_under_another_name_is_taken_for_the_own(
    tree: CgroupTree, path: str
) -> None:
    tree.member(f"0::{path}")
    tree.mount("fs", root="/some/other/name")
    tree.group("fs", memory__max="600", memory__current="100")
    memory = read_limits(tree.process).memory
    assert memory is not None
    assert memory.left_bytes == 500


def test_garbage_in_a_groups_files_is_no_limit(tree: CgroupTree) -> None:
    tree.member("0::/a")
    tree.mount("fs")
    tree.group("fs/a", memory__max="-5", memory__current="x", cpu__max="1 0")
    tree.group("fs", cpu__max="many")
    limits = read_limits(tree.process)
    assert (limits.memory, limits.cpu) == (None, None)


def test_oom_kills_are_those_of_the_own_group(tree: CgroupTree) -> None:
    assert count_oom_kills(tree.process) is None
    tree.member("4:memory:/box")
    tree.mount("fs/memory", controllers="memory")
    tree.group("fs/memory", memory__oom_control="oom_kill_disable 0\noom_kill 70")
    tree.group("fs/memory/box", memory__oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 3")
    assert count_oom_kills(tree.process) == 3


def test_version_2_counts_oom_kills_in_events(tree: CgroupTree) -> None:
    tree.member("0::/box")
    tree.mount("fs")
    tree.group("fs/box", memory__events="low 0\nhigh 1\nmax 9\noom 2\noom_kill 2")
    assert count_oom_kills(tree.process) == 2
