"""`olm launch`: a coding agent on a local model."""

import enum
import os
import shutil
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from olmkit.cli.agents.agent import Agent, Endpoint, Start
from olmkit.cli.agents.claude import Claude
from olmkit.cli.agents.codex import Codex
from olmkit.cli.agents.opencode import Opencode
from olmkit.cli.errors import CliError, NotFound, UsageError
from olmkit.cli.screen.terminal import Terminal
from olmkit.cli.settings import client_of, load_settings
from olmkit.engine.addresses.address import Address
from olmkit.engine.client import Client
from olmkit.registry.replacing import write_in_place


class Name(enum.StrEnum):
    """The agents that are known."""

    CLAUDE = "claude"
    CODEX = "codex"
    OPENCODE = "opencode"


AGENTS: dict[Name, Agent] = {
    Name.CLAUDE: Claude(),
    Name.CODEX: Codex(),
    Name.OPENCODE: Opencode(),
}


def launch(
    agent: Annotated[Name, Argument(metavar="claude|codex|opencode", help="The agent.")],
    arguments: Annotated[
        list[str] | None, Argument(metavar="[ARGS]...", help="The agent's own, behind `--`.")
    ] = None,
    model: Annotated[
        str, Option("--model", metavar="MODEL", help="A model; else the one of the last time.")
    ] = "",
    config_only: Annotated[
        bool, Option("--config-only", help="Write the agent's own settings, start nothing.")
    ] = False,
    restore: Annotated[
        bool, Option("--restore", help="Take out of the agent's settings what olm put in.")
    ] = False,
) -> None:
    """Start a coding agent on a model of this daemon.

    The agent is started with settings of olm's beside the user's own, which stay as they are.
    With --config-only they are written into the agent's own file, for whenever it is started:
    Claude Code's settings.json, a profile of Codex (codex --profile olm), opencode's opencode.json.
    --restore brings back what was there before; what was changed since stays.

    Agents send long prompts and call tools: take a model with tools and a context of 32k tokens
    or more (OLM_CONTEXT_LENGTH).
    """
    if restore and (config_only or model or arguments):
        raise UsageError("--restore stands alone")
    if config_only and arguments:
        raise UsageError("--config-only starts nothing that could take arguments")
    terminal = Terminal()
    settings = load_settings(terminal)
    chosen, folder = AGENTS[agent], settings.home / "launch"
    if restore:
        configuration = chosen.configuration(None, folder, os.environ)
        is_done = configuration.restore()
        terminal.message(
            f"{configuration.path} is as it was\n" if is_done else f"nothing of olm is in {agent}\n"
        )
        return
    client = client_of(settings, terminal)
    endpoint = Endpoint(
        url=_reachable(settings.address),
        model=_usable(model or _remembered(folder / "model", client), client, terminal),
        key=os.environ.get("OLM_API_KEY") or None,
        ca_bundle=settings.remotes.ca_bundle if settings.address.scheme == "https" else None,
    )
    write_in_place(folder / "model", endpoint.model + "\n")
    if config_only:
        configuration = chosen.configuration(endpoint, folder, os.environ)
        configuration.write()
        terminal.message(f"{configuration.path} names {endpoint.model} at {endpoint.url}\n")
        return
    program = shutil.which(chosen.program)
    if program is None:
        raise NotFound(
            f"{chosen.program} is not installed", hint=f"npm install -g {chosen.package}"
        )
    _become(program, chosen.start(endpoint, folder, os.environ), arguments or [])


def _reachable(address: Address) -> str:
    if address.is_unix:
        raise CliError(
            "agents reach the daemon over TCP only", hint="set OLM_HOST to an address with a port"
        )
    return address.connect_url


def _remembered(file: Path, client: Client) -> str:
    """The model of the last time, or the only one there is.

    Raises:
        UsageError: neither tells which.
    """
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        pass
    names = [model.name for model in client.models()]
    if len(names) == 1:
        return names[0]
    shown = ", ".join(names[:5]) or "there is none yet: olm pull NAME"
    raise UsageError("--model is needed the first time", hint=f"models here: {shown}")


def _usable(model: str, client: Client, terminal: Terminal) -> str:
    """The model's name, once the daemon has it; a warning where it cannot call tools."""
    if "tools" not in client.show(model).capabilities:
        terminal.message(f"warning: {model} cannot call tools, so the agent can only talk\n")
    return model


def _become(program: str, start: Start, arguments: list[str]) -> None:
    """Goes on as the agent; does not return."""
    if start.file:
        write_in_place(*start.file)
    environ = os.environ | start.variables
    os.execve(program, [program, *start.arguments, *arguments], environ)
