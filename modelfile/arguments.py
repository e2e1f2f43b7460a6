r"""ARG: values that the caller chooses, put where `${NAME}` stands in other values.

An addition of olm, and only for files that have an ARG: in any other file `${NAME}` is plain text,
as in Ollama. Only `${NAME}` with a name of letters, digits and `_` is looked at; `$NAME`, `${}`
and a template's `${{ .Price }}` are text. As in a Dockerfile a backslash in front keeps the text
(`\${NAME}`), and two stand for one (`\\${NAME}`); elsewhere a backslash is a backslash. What was
put in is not looked at again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_REFERENCE = re.compile(r"(?<!\\)(\\*+)\$\{([A-Za-z_][A-Za-z0-9_]*+)\}")
MAX_EXPANDED = 16 * 1024 * 1024
"""Characters that all values of a file may grow to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A `${NAME}` that has no value, at `text[start:end]`."""

    name: str
    start: int
    end: int


@dataclass(slots=True)
class Arguments:
    """The arguments of one file, as they become known from its top to its end."""

    given: Mapping[str, str]
    """What the caller says; it goes before any default."""
    values: dict[str, str] = field(default_factory=dict)
    """The declared ones that have a value."""
    declared: set[str] = field(default_factory=set)
    is_exhausted: bool = False
    """Whether `MAX_EXPANDED` was reached; nothing is put in any more."""
    _budget: int = MAX_EXPANDED

    def declare(self, name: str, default: str | None) -> None:
        """Make `name` known from here on; a later declaration replaces an earlier one."""
        self.declared.add(name)
        value = self.given.get(name, default)
        if value is not None:
            self.values[name] = value

    def expand(self, text: str) -> tuple[str, list[Reference]]:
        """`text` with the arguments put in, and the references that have no value."""
        if "${" not in text:
            return text, []
        pieces: list[str] = []
        missing: list[Reference] = []
        end = 0
        for found in _REFERENCE.finditer(text):
            backslashes, name = found.groups()
            kept = "\\" * (len(backslashes) // 2)
            literal = found[0][len(backslashes) :]
            if len(backslashes) % 2 == 0:
                start = found.end() - len(literal)
                if name not in self.values:
                    missing.append(Reference(name=name, start=start, end=found.end()))
                literal = self._spend(self.values.get(name, ""))
            pieces += (text[end : found.start()], kept, literal)
            end = found.end()
        return "".join((*pieces, text[end:])), missing

    def _spend(self, value: str) -> str:
        self._budget -= len(value)
        self.is_exhausted = self.is_exhausted or self._budget < 0
        return "" if self.is_exhausted else value


def escape(text: str) -> str:
    """Text from which `expand` makes `text` again, whatever the arguments are."""
    return _REFERENCE.sub(lambda found: rf"{found[1]}{found[1]}\${{{found[2]}}}", text)
