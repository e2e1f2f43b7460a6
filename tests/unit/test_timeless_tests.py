"""No test reads a clock to judge olm, and none changes olm's modules under its feet.

How long something takes depends on the machine and its neighbours. What hangs is ended by
pytest-timeout or by a wait with a deadline (`support.daemon.wait_until`); what is fast is measured
in `benchmarks/`. Constants are arguments, so that a test can give others.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "time"}
CLOCKS |= {"process_time_ns", "thread_time", "thread_time_ns", "time_ns", "now"}
ALLOWED = {
    "test_a_known_key_gets_a_token": "the time is part of what is signed",
    "test_instances_tell_name_size_context_and_end": "the end is told as a time of day",
}
"""Tests of a time that olm tells: it lies between one before and one after, however far apart."""


def is_clock(node: ast.AST) -> bool:
    """Whether a node asks a clock: `time.monotonic()`, `perf_counter()`, `datetime.now()`."""
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    if isinstance(called, ast.Name):
        return called.id in CLOCKS
    is_clocks_module = isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name)
    return is_clocks_module and called.attr in CLOCKS and called.value.id in ("time", "datetime")  # type: ignore[attr-defined]


def judged_by_clock(tree: ast.AST) -> Iterator[int]:
    """Lines that compare with a reading of a clock, or take the time between two readings."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
            continue
        readings = {
            name.id
            for node in ast.walk(function)
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr) and node.value
            if any(is_clock(part) for part in ast.walk(node.value))
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            for name in ast.walk(target)
            if isinstance(name, ast.Name)
        }

        def is_reading(node: ast.AST, readings: set[str] = readings) -> bool:
            return is_clock(node) or (isinstance(node, ast.Name) and node.id in readings)

        for node in ast.walk(function):
            match node:
                case ast.Compare() if any(map(is_reading, ast.walk(node))):
                    yield node.lineno
                case ast.BinOp(left=left, op=ast.Sub(), right=right) if is_clock(left):
                    if any(map(is_reading, ast.walk(right))):
                        yield node.lineno


def patched(tree: ast.AST) -> Iterator[int]:
    """Lines that set attributes by `monkeypatch`; variables and modules are of the process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ("setattr", "delattr"):
            yield node.lineno


def trees(source: str) -> Iterator[tuple[str, ast.AST]]:
    """Every test and helper of a file with its name, and every program that is in a string."""
    tree = ast.parse(source)
    for statement in tree.body:
        yield getattr(statement, "name", ""), statement
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
            try:
                yield "", ast.parse(node.value)
            except SyntaxError:
                continue


def found(source: str) -> list[str]:
    """What is not wanted in a file; most files are not worth parsing."""
    if not re.search(r"(time|counter|monotonic|_ns|now)\(\)|attr", source):
        return []
    return [
        f"{name}:{line}: {what}"
        for name, tree in trees(source)
        if name not in ALLOWED
        for what, lines in (("judged by a clock", judged_by_clock), ("patched", patched))
        for line in sorted(set(lines(tree)))
    ]


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: path.name)
def test_no_clock_judges_and_no_module_is_changed(path: Path) -> None:
    assert found(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "body",
    [
        "began = time.monotonic()\n    work()\n    assert time.monotonic() - began < 5",
        "began = perf_counter()\n    return perf_counter() - began",
        "took = time.time()\n    assert took > 3",
        "until = time.monotonic() + 5\n    while time.monotonic() < until: work()",
        "monkeypatch.setattr(pace, 'SLOW_S', 1)",
        "program = '''\nimport time\nbegan = time.time()\nprint(time.time() - began < 3)\n'''",
    ],
)
def test_what_is_not_wanted_is_found(body: str) -> None:
    assert len(found(f"def test_x():\n    {body}\n")) == 1


@pytest.mark.parametrize(
    "body",
    [
        "os.utime(path, (time.time() - 7 * 86400,) * 2)",
        "workers.join(time.monotonic() + 5)",
        "monkeypatch.setenv('HOME', '/')",
        "assert loaded.time < 5",
    ],
)
def test_what_is_wanted_is_let_be(body: str) -> None:
    assert found(f"def test_x():\n    {body}\n") == []
