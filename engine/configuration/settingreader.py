"""Reads settings one by one, each by its key: from its variable, else from a file.

Each call says all there is to know of a setting (key, kind, default), so what was read is also
the list of the settings that there are; `olm config` and olm.toml(5) go by it. A value of the
environment that cannot be used gives way to the default with a warning, as Ollama's do; in a
file it is an error that names the line.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from olmkit.engine.addresses.address import Address, parse_address, unquoted
from olmkit.engine.durations import parse_duration
from olmkit.engine.errors import InvalidRequest
from olmkit.modelfile.booleans import parse_boolean

# The levels of `logging`, which clients need not import, and one below its DEBUG.
TRACE: Final = 5
DEBUG: Final = 10
INFO: Final = 20
WARNING: Final = 30
ERROR: Final = 40

T = TypeVar("T")


class Kind(StrEnum):
    """What a setting takes, in words for its readers."""

    TEXT = "a text"
    PATH = "a path"
    ADDRESS = "an address"
    COUNT = "a whole number"
    SIZE = "bytes, such as 10G"
    MODE = "a mode, such as 0660"
    DURATION = "a duration, such as 5m"
    FLAG = "true or false"
    CHOICE = "a word"
    LIST = "a list of texts"
    LEVEL = "true, false, or a level from -2 to 2"


_TYPES: Final[Mapping[Kind, tuple[type, ...]]] = {
    Kind.COUNT: (int,),
    Kind.SIZE: (int, str),
    Kind.DURATION: (int, str),
    Kind.FLAG: (bool,),
    Kind.LIST: (tuple, str),
    Kind.LEVEL: (bool, int),
}
"""Of a value in a file; kinds that are not here are strings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A value that a file gives to a setting."""

    key: str
    value: bool | int | str | tuple[str, ...]
    origin: str
    """`path:line`."""
    is_project: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One setting as it was read."""

    key: str
    """In files; its variable is `OLM_` and the key in capitals."""
    field: str
    """Of `Settings`, dots lead into it."""
    kind: Kind
    choices: tuple[str, ...] = ()
    text: str | None = None
    """What it was set to; None: nowhere."""

    @property
    def variable(self) -> str:
        """The variable that wins over files."""
        return f"OLM_{self.key.upper()}"


class SettingReader:
    """Reads settings, remembering where each value came from and what was wrong with it."""

    def __init__(self, environ: Mapping[str, str], given: Mapping[str, Given]) -> None:
        self._environ = environ
        self._given = given
        self.sources: dict[str, str] = {}
        """Field to the variable, or the file's line, that it was read from."""
        self.readings: dict[str, Reading] = {}
        self.warnings: list[str] = []

    @property
    def project_fields(self) -> frozenset[str]:
        """The fields that a project's file set."""
        return frozenset(
            reading.field
            for key, reading in self.readings.items()
            if key in self._given
            and self._given[key].is_project
            and self.sources.get(reading.field) == self._given[key].origin
        )

    def refuse_unknown(self) -> None:
        """Raises: InvalidRequest: a file has a key that was not read; with the nearest one."""
        for given in self._given.values():
            if given.key not in self.readings:
                import difflib

                near = difflib.get_close_matches(given.key, self.readings, n=1)
                raise InvalidRequest(
                    f"{given.origin}: there is no setting {given.key[:80]!r}",
                    field=given.key,
                    hint=f"did you mean {near[0]!r}?" if near else "`olm config list` shows them",
                )

    def text(
        self,
        field_name: str,
        name: str,
        *,
        twin: bool = True,
        kind: Kind = Kind.TEXT,
        choices: tuple[str, ...] = (),
    ) -> str | None:
        """The value of `OLM_name`, else of `OLLAMA_name` if that `twin` counts, else of a file.

        None: it is empty, or nowhere.
        """
        key = name.lower()
        value = self._find(field_name, key, name, twin=twin, kind=kind)
        self.readings[key] = Reading(
            key=key, field=field_name, kind=kind, choices=choices, text=value
        )
        return value

    def _find(self, field_name: str, key: str, name: str, *, twin: bool, kind: Kind) -> str | None:
        for prefix in ("OLM_", "OLLAMA_") if twin else ("OLM_",):
            value = unquoted(self._environ.get(prefix + name, ""))
            if value:
                self.sources[field_name] = prefix + name
                return value
        given = self._given.get(key)
        if given is None or given.value in ("", ()):
            return None
        value = _as_variable(given, kind)
        self.sources[field_name] = given.origin
        return value

    def environ_with(self, *settings: tuple[str, str, Kind]) -> Mapping[str, str]:
        """The environment with what files say, for what reads it by itself.

        `settings`: field, name and kind of each that it reads.
        """
        found = {
            f"OLM_{name}": self.text(field_name, name, twin=False, kind=kind)
            for field_name, name, kind in settings
        }
        said = {name: value for name, value in found.items() if value is not None}
        return {**self._environ, **said} if self._given and said else self._environ

    def foreign_path(self, field_name: str, variable: str) -> Path | None:
        """A path from a variable of another program, as that one reads it."""
        value = self._environ.get(variable)
        if value is None:
            return None
        self.sources[field_name] = variable
        return Path(value)

    def _reject(self, field_name: str, value: str, default: T, why: str, shown: str = "") -> T:
        source = self.sources.pop(field_name)
        for given in self._given.values():
            if given.origin == source:
                raise _unusable(given, why)
        self.warnings.append(f"{source}={value!r} is {why}, using {shown or default}")
        return default

    def address(self, field_name: str, name: str) -> Address:
        """An address as `OLM_HOST` takes it. Raises: InvalidRequest: it is none."""
        value = self.text(field_name, name, kind=Kind.ADDRESS)
        try:
            return parse_address(value or "")
        except InvalidRequest as error:
            for given in self._given.values():
                if given.origin == self.sources.get(field_name):
                    raise InvalidRequest(
                        f"{given.origin}: {error}", field=given.key, hint=error.hint
                    ) from error
            raise

    def path(self, field_name: str, name: str, *, twin: bool = True) -> str | None:
        """The text of a path, as it was written."""
        return self.text(field_name, name, twin=twin, kind=Kind.PATH)

    def count(self, field_name: str, name: str, default: int) -> int:
        """A decimal number, 0 or more."""
        value = self.text(field_name, name, kind=Kind.COUNT)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,18}", value, re.ASCII):
            return self._reject(field_name, value, default, "no whole number")
        return int(value)

    def size(self, field_name: str, name: str, default: int) -> int:
        """Bytes: a whole number, with K, M, G or T for powers of 1024, and B or iB behind it."""
        value = self.text(field_name, name, kind=Kind.SIZE)
        if value is None:
            return default
        match = re.fullmatch(r"([0-9]{1,15}) ?([KMGT]?)(?:i?B)?", value, re.ASCII | re.IGNORECASE)
        if match is None:
            return self._reject(field_name, value, default, "no number of bytes such as 10G")
        return int(match[1]) << (10 * " KMGT".index(match[2].upper() or " "))

    def mode(self, field_name: str, name: str, default: int) -> int:
        """Permissions of a file in octal digits, such as 0660."""
        value = self.text(field_name, name, kind=Kind.MODE)
        if value is None:
            return default
        if not re.fullmatch(r"(0o?)?[0-7]{3}", value, re.ASCII):
            return self._reject(
                field_name, value, default, "no mode such as 0660", f"{default:04o}"
            )
        return int(value[-3:], 8)

    def seconds(self, field_name: str, name: str, default: float) -> float:
        """A Go duration, or a whole number of seconds."""
        value = self.text(field_name, name, kind=Kind.DURATION)
        if value is None:
            return default
        if re.fullmatch(r"[+-]?[0-9]{1,18}", value, re.ASCII):
            return float(value)
        try:
            return parse_duration(value)
        except ValueError:
            return self._reject(field_name, value, default, "no duration")

    def flag(self, field_name: str, name: str, *, twin: bool = True) -> bool | None:
        """A Go bool; in a variable any other text counts as true, as it does in Ollama."""
        value = self.text(field_name, name, twin=twin, kind=Kind.FLAG)
        return None if value is None else parse_boolean(value) is not False

    def choice(self, field_name: str, name: str, allowed: tuple[str, ...], default: str) -> str:
        """One of the `allowed` words, in any case."""
        value = self.text(field_name, name, kind=Kind.CHOICE, choices=allowed)
        if value is None:
            return default
        if value.lower() not in allowed:
            return self._reject(field_name, value, default, f"none of {', '.join(allowed)}")
        return value.lower()

    def listed(self, field_name: str, name: str) -> tuple[str, ...]:
        """The parts between commas that are not empty."""
        parts = (self.text(field_name, name, kind=Kind.LIST) or "").split(",")
        return tuple(part.strip() for part in parts if part.strip())

    def log_level(self, field_name: str, name: str) -> int:
        """False: INFO, true or 1: DEBUG, 2: TRACE, -1: WARNING, -2: ERROR."""
        value = self.text(field_name, name, kind=Kind.LEVEL)
        if value is None:
            return INFO
        if (truth := parse_boolean(value)) is not None:
            return DEBUG if truth else INFO
        if not re.fullmatch(r"[+-]?[0-9]{1,3}", value, re.ASCII):
            return DEBUG
        levels = {-2: ERROR, -1: WARNING, 2: TRACE}
        return levels[max(-2, min(2, int(value)))]


def _as_variable(given: Given, kind: Kind) -> str:
    """The value as its variable would say it. Raises: InvalidRequest: it is of another type."""
    value = given.value
    types = _TYPES.get(kind, (str,))
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise _unusable(given, f"not {kind}")
    if isinstance(value, bool):
        return "1" if value else "0"
    if kind is Kind.PATH and not str(value).startswith(("/", "~")):
        # Relative to what? Each command, and the daemon, has another directory.
        raise _unusable(given, "no whole path")
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _unusable(given: Given, why: str) -> InvalidRequest:
    shown = list(given.value) if isinstance(given.value, tuple) else given.value
    return InvalidRequest(
        f"{given.origin}: {given.key} = {str(shown)[:80]!r} is {why}",
        field=given.key,
        hint=f"`olm config set {given.key} VALUE` replaces it",
    )
