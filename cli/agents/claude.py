"""Claude Code, which speaks Anthropic's API.

Source: https://code.claude.com/docs/en/settings, https://code.claude.com/docs/en/llm-gateway and
https://code.claude.com/docs/en/network-config
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from olmkit.cli.agents.agent import PLACEHOLDER_KEY, Configuration, Endpoint, Start
from olmkit.cli.agents.jsonsettings import JsonSettings

_MODEL_VARIABLES = (
    "ANTHROPIC_MODEL",
    "ANTHROPIC_DEFAULT_OPUS_MODEL",
    "ANTHROPIC_DEFAULT_SONNET_MODEL",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL",
    "CLAUDE_CODE_SUBAGENT_MODEL",
)
"""Whatever of its models it would ask for is this one."""


class Claude:
    """Claude Code."""

    program = "claude"
    package = "@anthropic-ai/claude-code"

    def start(self, endpoint: Endpoint, folder: Path, environ: Mapping[str, str]) -> Start:
        """A settings file of ours beside the user's, which loses to none of his."""
        file = folder / "claude-settings.json"
        return Start(
            arguments=("--settings", str(file)),
            variables={"ANTHROPIC_AUTH_TOKEN": endpoint.key or PLACEHOLDER_KEY},
            file=(file, json.dumps(_settings(endpoint), indent=2) + "\n"),
        )

    def configuration(
        self, endpoint: Endpoint | None, folder: Path, environ: Mapping[str, str]
    ) -> Configuration:
        """Variables in the user's settings."""
        home = Path(environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")
        ours = _settings(endpoint) if endpoint else {}
        if endpoint and not endpoint.key:
            ours["env"]["ANTHROPIC_AUTH_TOKEN"] = PLACEHOLDER_KEY
        return JsonSettings(path=home / "settings.json", record=folder / "claude.json", ours=ours)


def _settings(endpoint: Endpoint) -> dict[str, Any]:
    variables = {"ANTHROPIC_BASE_URL": endpoint.url}
    variables |= dict.fromkeys(_MODEL_VARIABLES, endpoint.model)
    # A header that changes with every request would make the shared prefix of two differ.
    variables["CLAUDE_CODE_ATTRIBUTION_HEADER"] = "0"
    variables["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] = "1"
    if endpoint.ca_bundle:
        variables["NODE_EXTRA_CA_CERTS"] = endpoint.ca_bundle
    return {"env": variables}
