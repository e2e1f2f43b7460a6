"""What an agent needs to know of a daemon, and where it wants to read that."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PLACEHOLDER_KEY = "olm"
"""What an agent sends where the daemon asks for no key: agents refuse to start without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A daemon and the model on it."""

    url: str
    """`scheme://host:port[/path]`, without a closing slash."""
    model: str
    key: str | None
    """The daemon's API key; it goes into the agent's environment, and into no file."""
    ca_bundle: str | None = None
    """File of the authorities by which the daemon's certificate is trusted; None: the system's."""


class Configuration(Protocol):
    """Something in a file of the agent's own that tells it of the endpoint."""

    @property
    def path(self) -> Path:
        """The file."""

    def write(self) -> None:
        """Add it, keeping what else is there.

        Raises:
            CliError: the file is not what the agent would read; nothing was changed.
            OSError: the file cannot be read or written.
        """

    def restore(self) -> bool:
        """Take it out, giving what was there before its place back; False: it was not there.

        Raises:
            CliError, OSError: as `write`.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How the agent is started for one endpoint, without a change to its user's settings."""

    arguments: tuple[str, ...]
    """What stands between the program and the user's own arguments."""
    variables: Mapping[str, str]
    file: tuple[Path, str] | None = None
    """A file to be written before, with its text."""


class Agent(Protocol):
    """A coding agent."""

    program: str
    package: str
    """What npm installs it from."""

    def start(self, endpoint: Endpoint, folder: Path, environ: Mapping[str, str]) -> Start:
        """How to start it; `folder` is olm's own."""

    def configuration(
        self, endpoint: Endpoint | None, folder: Path, environ: Mapping[str, str]
    ) -> Configuration:
        """What tells it of the endpoint for good; without one it can only be restored."""
