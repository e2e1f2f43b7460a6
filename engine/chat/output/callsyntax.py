"""What every parser of calls works with, and how one is described."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from olmkit.engine.chat.output.calls import Calls
from olmkit.engine.chat.output.cursor import Cursor, Steps


@dataclass(slots=True, kw_only=True)
class Context:
    """The state of one answer's parsing."""

    cursor: Cursor
    calls: Calls
    parsed_to: int = 0
    """Position behind the last thing that was taken whole; what fails after it is text."""

    def done(self) -> None:
        """Marks what was read as taken."""
        self.parsed_to = self.cursor.position


class CallSyntax(Protocol):
    """How a family of models writes calls."""

    @property
    def openers(self) -> Sequence[str]:
        """Texts that begin calls wherever they stand."""
        ...

    @property
    def first_openers(self) -> Sequence[str]:
        """Texts that begin calls only where nothing but white space comes before."""
        ...

    @property
    def marks(self) -> Sequence[str]:
        """All literal texts of the syntax: control tokens within them must not be hidden."""
        ...

    def parse(self, context: Context) -> Steps[None]:
        """Reads the calls that begin at the cursor, which stands on the opener.

        Raises:
            Malformed, Unfinished: what comes after `context.parsed_to` is no call.
        """
        ...
