"""The daemon as a service of the user who installs it: files written, and the manager told."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from olmkit.cli.deploying.deployment import kept_variables, olm_program
from olmkit.cli.deploying.launchd import LABEL, launch_agent
from olmkit.cli.deploying.systemd import service_unit, socket_unit
from olmkit.cli.errors import CliError
from olmkit.cli.ownfiles import require_own
from olmkit.engine.settings import Settings

MARK: Final = "Written by `olm service install`"
MANAGER_TIMEOUT_S: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """What makes the daemon a service: files, and the commands that begin and end it."""

    files: dict[Path, str]
    begin: tuple[tuple[str, ...], ...]
    end: tuple[tuple[str, ...], ...]

    def install(self) -> None:
        """Writes the files and starts the service.

        Raises:
            CliError: a file of somebody else has one of the names, and nothing was written; or the
                manager failed, and the files stay.
        """
        self._check_owned()
        for path, text in self.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for command in self.begin:
            _tell(command, f"the files are written: {', '.join(map(str, self.files))}")

    def uninstall(self) -> bool:
        """Stops the service and removes its files; False: there were none.

        Raises:
            CliError: a file of somebody else has one of the names, and nothing was done; or the
                manager failed, and the files are gone.
        """
        self._check_owned()
        present = [path for path in self.files if path.exists()]
        first, *rest = self.end
        try:
            if present:
                _tell(first, "the files are removed all the same")
        finally:
            for path in present:
                path.unlink()
        if present:
            for command in rest:
                _tell(command, "the files are removed")
        return bool(present)

    def _check_owned(self) -> None:
        for path in self.files:
            require_own(path, MARK)


def service_of(settings: Settings, *, on_demand: bool) -> Service:
    """The service for this system's manager: systemd, or launchd on macOS.

    Raises:
        CliError: there is no such manager, or no olm that it could start.
    """
    program = olm_program()
    variables = kept_variables(os.environ) | settings.path_variables
    if sys.platform == "darwin":
        if on_demand:
            raise CliError("launchd starts olm at login; --on-demand is for systemd")
        return _launchd_service(settings, program, variables)
    return _systemd_service(settings, program, variables, on_demand=on_demand)


def _systemd_service(
    settings: Settings, program: Path, variables: dict[str, str], *, on_demand: bool
) -> Service:
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd/user"
    unit = service_unit(program, variables, has_socket=on_demand)
    files = {folder / "olm.service": f"# {MARK}\n{unit}"}
    if on_demand:
        socket = socket_unit(settings.address.netloc)
        files[folder / "olm.socket"] = f"# {MARK}\n{socket}"
    started = "olm.socket" if on_demand else "olm.service"
    return Service(
        files=files,
        begin=(_systemctl("daemon-reload"), _systemctl("enable", "--now", started)),
        end=(
            _systemctl("disable", "--now", *(path.name for path in files)),
            _systemctl("daemon-reload"),
        ),
    )


def _systemctl(*words: str) -> tuple[str, ...]:
    return ("systemctl", "--user", *words)


def _launchd_service(settings: Settings, program: Path, variables: dict[str, str]) -> Service:
    path = Path.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    head, _, tail = launch_agent(program, variables, settings.log_file).partition("\n")
    domain = f"gui/{os.getuid()}"
    return Service(
        files={path: f"{head}\n<!-- {MARK} -->\n{tail}"},
        begin=(("launchctl", "bootstrap", domain, str(path)),),
        end=(("launchctl", "bootout", f"{domain}/{LABEL}"),),
    )


def _tell(command: Sequence[str], state: str) -> None:
    """Runs a command of the service manager.

    Raises:
        CliError: it failed, or is not there; `state` says what is true all the same.
    """
    words = " ".join(command)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=MANAGER_TIMEOUT_S, check=False
        )
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        if done.returncode == 0:
            return
    except FileNotFoundError:
        reason = "it is not installed"
    except subprocess.TimeoutExpired:
        reason = f"it did not answer in {MANAGER_TIMEOUT_S} s"
    raise CliError(f"`{words}` failed: {reason}", hint=f"{state}; run `{words}` yourself")
