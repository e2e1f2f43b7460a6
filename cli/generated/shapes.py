"""The data of completion: the commands' flags and arguments, and names of models.

The shells' scripts are static; only names of models are asked of olm while somebody types
(`olm __complete models PREFIX`), by a path that imports neither typer nor anything heavy.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typer.core import TyperCommand

FILE_FLAGS: Final = frozenset(
    {
        "-f",
        "--file",
        "--messages",
        "--tools",
        "--schema",
        "--grammar",
        "--image",
        "--record",
        "--junit",
        "--suite",
    }
)
ARGUMENTS: Final = {
    "run": "models files",
    "embed": "models files",
    "rerank": "models files",
    "replay": "files",
    "test": "files",
    "show": "models",
    "diff": "models",
    "prompt": "models files",
    "ls": "models",
    "cp": "models",
    "rm": "models",
    "tag": "models",
    "inspect": "models",
    "history": "models",
    "save": "models",
    "load": "files",
    "lock": "models",
    "verify": "models",
    "stop": "running",
    "ps": "running",
    "completion": "shells",
    "help": "commands",
}
"""The kind of a command's arguments, where completion can know it."""


def candidates(words: Sequence[str]) -> list[str]:
    """The names of stored (`models`) or loaded (`running`) models that begin with a prefix.

    Never fails and never starts a daemon: who presses the tabulator wants no error.
    """
    from olmkit.engine.client import connect
    from olmkit.engine.errors import EngineError
    from olmkit.engine.settings import Settings

    kind, prefix = [*words, "", ""][:2]
    try:
        client = connect(Settings.load(), start=False)
        models = client.running() if kind == "running" else client.models()
    except EngineError:
        return []
    return [model.name for model in models if model.name.startswith(prefix)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One option of a command."""

    names: tuple[str, ...]
    help: str
    takes_value: bool
    choices: tuple[str, ...] = ()

    @property
    def is_file(self) -> bool:
        """Whether its value is a path."""
        return bool(FILE_FLAGS & set(self.names)) and self.takes_value


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The flags and arguments of one command."""

    name: str
    help: str
    flags: tuple[Flag, ...]
    arguments: str = ""
    aliases: tuple[str, ...] = field(default=())

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)


def shapes() -> list[Shape]:
    """All commands, in the order of the help."""
    from olmkit.cli.app import ALIASES, COMMANDS, load_command

    return [
        Shape(
            name=name,
            help=help_,
            flags=_flags(load_command(name)),
            arguments=ARGUMENTS.get(name, ""),
            aliases=tuple(alias for alias, target in ALIASES.items() if target == name),
        )
        for name, help_ in COMMANDS.items()
    ]


def _flags(command: "TyperCommand") -> tuple[Flag, ...]:
    from olmkit.cli.app import is_option

    flags = []
    for param in command.params:
        if is_option(param) and not param.hidden:
            words = (param.metavar or "").split("|")
            choices = tuple(map(str, getattr(param.type, "choices", ())))
            choices = choices or tuple(word for word in words[:-1] if word.islower())
            flags.append(
                Flag(
                    names=(*param.opts, *param.secondary_opts),
                    help=param.help or "",
                    takes_value=not param.is_flag,
                    choices=choices,
                )
            )
    flags.append(Flag(names=("-h", "--help"), help="Show help.", takes_value=False))
    return tuple(flags)
