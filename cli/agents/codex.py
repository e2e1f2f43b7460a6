"""Codex, which speaks OpenAI's Responses API and takes settings from profiles.

Source: https://developers.openai.com/codex/config-reference and
https://developers.openai.com/codex/environment-variables
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from olmkit.cli.agents.agent import Configuration, Endpoint, Start
from olmkit.cli.ownfiles import require_own
from olmkit.registry.replacing import write_in_place

PROFILE: Final = "olm"
MARK: Final = "# Written by `olm launch codex`; `codex --profile olm` uses it.\n"


class Codex:
    """Codex's command line."""

    program = "codex"
    package = "@openai/codex"

    def start(self, endpoint: Endpoint, folder: Path, environ: Mapping[str, str]) -> Start:
        """The profile, which nothing reads but a Codex that is told to."""
        profile = _profile(endpoint, environ)
        profile.check()
        variables = {"OLM_API_KEY": endpoint.key, "CODEX_CA_CERTIFICATE": endpoint.ca_bundle}
        return Start(
            arguments=("--profile", PROFILE),
            variables={name: value for name, value in variables.items() if value},
            file=(profile.path, profile.text),
        )

    def configuration(
        self, endpoint: Endpoint | None, folder: Path, environ: Mapping[str, str]
    ) -> Configuration:
        """The same profile."""
        return _profile(endpoint, environ)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A profile in a file of its own."""

    path: Path
    text: str

    def write(self) -> None:
        """Write the file."""
        self.check()
        write_in_place(self.path, self.text)

    def restore(self) -> bool:
        """Remove the file."""
        self.check()
        is_there = self.path.exists()
        self.path.unlink(missing_ok=True)
        return is_there

    def check(self) -> None:
        """Raises: CliError, the file is somebody else's."""
        require_own(self.path, MARK)


def _profile(endpoint: Endpoint | None, environ: Mapping[str, str]) -> Profile:
    home = Path(environ.get("CODEX_HOME") or Path.home() / ".codex")
    return Profile(path=home / f"{PROFILE}.config.toml", text=_toml(endpoint) if endpoint else MARK)


def _toml(endpoint: Endpoint) -> str:
    """A string of JSON is one of TOML, but for DEL, which no name or address has."""
    lines = [
        f"model = {json.dumps(endpoint.model)}",
        f"model_provider = {json.dumps(PROFILE)}",
        "",
        f"[model_providers.{PROFILE}]",
        'name = "olm"',
        f"base_url = {json.dumps(endpoint.url + '/v1')}",
        'wire_api = "responses"',
    ]
    if endpoint.key:
        lines.append('env_key = "OLM_API_KEY"')
    return MARK + "\n".join(lines) + "\n"
