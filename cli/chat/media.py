"""Files that a prompt names: images and sound, and in a chat texts behind an `@`.

Images and sound are for models that take them. A path counts when it starts with `/`, `./`, `../`
or `~/` and ends in a known suffix; blanks in it may be escaped.
Source: `extractFileData` of https://github.com/ollama/ollama/blob/v0.17.4/cmd/interactive.go
"""

import base64
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from olmkit.cli.errors import CliError
from olmkit.cli.typedpaths import read_errors, typed_status

MAX_FILE_BYTES: Final = 100 * 1024 * 1024
MAX_TEXT_BYTES: Final = 1024 * 1024
_PATH = re.compile(
    r"(?:[a-zA-Z]:)?(?:\./|\.\./|~/|/|\\)[\S\\ ]+?\.(?:jpe?g|png|webp|wav)\b", re.IGNORECASE
)
_NAMED_TEXT = re.compile(r"(?<!\S)@((?:\.{0,2}/|~/)(?:\\.|[^\s\\])+)")
_ESCAPED = re.compile(r"\\([ ()\[\]{}$&;'\\*?~])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One file of a prompt."""

    path: str
    kind: str
    """`image` or `audio`."""
    data: str
    """Base64."""


def extract_files(prompt: str) -> tuple[str, list[Attachment]]:
    """The prompt without the paths of files that exist, and these files.

    Raises:
        CliError: a file cannot be read, is too large, or is no image or sound.
    """
    attachments = []
    for found in _PATH.findall(prompt):
        path = Path(os.path.expanduser(_ESCAPED.sub(r"\1", found)))
        if typed_status(path) is None:
            continue
        attachments.append(read_media(path))
        for spelling in (f"'{found}'", found):
            prompt = prompt.replace(spelling, "")
    return (prompt.strip() if attachments else prompt), attachments


def insert_texts(prompt: str) -> tuple[str, list[str]]:
    """The prompt with each text that it names as `@./path` in the place of its name, and the
    paths; a name without a file stays as it is.

    Raises:
        CliError: a file cannot be read, is too large, or is no text.
    """
    paths: list[str] = []

    def inserted(match: re.Match[str]) -> str:
        spelled = _ESCAPED.sub(r"\1", match[1])
        bare = spelled.rstrip(".,;:!?)")
        for name in (spelled, bare):
            path = Path(os.path.expanduser(name))
            found = typed_status(path)
            if found is not None and stat.S_ISREG(found.st_mode):
                paths.append(str(path))
                return f"{path}:\n```\n{_read_text(path)}```\n{spelled[len(name) :]}"
        return match[0]

    return _NAMED_TEXT.sub(inserted, prompt), paths


def _read_text(path: Path) -> str:
    """The text of a file, with a line end. Raises: CliError."""
    with read_errors(path), open(path, "rb") as file:
        raw = file.read(MAX_TEXT_BYTES + 1)
    if len(raw) > MAX_TEXT_BYTES:
        raise CliError(f"{path} is larger than the limit of 1 MB")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CliError(f"{path} is no text in UTF-8") from error
    return text if text.endswith("\n") else f"{text}\n"


def read_media(path: Path) -> Attachment:
    """An image or sound. Raises: CliError: it cannot be read, is too large, or is neither."""
    with read_errors(path):
        if os.stat(path).st_size > MAX_FILE_BYTES:
            raise CliError(f"{path} is larger than the limit of 100 MB")
        raw = path.read_bytes()
    kind = sniff(raw)
    if kind is None:
        raise CliError(f"{path} is no JPEG, PNG, WebP or WAV file")
    return Attachment(path=str(path), kind=kind, data=base64.b64encode(raw).decode())


def sniff(raw: bytes) -> str | None:
    """`image`, `audio`, or None, by the first bytes."""
    if raw.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        return "image"
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return "image"
    if raw[:4] == b"RIFF" and raw[8:12] == b"WAVE":
        return "audio"
    return None
