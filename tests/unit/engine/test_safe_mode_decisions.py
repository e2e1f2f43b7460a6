"""Which deaths of the engine have a cure, and in which order cures are tried."""

import itertools
import signal

import pytest

from olmkit.engine.runner.protocol import EXIT_NO_ENGINE, SafeMode
from olmkit.engine.safemode.decisions import (
    NORMAL,
    Trouble,
    caveat_of,
    next_mode,
    reason_of,
    trouble_of,
)

ILLEGAL, LIBRARIES, DEVICE = Trouble.ILLEGAL_INSTRUCTION, Trouble.LIBRARIES, Trouble.DEVICE
NO_KERNEL = "error llama.cpp: CUDA error: no kernel image is available for execution on the device"


@pytest.mark.parametrize(
    ("status", "tail", "trouble"),
    [
        (-signal.SIGILL, "", ILLEGAL),
        (EXIT_NO_ENGINE, "error llama.cpp cannot be loaded: libcudart.so.13", LIBRARIES),
        (-signal.SIGABRT, NO_KERNEL, DEVICE),
        (-signal.SIGABRT, "error llama.cpp: CUDA error: out of memory", None),
        (-signal.SIGABRT, "GGML_ASSERT(n > 0) failed", None),
        (-signal.SIGSEGV, NO_KERNEL, None),
        (-signal.SIGKILL, "", None),
        (1, "error llama.cpp: whatever", None),
        (0, "", None),
        (None, "", None),
    ],
)
def test_only_deaths_of_the_engine_itself_have_a_cure(
    status: int | None, tail: str, trouble: Trouble | None
) -> None:
    assert trouble_of(status, tail) is trouble


def test_an_illegal_instruction_costs_the_buffers_first_and_the_libraries_then() -> None:
    modes = [NORMAL]
    while (mode := next_mode(modes[-1], ILLEGAL, has_fallback=True)) is not None:
        modes.append(mode)
    assert modes[1:] == [
        SafeMode(plain_buffers=True),
        SafeMode(installed_libraries=True),
        SafeMode(installed_libraries=True, plain_buffers=True),
    ]
    assert next_mode(SafeMode(plain_buffers=True), ILLEGAL, has_fallback=False) is None


def test_missing_libraries_leave_only_others() -> None:
    assert next_mode(NORMAL, LIBRARIES, has_fallback=False) is None
    others = SafeMode(installed_libraries=True)
    assert next_mode(NORMAL, LIBRARIES, has_fallback=True) == others
    assert next_mode(others, LIBRARIES, has_fallback=True) is None


def test_a_device_that_cannot_be_used_is_left_alone() -> None:
    assert next_mode(NORMAL, DEVICE, has_fallback=False) == SafeMode(cpu_only=True)
    assert next_mode(SafeMode(cpu_only=True), DEVICE, has_fallback=False) is None


@pytest.mark.parametrize("order", list(itertools.permutations(Trouble)))
@pytest.mark.parametrize("has_fallback", [True, False])
def test_every_chain_of_deaths_ends(order: tuple[Trouble, ...], has_fallback: bool) -> None:
    mode, seen = NORMAL, {NORMAL}
    for trouble in itertools.islice(itertools.cycle(order), 40):
        following = next_mode(mode, trouble, has_fallback=has_fallback)
        if following is None:
            return
        assert following not in seen
        seen.add(following)
        mode = following
    raise AssertionError("it never ends")


def test_the_user_is_told_what_is_missing_and_why() -> None:
    assert caveat_of(NORMAL, "") == ""
    reason = reason_of(ILLEGAL, "")
    assert caveat_of(SafeMode(plain_buffers=True), reason) == (
        "safe mode: without AMX and repacked weights, which is slower, "
        "because the engine was killed by SIGILL, an illegal instruction"
    )
    reason = reason_of(
        LIBRARIES, "warn x\nerror llama.cpp cannot be loaded: libfoo.so.1: no file\n"
    )
    assert "(llama.cpp cannot be loaded: libfoo.so.1: no file)" in reason
    assert "no kernel image is available" in reason_of(DEVICE, NO_KERNEL)
