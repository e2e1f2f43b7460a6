"""Manual pages from the command tree: `python -m olmkit.cli.generated.manpages [DIRECTORY]`.

It writes the completion scripts too, both below the checkout. What is written there is checked
in, and a test compares it with what this module makes. Format: man(7) macros.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from olmkit.cli.generated.roff import definitions, escaped, head, paragraphs

if TYPE_CHECKING:
    from typer.core import TyperOption

    from olmkit.cli.app import Command, LazyGroup

FILES = {
    "olm.toml": "settings of a project; see olm.toml(5)",
    "~/.config/olm/olm.toml, /etc/olm/olm.toml": "settings of a user, and of all users",
    "$OLM_HOME/models": "the store, in Ollama's layout",
    "$OLM_HOME/shortnames.toml": 'short names of models: name = "reference" below [shortnames]',
    "$OLM_HOME/history": "lines of chats",
    "$OLM_HOME/sessions": "chats that are kept by name",
    "$OLM_HOME/logs/daemon.log": "the log of a daemon that was started by another command",
    "$OLM_HOME/cache/engine-findings.json": "in which safe mode an engine runs on a processor",
    "$OLM_HOME/daemon.json": "process number and address of the running daemon",
}


def pages() -> dict[str, str]:
    """Every page by its file name: `olm.1`, and `olm-COMMAND.1` each."""
    from olmkit.cli.app import COMMANDS, load_command

    made = {"olm.1": _main_page(COMMANDS)}
    for name, help_ in COMMANDS.items():
        made[f"olm-{name}.1"] = _command_page(name, help_, load_command(name))
    return made


def generated() -> dict[Path, str]:
    """Everything that is generated and checked in, by path below the checkout."""
    from olmkit.cli.generated.configpage import config_page
    from olmkit.cli.generated.shells import script

    files = {Path("man/man1") / name: text for name, text in pages().items()}
    files[Path("man/man5/olm.toml.5")] = config_page()
    files[Path("completions/bash/olm")] = script("bash")
    files[Path("completions/zsh/_olm")] = script("zsh")
    files[Path("completions/fish/olm.fish")] = script("fish")
    return files


def _main_page(commands: dict[str, str]) -> str:
    from olmkit.cli.app import ALIASES, root
    from olmkit.cli.exits import MEANINGS
    from olmkit.cli.generated.environment import OTHERS, VARIABLES

    rows = {
        ", ".join([name, *(a for a, target in ALIASES.items() if target == name)]): help_
        for name, help_ in commands.items()
    }
    parts = [
        head("olm", "build, pull, run and serve local language models"),
        ".SH SYNOPSIS\n.B olm\n.I command\n[\n.I argument\n\\&...\n]",
        ".SH DESCRIPTION",
        "Commands speak to a daemon, which loads models and answers Ollama's HTTP API. A command "
        "that needs the daemon starts it in the background. Each command has a page of its own, "
        "such as\n.BR olm\\-run (1).",
        definitions("COMMANDS", rows),
        definitions("OPTIONS", _options(root())),
        definitions("EXIT STATUS", {str(int(code)): text for code, text in MEANINGS.items()}),
        ".SH ENVIRONMENT\nEach\n.BI OLM_ X\nbut OLM_HOME falls back to its twin\n.BI OLLAMA_ X,\n"
        "and both to a line of\n.BR olm.toml (5).",
        definitions("", VARIABLES | OTHERS),
        definitions("FILES", FILES),
        ".SH SEE ALSO\n"
        + ",\n".join(f".BR olm\\-{name} (1)" for name in commands)
        + ",\n.BR olm.toml (5)",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _command_page(name: str, summary: str, command: "Command") -> str:
    arguments = command.explained_arguments()
    parts = [
        head(f"olm-{name}", summary[:1].lower() + summary[1:]),
        f".SH SYNOPSIS\n.B olm {name}\n[\n.I options\n]",
        *(f".I {escaped(metavar)}" for metavar, _ in arguments),
        ".SH DESCRIPTION",
        paragraphs(command.help or ""),
        definitions("ARGUMENTS", dict(arguments)),
        definitions("OPTIONS", _options(command)),
        ".SH EXIT STATUS\nSee\n.BR olm (1).\n.SH SEE ALSO\n.BR olm (1)",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _options(command: "Command | LazyGroup") -> dict[str, str]:
    from olmkit.cli.app import is_option

    options = {
        _spelling(option): option.help or "" for option in command.params if is_option(option)
    }
    return options | {"-h, --help": "Show help."}


def _spelling(option: "TyperOption") -> str:
    names = ", ".join([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    choices = getattr(option.type, "choices", ())
    value = "|".join(map(str, choices)) or option.metavar or "VALUE"
    return f"{names} {value}"


def main() -> None:
    """Writes what is generated below the directory given, or the present one."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    for path, text in generated().items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
