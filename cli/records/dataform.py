"""In which form a command prints its data: read from its flags before anything is asked."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from olmkit.cli.errors import UsageError

if TYPE_CHECKING:
    from olmkit.cli.records.linetemplate import LineTemplate

Record = dict[str, Any]
"""One thing as the JSON of its command has it."""


class DataForm(NamedTuple):
    """The form that the flags ask for; at most one of the first three is set."""

    is_json: bool = False
    is_quiet: bool = False
    template: "LineTemplate | None" = None
    in_full: bool = False
    """Whether IDs are printed in full."""
    filters: tuple[tuple[str, str], ...] = ()
    """The keys and values of `--filter`."""

    @property
    def is_text(self) -> bool:
        """Whether it is the form for people."""
        return not (self.is_json or self.is_quiet or self.template)


def data_form(
    *,
    format: str = "",
    json: bool = False,
    quiet: bool = False,
    no_trunc: bool = False,
    filters: Iterable[str] | None = None,
) -> DataForm:
    """The form of those flags; a template is parsed.

    Raises:
        UsageError: flags that contradict each other, a template or filter that is none.
    """
    given = [
        flag
        for flag, is_given in (
            ("--quiet", quiet),
            ("--json", json),
            ("--format", format not in ("", "table")),
        )
        if is_given
    ]
    if len(given) > 1 and not (given == ["--json", "--format"] and format == "json"):
        raise UsageError(f"{' and '.join(given)} contradict each other")
    template = None
    if format not in ("", "table", "json"):
        from olmkit.cli.records.linetemplate import LineTemplate

        template = LineTemplate.parse(format)
    return DataForm(
        is_json=json or format == "json",
        is_quiet=quiet,
        template=template,
        in_full=no_trunc,
        filters=tuple(map(_filter, filters or ())),
    )


def _filter(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise UsageError(f"--filter takes KEY=VALUE, not {text[:80]!r}")
    return key, value


def json_line(record: object) -> str:
    """The record as JSON on one line."""
    return json.dumps(record, ensure_ascii=False) + "\n"
