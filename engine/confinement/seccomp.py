"""A filter of system calls: a process makes no sockets, starts no programs, looks into no other.

A small program for the kernel's own machine, by hand: it compares the number of each call with a
list, and what is on the list fails with EPERM.

Source: seccomp(2), https://docs.kernel.org/userspace-api/seccomp_filter.html; numbers of calls:
arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
"""

import ctypes
import os
import platform
import sys
from dataclasses import dataclass
from typing import Final

_SET_MODE_FILTER: Final = 1
_ALL_THREADS: Final = 1 << 0
_NO_SLOWDOWN: Final = 1 << 2
"""Before Linux 5.16 a filter also turned on a mitigation that costs speed: SPEC_ALLOW."""

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050000 | 1
"""Fail with EPERM."""
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_X32: Final = 0x40000000
"""From here on numbers are those of another interface of the same architecture."""
_AF_UNIX: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Machine:
    """The numbers of one architecture."""

    audit_number: int
    seccomp: int
    socket: int
    connections: tuple[int, ...]
    """bind, listen, accept, accept4, connect."""
    programs: tuple[int, ...]
    """execve, execveat."""
    others: tuple[int, ...]
    """ptrace, process_vm_readv, process_vm_writev, mount, umount2, pivot_root, unshare, setns,
    bpf, perf_event_open, userfaultfd, add_key, request_key, keyctl, open_by_handle_at, and
    io_uring_setup, whose rings make sockets past any filter."""


_MACHINES: Final = {
    "x86_64": _Machine(
        audit_number=0xC000003E,
        seccomp=317,
        socket=41,
        connections=(49, 50, 43, 288, 42),
        programs=(59, 322),
        others=(101, 310, 311, 165, 166, 155, 272, 308, 321, 298, 323, 248, 249, 250, 304, 425),
    ),
    "aarch64": _Machine(
        audit_number=0xC00000B7,
        seccomp=277,
        socket=198,
        connections=(200, 201, 202, 242, 203),
        programs=(221, 281),
        others=(117, 270, 271, 40, 39, 41, 97, 268, 280, 241, 282, 217, 218, 219, 265, 425),
    ),
}


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def why_not() -> str:
    """Why there are no filters here, as the end of a sentence; empty: there are."""
    if sys.platform != "linux":
        return "the system is not Linux"
    if platform.machine() not in _MACHINES:
        return f"the system calls of {platform.machine()} are not known to olm"
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return "" if "Seccomp:" in status.read() else "the kernel was built without it"
    except OSError as error:
        return f"/proc cannot be read: {error.strerror}"


def restrict(*, keeps_tcp: bool, keeps_local: bool) -> None:
    """From now on all threads of this process, and what they start, are refused those calls.

    `keeps_tcp`: sockets of all kinds stay allowed. `keeps_local`: Unix sockets and other programs
    stay allowed, which drivers of graphics cards use. The thread must have no new privileges.

    Raises:
        OSError: the kernel refuses, or the machine is not known.
    """
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise OSError(0, why_not())
    rows = _filter(machine, keeps_tcp=keeps_tcp, keeps_local=keeps_local)
    instructions = (_Instruction * len(rows))(*(_Instruction(*row) for row in rows))
    program = _Program(length=len(rows), filter=instructions)
    result = ctypes.CDLL(None, use_errno=True).syscall(
        ctypes.c_long(machine.seccomp),
        ctypes.c_uint(_SET_MODE_FILTER),
        ctypes.c_uint(_ALL_THREADS | _NO_SLOWDOWN),
        ctypes.byref(program),
    )
    if result != 0:  # above zero: a thread that could not be included
        code = ctypes.get_errno() if result < 0 else 0
        raise OSError(code, os.strerror(code) if code else "a thread has a filter of its own")


Row = tuple[int, int, int, int]


def _filter(machine: _Machine, *, keeps_tcp: bool, keeps_local: bool) -> list[Row]:
    refused = list(machine.others)
    if not keeps_tcp and not keeps_local:
        refused += machine.connections
    if not keeps_local:
        refused += machine.programs
    checks_family = not keeps_tcp and keeps_local
    if not keeps_tcp and not keeps_local:
        refused.append(machine.socket)
    rows: list[Row] = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, machine.audit_number),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _REFUSE),
    ]
    if checks_family:
        rows += [
            (_EQUAL, 0, 4, machine.socket),
            (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),  # little-endian: its lower half
            (_EQUAL, 1, 0, _AF_UNIX),
            (_RETURN, 0, 0, _REFUSE),
            (_RETURN, 0, 0, _ALLOW),
        ]
    for position, number in enumerate(refused):
        # Over the rest of the list and the word that allows, to the one that refuses.
        rows.append((_EQUAL, len(refused) - position, 0, number))
    return [*rows, (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
