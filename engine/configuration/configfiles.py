"""Which `olm.toml` files count here, and what they say.

The system's, then the user's, then the project's: the later wins. A key is the name of a variable
without `OLM_`, in small letters. Files that are not there cost a few calls of `stat` and import
nothing.

A project's file comes with whatever was cloned or unpacked, so it may only set what a stranger
may decide: nothing that is secret, names a host, a path or a program, or changes what other
projects of this user get. A place in which anybody may create files is no project of anybody.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from olmkit.engine.configuration.settingreader import Given
from olmkit.engine.errors import InvalidRequest

FILE_NAME: Final = "olm.toml"
SYSTEM_FILE: Final = Path("/etc/olm") / FILE_NAME
MAX_FILE_BYTES: Final = 64 * 1024
PROJECT_KEYS: Final = frozenset({"context_length", "keep_alive", "nohistory", "on_overflow"})
"""What a project's file may set: how its own questions are asked."""
PROJECT_ONLY_TRUE: Final = frozenset({"nohistory"})
"""What a project may turn on and not off: whether a user's chats are kept is the user's to say."""

SECRET_KEYS: Final = frozenset({"api_key"})


class Scope(StrEnum):
    """Whose a file is, the weakest first."""

    SYSTEM = "system"
    USER = "user"
    PROJECT = "project"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """A file that is there."""

    scope: Scope
    path: Path


def user_file(environ: Mapping[str, str], home: Path | None) -> Path | None:
    """Where the user's file is, or would be; None: nowhere, for there is no home.

    `OLM_CONFIG` names another one, also from the present directory.

    Source: https://specifications.freedesktop.org/basedir-spec/latest/
    """
    if given := environ.get("OLM_CONFIG"):
        return Path(os.path.abspath(given))
    config = environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(config):
        return Path(config) / "olm" / FILE_NAME
    return home / ".config" / "olm" / FILE_NAME if home else None


def find_config_files(
    user: Path | None, directory: Path | None, *, system: Path = SYSTEM_FILE
) -> tuple[ConfigFile, ...]:
    """The files that are there, or may be in a directory that is shut to us, the weakest first.

    `directory` is where the search for a project's file begins; None: there is none.
    """
    found = [ConfigFile(scope=Scope.SYSTEM, path=system)] if _may_be_file(system) else []
    if user is not None and _may_be_file(user):
        found.append(ConfigFile(scope=Scope.USER, path=user))
    project = find_project_file(directory) if directory is not None else None
    if project is not None and not any(_is_same(project, file.path) for file in found):
        found.append(ConfigFile(scope=Scope.PROJECT, path=project))
    return tuple(found)


def is_missing(path: Path) -> bool:
    """Whether nothing is at a path, as far as we may see."""
    try:
        path.stat()
    except PermissionError:
        return False
    except (OSError, ValueError):
        return True
    return False


def _may_be_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return not is_missing(path)


def _is_same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except OSError:
        return False


def find_project_file(directory: Path) -> Path | None:
    """The nearest `olm.toml` upwards, as far as the repository or the file system goes."""
    try:
        device = directory.stat().st_dev
        for folder in (directory, *directory.parents):
            status = folder.stat()
            if status.st_dev != device:
                return None
            path = folder / FILE_NAME
            if path.is_file() and not _is_anybodys(status, path):
                return path
            if (folder / ".git").exists():
                return None
    except OSError:
        return None
    return None


def _is_anybodys(folder: os.stat_result, path: Path) -> bool:
    """Whether another user may have put the file there, as into /tmp."""
    return bool(folder.st_mode & stat.S_IWOTH) and path.stat().st_uid != os.getuid()


def read_values(files: Iterable[ConfigFile]) -> dict[str, Given]:
    """What the files say, by key; the last file that has a key decides.

    Raises:
        InvalidRequest: a file cannot be read, is no TOML, has tables, or is a project's and sets
            what those may not.
    """
    return {given.key: given for file in files for given in _values(file)}


def shut_to_us(file: ConfigFile) -> bool:
    """Whether it is the system's and kept from this user, whose commands must work without it.

    Root may read what is there; where even root may not, that is a fault to tell.
    """
    if file.scope is not Scope.SYSTEM or os.geteuid() == 0:
        return False
    try:
        open(file.path, "rb").close()
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def exposed_secrets(files: Iterable[ConfigFile], values: Mapping[str, Given]) -> list[str]:
    """A sentence on each file that holds a secret and can be read by others."""
    return [
        f"{file.path} holds {key} and can be read by others: "
        # Who may not read the system's file loses all that it says.
        + (f"move {key} into users' own files" if file.scope is Scope.SYSTEM else "chmod 600 it")
        for key in SECRET_KEYS & set(values)
        for file in files
        if values[key].origin.startswith(f"{file.path}:") and file.path.stat().st_mode & 0o077
    ]


def read_text(path: Path) -> str:
    """The text of a file. Raises: InvalidRequest: it cannot be read, or is no text."""
    try:
        with open(path, "rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise InvalidRequest(f"{path} is larger than {MAX_FILE_BYTES} bytes")
        return raw.decode("utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidRequest(f"{path} cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is no text in UTF-8") from error


def _values(file: ConfigFile) -> Iterator[Given]:
    import tomllib

    from olmkit.engine.configuration.tomllines import parse_document

    text = read_text(file.path)
    try:
        document = parse_document(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"{file.path}: {_lower(str(error))}") from error
    for statement in document.statements:
        key = str(statement.paths[0][0])
        value = document.values[key]
        origin = f"{file.path}:{statement.first_line}"
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            value = tuple(value)
        if not isinstance(value, bool | int | str | tuple):
            raise InvalidRequest(
                f"{origin}: {key[:80]!r} is no setting: it is a {type(value).__name__}",
                field=key,
                hint='settings are lines such as keep_alive = "10m"; `olm config list` shows them',
            )
        if file.scope is Scope.PROJECT and key not in PROJECT_KEYS:
            import difflib

            near = difflib.get_close_matches(key, PROJECT_KEYS, n=1)
            raise InvalidRequest(
                f"{origin}: {key[:80]!r} cannot be set by a project's file",
                field=key,
                hint=f"did you mean {near[0]!r}?"
                if near
                else f"a project may set {', '.join(sorted(PROJECT_KEYS))}; other settings belong"
                " into your own file: `olm config set KEY VALUE`",
            )
        if file.scope is Scope.PROJECT and key in PROJECT_ONLY_TRUE and value is not True:
            raise InvalidRequest(
                f"{origin}: {key!r} can only be true in a project's file",
                field=key,
                hint=f"false belongs into your own file: `olm config set {key} false`",
            )
        yield Given(key=key, value=value, origin=origin, is_project=file.scope is Scope.PROJECT)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
