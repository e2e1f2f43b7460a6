"""What compiling a template needs to know around each node: names, places, other templates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from olmkit.modelfile.gotemplate.evaluation.functions import Function
from olmkit.modelfile.gotemplate.limits import Execution
from olmkit.modelfile.gotemplate.printing.goquoting import to_bytes
from olmkit.modelfile.gotemplate.syntax.nodes import Node
from olmkit.modelfile.gotemplate.syntax.templatescanner import line_at
from olmkit.modelfile.gotemplate.templateerrors import TemplateExecutionError

Evaluate = Callable[[Execution, object], object]
"""An expression made ready: called with the execution and the value in focus, gives the value."""

Run = Callable[[Execution, object], int]
"""A statement made ready; what it returns says how to go on."""

_LONGEST_QUOTE = 1000

GO_ON, BREAK, CONTINUE = 0, 1, 2


@dataclass(slots=True)
class Body:
    """One template of a program: its statements and how many variables they need."""

    run: Run
    variables: int


class Scope:
    """Compiles one template: its variables by slot, and errors with their place.

    Slots follow Go's run-time stack of variables: blocks take theirs back at their end.
    """

    def __init__(
        self,
        *,
        text: str,
        parse_name: str,
        name: str,
        functions: Mapping[str, Function],
        program: dict[str, Body],
    ) -> None:
        self.functions = functions
        self.program = program
        self.name = name
        self._text = text
        self._parse_name = parse_name
        self._declared: list[str] = ["$"]
        self._slots: dict[str, list[int]] = {"$": [0]}
        self.most_variables = 1

    def declare(self, name: str) -> int:
        """The slot of a new variable."""
        slot = len(self._declared)
        self._declared.append(name)
        self._slots.setdefault(name, []).append(slot)
        self.most_variables = max(self.most_variables, slot + 1)
        return slot

    def slot(self, name: str) -> int | None:
        """The slot of the innermost variable of this name."""
        slots = self._slots.get(name)
        return slots[-1] if slots else None

    def mark(self) -> int:
        """How many variables are declared."""
        return len(self._declared)

    def leave(self, mark: int) -> None:
        """Forget the variables declared since `mark`."""
        for name in self._declared[mark:]:
            self._slots[name].pop()
        del self._declared[mark:]

    def error(self, node: Node, message: str) -> TemplateExecutionError:
        """The error of a node, to be raised."""
        before = self._text[: node.position]
        start = before.rfind("\n") + 1
        return TemplateExecutionError(
            _shortened(message),
            template_name=self._parse_name,
            executing=self.name,
            line=line_at(self._text, node.position),
            column=len(to_bytes(before[start:])),
            context=_shortened(str(node)),
        )


def _shortened(text: str) -> str:
    """Text for an error, which may quote what the template or its user wrote."""
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}..."
