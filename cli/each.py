"""Commands that take several names go on after a failure, as Docker's do."""

from collections.abc import Callable, Sequence

from olmkit.cli.errors import SomeFailed
from olmkit.cli.screen.terminal import Terminal
from olmkit.engine.errors import ApiError


def for_each(names: Sequence[str], action: Callable[[str], None], terminal: Terminal) -> None:
    """Runs the action on each name in order.

    Raises:
        ApiError: the only name failed.
        SomeFailed: of several names some failed; each failure has been told on stderr.
    """
    if len(names) == 1:
        action(names[0])
        return
    first: ApiError | None = None
    failed = 0
    for name in names:
        try:
            action(name)
        except ApiError as error:
            from olmkit.cli.screen.report import tell

            tell(error, terminal)
            first = first or error
            failed += 1
    if first is not None:
        raise SomeFailed(f"{failed} of {len(names)} failed", first=first)
