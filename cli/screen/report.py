"""The report of an error that ends a command, on stderr."""

from olmkit.cli.errors import CliError, SomeFailed
from olmkit.cli.exits import exit_code
from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.errors import EngineError
from olmkit.modelfile.errors import ModelfileError
from olmkit.registry.errors import RegistryError

OUR_ERRORS = (CliError, EngineError, RegistryError, ModelfileError)


def report(
    error: Exception, terminal: Terminal | None = None, *, with_traceback: bool = False
) -> int:
    """Tells the error on stderr; returns the exit code that it gives."""
    terminal = terminal or Terminal()
    if with_traceback:
        import traceback  # only for who debugs

        terminal.message("".join(traceback.format_exception(error)))
    if isinstance(error, SomeFailed):
        return int(exit_code(error))
    if isinstance(error, OUR_ERRORS):
        tell(error, terminal)
        return int(exit_code(error))
    terminal.message(f"Error: {type(error).__name__}: {error}\n")
    where = "the lines above say where" if with_traceback else "--debug shows where"
    terminal.message(f"hint: this is a defect of olm; {where}\n")
    return int(exit_code(error))


def tell(error: Exception, terminal: Terminal) -> None:
    """`Error: …` and, where there is one, `hint: …`."""
    terminal.message(f"Error: {error}\n")
    if hint := getattr(error, "hint", None):
        terminal.message(f"hint: {hint}\n")
