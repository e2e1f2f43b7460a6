"""Lists of records: columns, filters, and the stage that prints them in any form.

KEYS = RecordList(
    Column("NAME", "Name", lambda key, view: key["name"]),
    Column("MODELS", "Models", lambda key, view: ",".join(key["models"])),
    quiet="name",
    filters={"name": one_of("name")},
)
form = KEYS.form(format=format, json=json, filters=filters)     # first: wrong flags are told
KEYS.show(records, form, terminal)                              # then what the daemon told
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from olmkit.cli.errors import UsageError
from olmkit.cli.nearest import near_hint
from olmkit.cli.records.dataform import DataForm, Record, data_form, json_line
from olmkit.cli.screen.output import table
from olmkit.cli.screen.terminal import Terminal, visible

ID_DIGITS: Final = 12


class View(NamedTuple):
    """What cells are made with."""

    now: datetime
    in_full: bool = False

    def short(self, digest: str) -> str:
        """A digest: its first digits, as Docker shows it, or all of it."""
        return digest if self.in_full else digest.removeprefix("sha256:")[:ID_DIGITS]


class Column(NamedTuple):
    """One column of a table, and field of templates."""

    title: str
    field: str
    text: Callable[[Record, View], str]
    is_shown: bool = True
    """Whether the table has it; templates always do."""


Test = Callable[[Record], bool]
Filter = Callable[[str, Sequence[Record]], Test]
"""What a value of `--filter KEY=VALUE` lets through, given all records.

Raises:
    UsageError: the value is none for this key.
"""


class RecordList:
    """The shape of one kind of list."""

    def __init__(
        self,
        *columns: Column,
        quiet: str | Callable[[Record, View], str],
        filters: Mapping[str, Filter] | None = None,
    ) -> None:
        """`quiet`: the member that `--quiet` prints, or what makes its line."""
        self.columns = columns
        self._quiet = quiet
        self._filters = filters or {}

    def form(
        self,
        *,
        format: str = "",
        json: bool = False,
        quiet: bool = False,
        no_trunc: bool = False,
        filters: Iterable[str] | None = None,
    ) -> DataForm:
        """The form that the flags ask for.

        Raises:
            UsageError: as `data_form`; a filter that this list does not have.
        """
        form = data_form(format=format, json=json, quiet=quiet, no_trunc=no_trunc, filters=filters)
        for key, _ in form.filters:
            if key not in self._filters:
                known = f"its filters are {', '.join(sorted(self._filters))}"
                hint = near_hint(key, self._filters) or known
                raise UsageError(f"unknown filter {key[:80]!r}", hint=hint)
        return form

    def chosen(self, records: Sequence[Record], form: DataForm) -> list[Record]:
        """The records that the filters let through: any value of a key, all keys.

        Raises:
            UsageError: a filter's value is none.
        """
        tests: dict[str, list[Test]] = {}
        for key, value in form.filters:
            tests.setdefault(key, []).append(self._filters[key](value, records))
        return [
            record
            for record in records
            if all(any(test(record) for test in same) for same in tests.values())
        ]

    def show(self, records: Iterable[Record], form: DataForm, terminal: Terminal) -> list[Record]:
        """Prints the records that the filters let through, and returns them.

        Raises:
            UsageError: the template does not fit the records, a filter's value is none.
        """
        chosen = self.chosen(list(records), form)
        view = View(datetime.now(UTC), form.in_full)
        if form.is_json:
            text = "".join(map(json_line, chosen))
        elif form.is_quiet:
            text = "".join(f"{visible(self._quiet_line(record, view))}\n" for record in chosen)
        elif form.template is not None:
            text = form.template.lines(
                chosen,
                fields=[self.fields(record, view) for record in chosen],
                titles={column.field: column.title for column in self.columns},
            )
        else:
            text = self.table(chosen, view)
        terminal.data(text)
        return chosen

    def table(self, records: Iterable[Record], view: View) -> str:
        """The records as a table."""
        shown = [column for column in self.columns if column.is_shown]
        rows = [[column.text(record, view) for column in shown] for record in records]
        return table([column.title for column in shown], rows)

    def fields(self, record: Record, view: View) -> dict[str, object]:
        """The fields of a record that templates know besides its members."""
        return {column.field: column.text(record, view) for column in self.columns}

    def _quiet_line(self, record: Record, view: View) -> str:
        if callable(self._quiet):
            return self._quiet(record, view)
        return str(record[self._quiet])


def show_value(
    value: Record,
    form: DataForm,
    terminal: Terminal,
    show: Callable[[], object],
    *,
    fields: Mapping[str, object] | None = None,
) -> None:
    """Prints one record that is no list's: `show()` does for people, else as the form says.

    `fields` is what templates know besides its members.

    Raises:
        UsageError: the template does not fit the record.
    """
    if form.is_json:
        terminal.data(json_line(value))
    elif form.template is not None:
        terminal.data(form.template.lines([value], fields=[fields or {}]))
    else:
        show()
