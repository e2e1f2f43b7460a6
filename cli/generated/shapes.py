"""The data of completion: the commands' flags and arguments, and what may stand for each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from olmkit.cli.generated.placevalues import (
    FILES,
    KEYS,
    KNOWN,
    MODELS,
    MODELS_OR_FILES,
    NOTHING,
    RUNNING,
    SESSIONS,
    Values,
    static_values,
)

if TYPE_CHECKING:
    from typer.core import TyperCommand, TyperOption

Places = tuple[Values, ...]
"""Of a command's arguments, in their order; the last one is of all that follow."""

ARGUMENTS: Final[Mapping[str, Places]] = {
    "run": (Values(asked="known", files=True), NOTHING),
    "embed": (MODELS_OR_FILES, NOTHING),
    "rerank": (MODELS_OR_FILES, NOTHING),
    "replay": (FILES, NOTHING),
    "test": (FILES, NOTHING),
    "pull": (KNOWN, NOTHING),
    "push": (MODELS, NOTHING),
    "show": (MODELS, NOTHING),
    "diff": (MODELS, MODELS, NOTHING),
    "plan": (KNOWN, NOTHING),
    "prompt": (MODELS_OR_FILES, NOTHING),
    "parse": (MODELS, FILES, NOTHING),
    "bench": (MODELS_OR_FILES, NOTHING),
    "ls": (MODELS, NOTHING),
    "ps": (RUNNING, NOTHING),
    "stats": (RUNNING,),
    "logs": (MODELS, NOTHING),
    "wait": (MODELS,),
    "cp": (MODELS, MODELS, NOTHING),
    "rm": (MODELS,),
    "tag": (MODELS, MODELS, NOTHING),
    "inspect": (MODELS,),
    "history": (MODELS, NOTHING),
    "save": (MODELS,),
    "load": (FILES, NOTHING),
    "lock": (MODELS,),
    "verify": (MODELS,),
    "sign": (MODELS, NOTHING),
    "sbom": (MODELS, NOTHING),
    "stop": (RUNNING,),
    "export": (KNOWN, NOTHING),
}
BEHIND_VERBS: Final[Mapping[tuple[str, str], Values]] = {
    ("session", "rm"): SESSIONS,
    ("key", "rm"): KEYS,
    ("key", "revoke"): KEYS,
    ("cache", "rm"): MODELS,
    ("cache", "warm"): MODELS,
}
"""By a command and its first word, where that is one of some verbs."""
SETTINGS_VERBS: Final = ("get", "set", "unset")
FLAGS: Final[Mapping[str, Values]] = {
    "--model": MODELS,
    "--session": SESSIONS,
    "--output": FILES,
    "--input": FILES,
    "--file": FILES,
    "--key": FILES,
    "--policy": FILES,
}
TABLES: Final[Mapping[str, str]] = {
    "--set": "parameters",
    "--quant": "quantizations",
    "--quantize": "quantizations",
    "--draft-quantize": "quantizations",
    "--kv": "cache types",
}
"""Flags whose values are words of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One option of a command."""

    names: tuple[str, ...]
    help: str
    takes_value: bool
    values: Values = NOTHING
    repeats: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The flags and arguments of one command."""

    name: str
    help: str
    flags: tuple[Flag, ...]
    places: Places = (NOTHING,)
    behind_verbs: Mapping[str, Values] = field(default_factory=dict)
    """What the second place takes by the word in the first, where that counts."""
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The name and its aliases."""
        return (self.name, *self.aliases)


def shapes() -> list[Shape]:
    """All commands, in the order of the help."""
    from olmkit.cli.app import ALIASES, COMMANDS, load_command

    tables = static_values()
    found = []
    for name, help_ in COMMANDS.items():
        command = load_command(name)
        verbs = _verbs(command)
        behind = {verb: BEHIND_VERBS.get((name, verb), NOTHING) for verb in verbs}
        if name == "config":
            behind |= dict.fromkeys(SETTINGS_VERBS, tables["settings"])
        places = (Values(words=verbs), NOTHING) if verbs else ARGUMENTS.get(name, (NOTHING,))
        if name == "help":
            places = (Values(words=(*COMMANDS, *ALIASES)), NOTHING)
        found.append(
            Shape(
                name=name,
                help=help_,
                flags=_flags(command, tables),
                places=places,
                behind_verbs={verb: values for verb, values in behind.items() if values != NOTHING},
                aliases=tuple(alias for alias, target in ALIASES.items() if target == name),
            )
        )
    return found


def _verbs(command: "TyperCommand") -> tuple[str, ...]:
    """The words that the first argument may be; empty where it may be any."""
    from olmkit.cli.app import is_option

    first = next((param for param in command.params if not is_option(param)), None)
    return tuple(map(str, getattr(first and first.type, "choices", ())))


def _flags(command: "TyperCommand", tables: Mapping[str, Values]) -> tuple[Flag, ...]:
    from olmkit.cli.app import is_option

    flags = [
        Flag(
            names=(*param.opts, *param.secondary_opts),
            help=param.help or "",
            takes_value=not param.is_flag,
            values=NOTHING if param.is_flag else _values(param, tables),
            repeats=param.multiple,
        )
        for param in command.params
        if is_option(param) and not param.hidden
    ]
    flags.append(Flag(names=("-h", "--help"), help="Show help.", takes_value=False))
    return tuple(flags)


def _values(option: "TyperOption", tables: Mapping[str, Values]) -> Values:
    words = (option.metavar or "").split("|")
    choices = tuple(map(str, getattr(option.type, "choices", ())))
    choices = choices or tuple(word for word in words[:-1] if word.islower())
    if choices:
        return Values(words=choices)
    if option.metavar == "FILE":
        return FILES
    for name in option.opts:
        if name in TABLES:
            return tables[TABLES[name]]
        if name in FLAGS:
            return FLAGS[name]
    return NOTHING


def quoted(text: str) -> str:
    """The text as one word of a shell."""
    return "'" + text.replace("'", "'\\''") + "'"
