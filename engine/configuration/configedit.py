"""`olm.toml` changed by one line: comments, order and blank lines of the rest stay as they are."""

import json
import re
import tomllib
from pathlib import Path
from typing import Final

from olmkit.engine.configuration.configfiles import read_text
from olmkit.engine.configuration.settingreader import Given, Kind
from olmkit.engine.configuration.tomllines import comment_of, parse_document
from olmkit.engine.errors import InvalidRequest
from olmkit.modelfile.booleans import parse_boolean
from olmkit.registry.replacing import write_in_place

Value = bool | int | str | tuple[str, ...]
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


def parse_value(text: str, kind: Kind) -> Value:
    """A word of the command line as the value of a setting of that kind.

    Whether it can be used is for the one who reads the setting to say.
    """
    truth = parse_boolean(text)
    if kind is Kind.FLAG and truth is not None:
        return truth
    if kind is Kind.LEVEL and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind in (Kind.COUNT, Kind.SIZE, Kind.DURATION, Kind.LEVEL) and _WHOLE.fullmatch(text):
        return int(text)
    if kind is Kind.LIST:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text


def write_value(path: Path, key: str, value: Value) -> None:
    """Gives a key its value in a file, which is made, for its owner alone, where there is none.

    Raises:
        InvalidRequest: the file is no TOML, or cannot be read.
        OSError: it cannot be written; what was there still is.
    """
    write_in_place(path, edited(read_text(path) if path.exists() else "", key, value, path))


def remove_value(path: Path, key: str) -> bool:
    """Takes a key out of a file; whether it was there. Raises: as `write_value` does."""
    if not path.exists():
        return False
    text = read_text(path)
    changed = edited(text, key, None, path)
    if changed == text:
        return False
    write_in_place(path, changed)
    return True


def edited(text: str, key: str, value: Value | None, path: Path) -> str:
    """The text with that value of the key, or without the key for None.

    A comment behind the value stays. Raises: InvalidRequest: the text is no TOML.
    """
    try:
        found = parse_document(text).statements
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"{path}: {str(error)[:1].lower()}{str(error)[1:]}") from error
    lines = text.split("\n")
    # A key behind a table's header would be the table's.
    tables = [each.first_line for each in found if each.text.lstrip().startswith("[")]
    end = min(tables, default=len(lines) + 1) - 1
    line = "" if value is None else f"{key} = {_toml(value)}"
    for each in found:
        if each.paths[0] == (key,) and each.first_line <= end:
            kept = [line + comment_of(each.text)] if value is not None else []
            lines[each.first_line - 1 : each.last_line] = kept
            return "\n".join(lines)
    if value is None:
        return text
    if end == len(lines) and not lines[-1]:
        end -= 1
    lines.insert(end, line)
    return "\n".join(lines).rstrip("\n") + "\n"


def given_of(key: str, value: Value) -> Given:
    """What a file would give that has the value in it, to try whether it can be used."""
    return Given(key=key, value=value, origin="the value")


def _toml(value: Value) -> str:
    """Source: https://toml.io/en/v1.0.0#string; JSON's escapes are all among TOML's."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
