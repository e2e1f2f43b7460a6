"""In what two models differ: pure functions from what the daemon tells of each."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from olmkit.cli.screen.units import size_text
from olmkit.cli.testing.results import Result
from olmkit.engine.client.replies import ModelDetails

TEXTS: Final = frozenset({"template", "system", "license", "answers"})
"""Sections whose values are texts, told line by line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not the same; None: only the other model has it."""

    section: str
    key: str
    left: object
    right: object

    def as_json(self) -> dict[str, Any]:
        """An entry of `differences`."""
        return {
            "section": self.section,
            "key": self.key,
            "left": self.left,
            "right": self.right,
        }


def differences(
    left: ModelDetails,
    right: ModelDetails,
    left_store: Mapping[str, Any],
    right_store: Mapping[str, Any],
) -> list[Difference]:
    """All that differs, section by section; `*_store` is what `olm inspect` prints."""
    return [
        *_mappings("layers", _layers(left_store), _layers(right_store)),
        *_mappings("config", left_store.get("config") or {}, right_store.get("config") or {}),
        *_mappings("details", _details(left), _details(right)),
        *_mappings("parameters", _parameters(left), _parameters(right)),
        *_mappings("template", _text(left.template), _text(right.template)),
        *_mappings("system", _text(left.system), _text(right.system)),
        *_mappings("messages", _messages(left), _messages(right)),
        *_mappings("license", _text(left.license), _text(right.license)),
        *_mappings("metadata", left.info, right.info),
        *_mappings("projector", left.projector_info, right.projector_info),
    ]


def answer_differences(left: Iterable[Result], right: Iterable[Result]) -> list[Difference]:
    """The questions of a suite that two models answered otherwise."""
    return list(_mappings("answers", _answers(left), _answers(right)))


def lines(found: Iterable[Difference]) -> Iterator[str]:
    """The differences as `diff` tells them: `-` has the first model, `+` the second."""
    section = ""
    for one in found:
        if one.section != section:
            section = one.section
            yield section
        if section in TEXTS:
            if one.key:
                yield f"  {one.key}"
            before, after = _split(one.left), _split(one.right)
            changes = list(difflib.unified_diff(before, after, lineterm="", n=2))[2:]
            yield from (f"    {line}" for line in changes)
        else:
            yield from (
                f"  {sign} {one.key}: {_shown(value)}" if one.key else f"  {sign} {_shown(value)}"
                for sign, value in (("-", one.left), ("+", one.right))
                if value is not None
            )


def _mappings(
    section: str, left: Mapping[str, object], right: Mapping[str, object]
) -> Iterator[Difference]:
    for key in dict.fromkeys([*left, *right]):
        if left.get(key) != right.get(key):
            yield Difference(section=section, key=key, left=left.get(key), right=right.get(key))


def _layers(stored: Mapping[str, Any]) -> dict[str, object]:
    """`role` or `role name` to digest and size; several of one name are numbered."""
    found: dict[str, object] = {}
    for layer in stored.get("layers", ()):
        key = " ".join(filter(None, (layer["role"], layer.get("name"))))
        number = 1
        while (unique := key if number == 1 else f"{key} {number}") in found:
            number += 1
        found[unique] = f"{layer['digest']} ({size_text(layer['size'])})"
    return found


def _details(model: ModelDetails) -> dict[str, object]:
    return {
        "family": model.family,
        "parameters": model.parameter_size,
        "quantization": model.quantization,
        "capabilities": ", ".join(model.capabilities),
        "template kind": model.template_kind,
    }


def _parameters(model: ModelDetails) -> dict[str, object]:
    """Name to value, in the form of `olm show --parameters`; of several the values joined."""
    found: dict[str, object] = {}
    for line in model.parameters.splitlines():
        name, _, value = line.partition(" ")
        before = found.get(name)
        found[name] = value.strip() if before is None else f"{before} {value.strip()}"
    return found


def _text(text: str) -> dict[str, object]:
    return {"": text} if text else {}


def _messages(model: ModelDetails) -> dict[str, object]:
    return {
        str(number): f"{message.role}: {message.content}"
        for number, message in enumerate(model.messages, 1)
    }


def _answers(results: Iterable[Result]) -> dict[str, object]:
    found: dict[str, object] = {}
    for result in results:
        answer = result.answer
        if answer is not None:
            calls = "".join(
                f"\n{call.get('name')}({call.get('arguments')})" for call in answer.tool_calls
            )
            found[result.case.name] = answer.text + calls
    return found


def _split(value: object) -> list[str]:
    return str(value).splitlines() if value is not None else []


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:199]}…"
