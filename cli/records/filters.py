"""What `--filter KEY=VALUE` lets through, by kind of value; see `recordlist.Filter`."""

import fnmatch
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from olmkit.cli.errors import UsageError
from olmkit.cli.nearest import near_hint
from olmkit.cli.records.dataform import Record
from olmkit.cli.records.recordlist import Filter, Test
from olmkit.engine.durations import parse_instant

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def equals(member: str) -> Filter:
    """Records whose member is the value, in any case."""
    return lambda value, _: lambda record: str(record[member]).lower() == value.lower()


def contains(member: str) -> Filter:
    """Records in whose list the value is."""
    return lambda value, _: lambda record: value in record[member]


def begins(member: str) -> Filter:
    """Records whose member begins with the value; `sha256:` before either counts for nothing."""

    def test(value: str, _: Sequence[Record]) -> Test:
        start = value.lower().removeprefix("sha256:")
        return lambda record: str(record[member]).removeprefix("sha256:").startswith(start)

    return test


def glob(member: str) -> Filter:
    """Records whose name fits a pattern of the shell, with its tag or without, in any case.

    As Docker's filter `reference`: `qwen*`, `*:latest`, `hf.co/*/*`.
    """

    def test(value: str, _: Sequence[Record]) -> Test:
        pattern = value.lower()

        def fits(record: Record) -> bool:
            name = str(record[member]).lower()
            bare, _, tag = name.rpartition(":")
            names = (name,) if "/" in tag else (name, bare)
            return any(fnmatch.fnmatchcase(text, pattern) for text in names)

        return fits

    return test


def one_of(member: str, values: Sequence[str]) -> Filter:
    """Records whose member is one of a few words.

    Raises:
        UsageError: it is none of them.
    """

    def test(value: str, _: Sequence[Record]) -> Test:
        if value not in values:
            hint = near_hint(value, values) or f"it is one of {', '.join(values)}"
            raise UsageError(f"invalid filter: {value[:80]!r} is no {member}", hint=hint)
        return lambda record: record[member] == value

    return test


def boolean(holds: Callable[[Record], bool]) -> Filter:
    """Records of which something is true, or is not.

    Raises:
        UsageError: neither `true` nor `false`, nor 1 nor 0.
    """

    def test(value: str, _: Sequence[Record]) -> Test:
        wanted = {"true": True, "1": True, "false": False, "0": False}.get(value.lower())
        if wanted is None:
            raise UsageError(f"invalid filter: {value[:80]!r} is neither true nor false")
        return lambda record: holds(record) is wanted

    return test


def beside(name: str, time: str, *, is_after: bool) -> Filter:
    """Records that became before, or after, the one whose name is the value.

    Raises:
        UsageError: there is no such record.
    """

    def test(value: str, records: Sequence[Record]) -> Test:
        full = {value, f"{value}:latest"}
        times = [record[time] for record in records if record[name] in full]
        if not times:
            raise UsageError(f"invalid filter: there is no {value[:80]!r} to compare with")
        anchor = _instant(times[0])

        def fits(record: Record) -> bool:
            instant = _instant(record[time])
            return instant > anchor if is_after else instant < anchor

        return fits

    return test


def until(time: str) -> Filter:
    """Records that became before a time: an age such as `24h`, or a date of RFC 3339.

    Raises:
        UsageError: it is no time.
    """

    def test(value: str, _: Sequence[Record]) -> Test:
        limit = parse_time(value, datetime.now(UTC))
        return lambda record: _instant(record[time]) < limit

    return test


def parse_time(text: str, now: datetime) -> datetime:
    """An instant as Docker's flags take it: an age (`90s`, `1h30m`, `7d`), Unix seconds or a date.

    Raises:
        UsageError: it is none of these.
    """
    try:
        if text[:1].isdecimal() and text[-1:] in _UNITS:
            return now - timedelta(seconds=_age_s(text))
        return parse_instant(text)
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"{text[:80]!r} is no time", hint="an age as 24h, or a date as 2026-08-01T12:00:00Z"
        ) from error


def _age_s(text: str) -> float:
    total, number = 0.0, ""
    for character in text:
        if character in _UNITS:
            total += float(number) * _UNITS[character]
            number = ""
        else:
            number += character
    return total


def _instant(value: Any) -> datetime:
    """A time of a record; what has none counts as the oldest."""
    if not value:
        return datetime.min.replace(tzinfo=UTC)
    return datetime.fromisoformat(value)
