"""Names of files as text for people."""

import os


def printable(path: str | os.PathLike[str]) -> str:
    """The path in valid Unicode: bytes of it that are no UTF-8 become `\\xff`.

    Python carries such bytes as lone surrogates (PEP 383), which no text that leaves the process
    may hold.
    """
    return os.fspath(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
