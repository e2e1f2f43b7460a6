"""Booleans as Go reads them, which is what Ollama takes in Modelfiles, flags and variables.

Source: https://pkg.go.dev/strconv#ParseBool
"""

from typing import Final

_VALUES: Final = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


def parse_boolean(text: str) -> bool | None:
    """What the text says; None when it is no boolean."""
    return _VALUES.get(text)
