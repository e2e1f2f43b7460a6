"""Landlock: a process gives up rights to files and sockets, for ever and for all its children.

Through ctypes, for glibc has no functions for it. What is not known to this kernel is left out,
by the version of its interface.

Source: https://docs.kernel.org/userspace-api/landlock.html, include/uapi/linux/landlock.h
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from typing import Final

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION_FLAG: Final = 1
_PATH_BENEATH: Final = 1
"""Numbers of system calls that all architectures share, and their flags."""

_WRITE_FILE: Final = 1 << 1
_IN_DIRECTORIES: Final = sum(1 << bit for bit in range(4, 13))
"""Removing and making entries of directories, of every kind."""
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14
_TCP: Final = (1 << 0) | (1 << 1)
"""Binding and connecting."""
_ABSTRACT_SOCKETS: Final = 1 << 0
_SIGNALS: Final = 1 << 1

_TCP_SINCE: Final = 4
_SCOPES_SINCE: Final = 6


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def interface_version() -> int:
    """The version of this kernel's Landlock; 0: it has none, or it is off."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    except OSError:
        return 0


def restrict(*, writable: Iterable[str], keeps_tcp: bool, keeps_sockets: bool) -> None:
    """From now on this thread, and what it starts, changes no file but those below `writable`.

    Paths that are not there are left out. Reading is not restricted. Without `keeps_tcp` it makes
    no TCP connection either, without `keeps_sockets` none to abstract Unix sockets outside of it;
    signals reach nobody outside of it. The thread must have no new privileges.

    Raises:
        OSError: the kernel refuses.
    """
    version = interface_version()
    handled = _WRITE_FILE | _IN_DIRECTORIES
    handled |= _REFER if version >= 2 else 0
    handled |= _TRUNCATE if version >= 3 else 0
    attributes = _Ruleset(handled_access_fs=handled)
    size = 8
    if version >= _TCP_SINCE:
        size = 16
        attributes.handled_access_net = 0 if keeps_tcp else _TCP
    if version >= _SCOPES_SINCE:
        size = 24
        attributes.scoped = _SIGNALS | (0 if keeps_sockets else _ABSTRACT_SOCKETS)
    ruleset = _call(
        _CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(size), ctypes.c_uint32(0)
    )
    try:
        for path in writable:
            _allow(ruleset, path, handled)
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _WRITE_FILE | _TRUNCATE
        rule = _PathBeneath(allowed_access=rights, parent_fd=descriptor)
        _call(
            _ADD_RULE,
            ctypes.c_int(ruleset),
            ctypes.c_int(_PATH_BENEATH),
            ctypes.byref(rule),
            ctypes.c_uint32(0),
        )
    finally:
        os.close(descriptor)


def _call(number: int, *arguments: object) -> int:
    result = int(ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
