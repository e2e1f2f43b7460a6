"""Completion scripts for bash, zsh and fish: pure functions from the commands' shapes to text."""

from olmkit.cli.generated import bash, fish, zsh
from olmkit.cli.generated.shapes import shapes


def script(shell: str) -> str:
    """The completion script for `bash`, `zsh` or `fish`."""
    return {"bash": bash.script, "zsh": zsh.script, "fish": fish.script}[shell](shapes())
