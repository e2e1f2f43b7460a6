"""A launch agent of macOS that runs the daemon.

Source: launchd.plist(5).
"""

import plistlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

LABEL: Final = "olm.serve"


def launch_agent(program: Path, variables: Mapping[str, str], log: Path) -> str:
    """The text of a property list that runs `olm serve` from login on."""
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": [str(program), "serve"],
            "EnvironmentVariables": dict(variables),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "StandardErrorPath": str(log),
            "StandardOutPath": str(log),
        },
        sort_keys=False,
    ).decode()
