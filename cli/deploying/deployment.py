"""What is to be served, whoever starts it."""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from olmkit.cli.errors import CliError
from olmkit.engine.diagnosis.variables import is_secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A model and the daemon that serves it."""

    model: str
    """The model's name as `olm pull` takes it."""
    port: int
    """TCP port of this machine's loopback."""
    image: str
    """Container image with olm as its entry point."""

    @property
    def unit(self) -> str:
        """A name for services and files: `olm-` and the model's, as RFC 1123 allows it.

        Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
        """
        name = re.sub(r"[^a-z0-9]+", "-", self.model.lower()).strip("-")
        return f"olm-{name[:50].rstrip('-')}" if name else "olm"


def olm_program() -> Path:
    """The `olm` that runs, as an absolute path: services have no shell's PATH.

    Raises:
        CliError: there is no such file beside this Python.
    """
    path = Path(sys.executable).with_name("olm")
    if not path.exists():
        raise CliError(
            f"{path} does not exist, so a service cannot start it",
            hint="install olm in an environment of its own: pip install olmkit",
        )
    return path


def kept_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of olm that this command was given, which a service must be given too.

    Secrets are left out: the files of a service may be read by others.
    """
    return {
        name: value
        for name, value in sorted(environ.items())
        if name.startswith(("OLM_", "OLLAMA_")) and not is_secret(name)
    }
