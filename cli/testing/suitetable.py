"""Tables of a suite read key by key; what is wrong is told with its line."""

import difflib
import json
from collections.abc import Iterable

from olmkit.cli.errors import UsageError
from olmkit.engine.configuration.tomllines import Document, Lines, Path


class SuiteText:
    """Name and lines of a suite, to say where in it something is wrong."""

    def __init__(self, name: str, document: Document) -> None:
        self.name = name
        self._lines = Lines(document)

    def line_of(self, path: Path) -> int:
        """The line on which the value at a path is given."""
        return self._lines.of(path)

    def error(self, path: Path, message: str, hint: str | None = None) -> UsageError:
        """The error that names file and line of the value at a path."""
        return UsageError(f"{self.name}:{self.line_of(path)}: {message}", hint=hint)


class Table:
    """One table; each key is taken once, and `finish` refuses those that nobody took."""

    def __init__(self, source: SuiteText, value: object, path: Path = ()) -> None:
        """Raises: UsageError: the value is no table."""
        self.source = source
        self.path = path
        if not isinstance(value, dict):
            raise source.error(path, f"{self.title} is no table")
        self._values: dict[str, object] = value
        self._known: list[str] = []

    @property
    def title(self) -> str:
        """What the table is called in errors."""
        names = [str(part) for part in self.path if isinstance(part, str)]
        return repr(".".join(names)) if names else "the suite"

    def has(self, key: str) -> bool:
        """Whether it sets the key."""
        return key in self._values

    def wrong(self, key: str, message: str, hint: str | None = None) -> UsageError:
        """The error of the value of a key."""
        return self.source.error((*self.path, key), f"{key!r} {message}", hint)

    def take(self, key: str) -> object:
        """The value of the key as it is; None: it has none."""
        self._known.append(key)
        return self._values.get(key)

    def text(self, key: str) -> str | None:
        """A string. Raises: UsageError: it is none."""
        value = self.take(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, "is no string")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A string, or an array of strings. Raises: UsageError: it is neither."""
        value = self.take(key)
        listed = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            raise self.wrong(key, "is neither a string nor an array of strings")
        return tuple(listed)

    def whole(self, key: str, *, least: int = 0) -> int | None:
        """A whole number. Raises: UsageError: it is none, or less than the least."""
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(key, f"is no whole number of {least} or more")
        return value

    def number(self, key: str) -> float | None:
        """A number. Raises: UsageError: it is none."""
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, "is no number")
        return float(value)

    def flag(self, key: str) -> bool | None:
        """True or false. Raises: UsageError: it is neither."""
        value = self.take(key)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(key, "is neither true nor false")
        return value

    def table(self, key: str) -> "Table | None":
        """A table. Raises: UsageError: it is none."""
        value = self.take(key)
        return None if value is None else Table(self.source, value, (*self.path, key))

    def tables(self, key: str) -> list["Table"]:
        """An array of tables. Raises: UsageError: it is none."""
        value = self.take(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(key, "is no array of tables")
        return [Table(self.source, one, (*self.path, key, at)) for at, one in enumerate(value)]

    def json(self, key: str, *kinds: type) -> object:
        """A value that JSON can say. Raises: UsageError: it cannot, or is of another kind."""
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, kinds):
            raise self.wrong(key, "is of another type than it takes")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise self.wrong(key, "holds what JSON cannot say") from error
        return value

    def finish(self, others: Iterable[str] = ()) -> None:
        """Raises: UsageError: a key that nobody took; with the nearest one that there is."""
        known = [*self._known, *others]
        for key in self._values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
                raise self.source.error(
                    (*self.path, key), f"{self.title} has no key {key[:80]!r}", hint
                )
