"""`olm completion`: scripts that complete commands, flags and names of models."""

from enum import StrEnum
from typing import Annotated

from typer import Argument

from olmkit.cli.generated.shells import script
from olmkit.cli.screen.terminal import Terminal


class Shell(StrEnum):
    """Shells that there is a script for."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print a completion script for a shell.

    For bash: `source <(olm completion bash)`, or save it as `olm` in
    ~/.local/share/bash-completion/completions. For zsh: save it as `_olm` in a directory of
    $fpath. For fish: save it as `olm.fish` in ~/.config/fish/completions.
    """
    Terminal().data(script(shell.value))
