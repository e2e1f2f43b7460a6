"""A process confines itself: no network, no file changed, no new privileges, no core dump.

For processes that work on files of strangers (models, templates): code that such a file got to
run can change what the process computes, and nothing else. What the kernel lacks is left out and
told; nothing fails for it.

Source: prctl(2), PR_SET_NO_NEW_PRIVS; setrlimit(2).
"""

import ctypes
import os
import resource
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from olmkit.engine.confinement import landlock, seccomp
from olmkit.engine.confinement.levels import Confinement

_SET_NO_NEW_PRIVILEGES: Final = 38
_PLAIN_NODES: Final = tuple(
    f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")
)
"""Device nodes that anybody writes to without changing anything."""
_CARD_NODES: Final = ("/dev/nvidiactl", "/dev/kfd", "/dev/dri")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What is in force, and what is not and why, as ends of sentences."""

    active: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One line."""
        missing = f"; not {'; not '.join(self.missing)}" if self.missing else ""
        return f"{', '.join(self.active) or 'nothing'}{missing}"


def available() -> Measures:
    """What a fully confined process would give up on this machine."""
    active, missing = ["core dumps"], list[str]()
    if sys.platform == "linux":
        active.insert(0, "new privileges")
    if version := landlock.interface_version():
        active.append(f"changes of files (Landlock, version {version})")
    else:
        missing.append("changes of files: the kernel has no Landlock, or it is off")
    if reason := seccomp.why_not():
        missing.append(f"the network: {reason}")
    else:
        active.append("the network and other programs (seccomp)")
    return Measures(active=tuple(active), missing=tuple(missing))


def confine(
    level: Confinement, *, writable: Iterable[str] = (), uses_card: bool = False
) -> Measures:
    """Give up what the level says; returns what came of it. Never fails.

    `writable`: directories in which files are changed all the same, where they exist.
    `uses_card`: graphics cards stay usable, with what their drivers need: device nodes, caches,
    shared memory, Unix sockets, helper programs.
    """
    if level is Confinement.OFF:
        return Measures(missing=("confined: that is turned off",))
    active, missing = list[str](), list[str]()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    active.append("core dumps")
    if sys.platform != "linux":
        return Measures(active=tuple(active), missing=("the rest: the system is not Linux",))
    ctypes.CDLL(None).prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    active.append("new privileges")
    keeps_tcp = level is Confinement.NETWORK
    paths = [*writable, *(_driver_paths() if uses_card else _PLAIN_NODES)]
    threads = _threads()
    try:
        if not landlock.interface_version():
            raise OSError(0, "the kernel has no Landlock, or it is off")
        landlock.restrict(writable=paths, keeps_tcp=keeps_tcp, keeps_sockets=uses_card)
        but = f" (but for {threads - 1} earlier threads)" if threads > 1 else ""
        active.append(f"changes of files{but}")
    except OSError as error:
        missing.append(f"changes of files: {error.strerror}")
    try:
        seccomp.restrict(keeps_tcp=keeps_tcp, keeps_local=uses_card)
        if not keeps_tcp:
            active.append("the network")
        if not uses_card:
            active.append("other programs")
    except OSError as error:
        missing.append(f"the network: {error.strerror}")
    return Measures(active=tuple(active), missing=tuple(missing))


def has_card_nodes() -> bool:
    """Whether this machine has graphics cards that a driver serves."""
    return any(map(os.path.exists, _CARD_NODES))


def _driver_paths() -> list[str]:
    """Where drivers of graphics cards find cards, share memory and keep compiled code.

    All of /dev: a driver may make a card's node when the card is first used.
    """
    home, environ = os.path.expanduser("~"), os.environ
    cache = environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    nvidia = environ.get("CUDA_CACHE_PATH") or os.path.join(home, ".nv")
    return ["/dev", environ.get("TMPDIR") or "/tmp", cache, nvidia]


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1
