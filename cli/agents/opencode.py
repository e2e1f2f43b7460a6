"""opencode, which reaches OpenAI's API by a package of its own.

Source: https://opencode.ai/docs/config, https://opencode.ai/docs/providers and
https://opencode.ai/docs/network
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from olmkit.cli.agents.agent import PLACEHOLDER_KEY, Configuration, Endpoint, Start
from olmkit.cli.agents.jsonsettings import JsonSettings


class Opencode:
    """opencode."""

    program = "opencode"
    package = "opencode-ai"

    def start(self, endpoint: Endpoint, folder: Path, environ: Mapping[str, str]) -> Start:
        """A file of ours, which opencode lays over the user's."""
        file = folder / "opencode-settings.json"
        variables = {"OPENCODE_CONFIG": str(file), "OLM_API_KEY": endpoint.key or PLACEHOLDER_KEY}
        if endpoint.ca_bundle:
            variables["NODE_EXTRA_CA_CERTS"] = endpoint.ca_bundle
        return Start(
            arguments=(),
            variables=variables,
            file=(file, json.dumps(_settings(endpoint), indent=2) + "\n"),
        )

    def configuration(
        self, endpoint: Endpoint | None, folder: Path, environ: Mapping[str, str]
    ) -> Configuration:
        """The provider in the user's settings."""
        home = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "opencode"
        return JsonSettings(
            path=home / "opencode.json",
            record=folder / "opencode.json",
            ours=_settings(endpoint) if endpoint else {},
        )


def _settings(endpoint: Endpoint) -> dict[str, Any]:
    options = {"baseURL": f"{endpoint.url}/v1"}
    options["apiKey"] = "{env:OLM_API_KEY}" if endpoint.key else PLACEHOLDER_KEY
    return {
        "$schema": "https://opencode.ai/config.json",
        "model": f"olm/{endpoint.model}",
        "small_model": f"olm/{endpoint.model}",
        "provider": {
            "olm": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "olm",
                "options": options,
                "models": {endpoint.model: {"name": endpoint.model, "tool_call": True}},
            }
        },
    }
