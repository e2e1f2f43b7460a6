"""`--format TEMPLATE`: a Go template for each record, or with `table` before it the columns of one.

As Docker has it: https://docs.docker.com/engine/cli/formatting/. Imported only where a template is
given, for the interpreter costs more time than a light command has.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from olmkit.cli.errors import UsageError
from olmkit.cli.nearest import near_hint
from olmkit.cli.records.dataform import Record
from olmkit.cli.screen.output import table
from olmkit.modelfile.gotemplate import Template, TemplateError
from olmkit.modelfile.gotemplate.evaluation.formatfunctions import (
    FORMAT_FUNCTIONS,
    TITLE_FUNCTIONS,
)
from olmkit.modelfile.gotemplate.evaluation.values import MissingField, Named, named

_ACTION = re.compile(r"(\{\{.*?\}\})", re.DOTALL)
_TABLE = re.compile(r"table\s+")


class LineTemplate:
    """A template that makes a line of each record."""

    def __init__(self, text: str, *, is_table: bool) -> None:
        self._text = text
        self._is_table = is_table
        try:
            self._template = Template.parse(text, functions=FORMAT_FUNCTIONS)
        except TemplateError as error:
            raise UsageError(f"template parsing error: {error}", hint=error.hint) from error

    @classmethod
    def parse(cls, text: str) -> Self:
        r"""The template of `--format`; `\t` and `\n` outside of actions are tab and newline.

        Raises:
            UsageError: it is none.
        """
        begins = _TABLE.match(text)
        if begins is None and "{{" not in text:
            hint = near_hint(text, ("table", "json")) or "a Go template has fields, as '{{.Name}}'"
            raise UsageError(
                f"invalid value for --format: {text[:80]!r} is not table, json or a template",
                hint=hint,
            )
        body = text[begins.end() :] if begins else text
        parts = _ACTION.split(body)
        parts[::2] = [part.replace(r"\t", "\t").replace(r"\n", "\n") for part in parts[::2]]
        return cls("".join(parts), is_table=begins is not None)

    def lines(
        self,
        records: Sequence[Record],
        *,
        fields: Sequence[Mapping[str, object]] = (),
        titles: Mapping[str, str] | None = None,
    ) -> str:
        """The text of all records, a line each.

        `fields` has for each record what the template may call it besides its members; `titles`
        are the headers of fields, where it is a table.

        Raises:
            UsageError: the template does not fit the records.
        """
        others = fields or [{}] * len(records)
        values = [named(record, more) for record, more in zip(records, others, strict=True)]
        try:
            done = [self._template.execute(value) for value in values]
            if not self._is_table:
                return "".join(f"{line}\n" for line in done)
            header = self._header(values, titles or {})
        except TemplateError as error:
            names = [name for value in values[:1] for name in (*value, *value.others)]
            hint = error.hint
            if isinstance(error.__cause__, MissingField):
                hint = near_hint(error.__cause__.name, names, prefix=".") or _listed(names)
            raise UsageError(f"template parsing error: {error}", hint=hint) from error
        return table(header.split("\t"), [line.split("\t") for line in done])

    def _header(self, values: Sequence[Named], titles: Mapping[str, str]) -> str:
        """The first line of a table: the template, filled with titles."""
        template = Template.parse(self._text, functions=TITLE_FUNCTIONS)
        plain = {name: _title(name) for value in values[:1] for name in (*value, *value.others)}
        return template.execute(named({**plain, **titles}))


def _title(name: str) -> str:
    return name.replace("_", " ").upper()


def _listed(names: Iterable[str]) -> str | None:
    listed = ", ".join(f".{name}" for name in dict.fromkeys(names))
    return f"its fields are {listed}" if listed else None
