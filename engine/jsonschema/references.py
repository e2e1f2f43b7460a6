"""References within one schema: what they mean, and which go round in a circle."""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from olmkit.engine.errors import InvalidRequest
from olmkit.engine.jsonschema.keywords import REFERENCES, constants, escaped

_MOST_STEPS: Final = 100
_WITHOUT_SCHEMAS: Final = ("$defs", "definitions", "enum", "const", "default", "examples")


def invalid(reason: str) -> InvalidRequest:
    """The error of a schema that is none."""
    return InvalidRequest(f"invalid JSON schema in format: {reason}", field="format")


class References:
    """Follows the references of one schema; `at` is where one stands, a JSON pointer."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._anchors = dict(_anchors(root, "#"))
        self._recursive: dict[str, bool] = {}

    def target(self, text: Any, at: str) -> tuple[Any, str]:
        """What a reference means, and where that is.

        Raises:
            InvalidRequest: nothing of this schema.
        """
        if not isinstance(text, str):
            raise invalid(f"the reference at {at} is no text")
        text = self._anchors.get(text, text)
        if text == "#" or text.startswith("#/"):
            for pointer in (text, unquote(text)):
                found = self._at(pointer)
                if found is not None:
                    return found, pointer
        raise invalid(f"the reference {text[:100]!r} at {at} leads nowhere in it")

    def _at(self, pointer: str) -> Any:
        node: Any = self._root
        for part in pointer.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, Mapping) and name in node:
                node = node[name]
            elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
                node = node[int(name)]
            else:
                return None
        return node

    def is_recursive(self, where: str) -> bool:
        """Whether a definition refers to itself, by whatever way."""
        if where not in self._recursive:
            seen: set[str] = set()
            pending = [where]
            self._recursive[where] = False
            while pending and not self._recursive[where]:
                current = pending.pop()
                for found in set(self._leading_from(self.target(current, current)[0], current)):
                    if found == where:
                        self._recursive[where] = True
                    elif found not in seen:
                        seen.add(found)
                        pending.append(found)
        return self._recursive[where]

    def _leading_from(self, node: Any, at: str) -> Iterable[str]:
        pending = [node]
        while pending:
            one = pending.pop()
            if isinstance(one, Mapping):
                for key, value in one.items():
                    if key in REFERENCES and isinstance(value, str):
                        yield self.target(value, at)[1]
                    elif key not in _WITHOUT_SCHEMAS:
                        pending.append(value)
            elif isinstance(one, list):
                pending += one

    def is_disjoint(self, alternatives: Any, at: str) -> bool:
        """Whether no value can fit two of the alternatives, as far as is easily seen.

        They differ in type, or all require a member that is another constant in each.
        """
        if not isinstance(alternatives, list):
            return False
        resolved = [self.resolved(one, at) for one in alternatives]
        kinds = [one.get("type") for one in resolved]
        if all(isinstance(kind, str) for kind in kinds) and len(set(kinds)) == len(kinds):
            return {"integer", "number"} - set(kinds) != set()
        shared = set.intersection(*(set(constants(one)) for one in resolved)) if resolved else ()
        for name in shared:
            values = [value for one in resolved for value in constants(one)[name]]
            if len(set(values)) == len(values):
                return True
        return len(resolved) < 2

    def resolved(self, node: Any, at: str) -> Mapping[str, Any]:
        """The schema that a chain of `$ref` ends in; an empty one for what is no object."""
        for _ in range(_MOST_STEPS):
            if not isinstance(node, Mapping):
                return {}
            if "$ref" not in node:
                return node
            node = self.target(node["$ref"], at)[0]
        return {}


def _anchors(node: Any, at: str) -> Iterable[tuple[str, str]]:
    """`#name` and `$id` of every schema, with its pointer."""
    pending = [(node, at)]
    while pending:
        one, where = pending.pop()
        if isinstance(one, Mapping):
            for key in ("$anchor", "$dynamicAnchor"):
                if isinstance(one.get(key), str):
                    yield f"#{one[key]}", where
            if isinstance(one.get("$id"), str):
                yield one["$id"], where
            pending += [(value, f"{where}/{escaped(key)}") for key, value in one.items()]
        elif isinstance(one, list):
            pending += [(value, f"{where}/{index}") for index, value in enumerate(one)]
