"""Values in a JSON file of somebody else's program, and the way back."""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from olmkit.cli.errors import CliError
from olmkit.registry.replacing import write_in_place

Tree = dict[str, Any]
MAX_BYTES: Final = 4 << 20


def merged(tree: Mapping[str, Any], ours: Mapping[str, Any]) -> Tree:
    """The tree with every leaf of `ours` set; objects are joined, other values replaced."""
    result = copy.deepcopy(dict(tree))
    for key, value in ours.items():
        present = result.get(key)
        if isinstance(value, dict):
            result[key] = merged(present if isinstance(present, dict) else {}, value)
        else:
            result[key] = value
    return result


def unmerged(now: Mapping[str, Any], ours: Mapping[str, Any], before: Mapping[str, Any]) -> Tree:
    """`now` without the leaves of `ours`, each with the value again that it had `before`.

    A leaf that somebody has changed since stays as it is.
    """
    result = dict(now)
    for key, value in ours.items():
        if key not in result:
            continue
        if isinstance(value, dict) and isinstance(result[key], dict):
            earlier = before.get(key)
            rest = unmerged(result[key], value, earlier if isinstance(earlier, dict) else {})
            if rest or isinstance(earlier, dict):
                result[key] = rest
            elif key in before:
                result[key] = earlier
            else:
                del result[key]
        elif result[key] == value:
            if key in before:
                result[key] = before[key]
            else:
                del result[key]
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSettings:
    """Values of ours in the file `path`, and `record`, which says what they replaced."""

    path: Path
    record: Path
    ours: Mapping[str, Any]

    def write(self) -> None:
        """Set the values; writing again does not forget what was there at first."""
        self.restore()
        before = _read(self.path)
        kept = {"path": str(self.path), "before": before, "ours": self.ours}
        write_in_place(self.record, json.dumps(kept))
        write_in_place(self.path, _text(merged(before or {}, self.ours)))

    def restore(self) -> bool:
        """Undo `write`; a file that was not there before and holds nothing else is removed."""
        kept = _read(self.record)
        if kept is None:
            return False
        path, before = Path(str(kept["path"])), kept["before"]
        now = _read(path)
        if now is not None:
            rest = unmerged(now, kept["ours"], before or {})
            if rest or before is not None:
                write_in_place(path, _text(rest))
            else:
                path.unlink()
        self.record.unlink()
        return True


def _text(tree: Tree) -> str:
    return json.dumps(tree, indent=2, ensure_ascii=False) + "\n"


def _read(path: Path) -> Tree | None:
    """The object in a file; None where there is no file.

    Raises:
        CliError: it is too large, no JSON, or no object.
    """
    try:
        with open(path, encoding="utf-8") as file:
            tree = json.loads(file.read(MAX_BYTES))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CliError(
            f"{path} is no plain JSON, so nothing was changed in it",
            hint="comments in it would be lost; put the settings there by hand",
        ) from error
    if not isinstance(tree, dict):
        raise CliError(f"{path} holds no JSON object, so nothing was changed in it")
    return tree
