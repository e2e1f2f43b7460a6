"""Typed access to config.json: every value is checked where it is read."""

from collections.abc import Mapping
from typing import Any, Final

from olmkit.engine.errors import ModelNotCreatable

MAX_INTEGER: Final = 2**32 - 1
"""What GGUF's uint32 holds."""
MAX_NUMBER: Final = 3.4e38
"""What its float32 holds."""


def _is_number(value: Any) -> bool:
    # NaN compares false.
    return type(value) in (int, float) and abs(value) <= MAX_NUMBER


class Hyperparameters:
    """One JSON object of a model's configuration; `text_config` is merged over the top level.

    Getters take the names under which checkpoints keep a value, the first present wins, null
    counts as absent. All raise `ModelNotCreatable` for a value of the wrong type, and the ones
    without a default for an absent one.
    """

    def __init__(self, values: Mapping[str, Any], *, file_name: str = "config.json") -> None:
        text = values.get("text_config")
        self.values = {**values, **text} if isinstance(text, dict) else dict(values)
        self._file_name = file_name

    def find(self, *names: str) -> Any:
        """The raw value, or None."""
        return next((value for n in names if (value := self.values.get(n)) is not None), None)

    def integer(self, *names: str, default: int | None = None) -> int:
        """An integer from 0 to `MAX_INTEGER`."""
        value = self._get(names, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or not 0 <= value <= MAX_INTEGER:
            raise self._wrong(names, value, "a non-negative integer")
        return value

    def number(self, *names: str, default: float | None = None) -> float:
        """A number that a float32 holds."""
        value = self._get(names, default)
        if not _is_number(value):
            raise self._wrong(names, value, "a number")
        return float(value)

    def positive(self, *names: str, default: float | None = None) -> float:
        """A number above zero."""
        value = self.number(*names, default=default)
        if value <= 0:
            raise self._wrong(names, value, "a positive number")
        return value

    def numbers(self, *names: str) -> list[float]:
        """A list of such numbers; empty when absent."""
        value = self.find(*names) or []
        if not isinstance(value, list) or not all(map(_is_number, value)):
            raise self._wrong(names, value, "a list of numbers")
        return [float(item) for item in value]

    def text(self, *names: str, default: str | None = None) -> str:
        """A string."""
        value = self._get(names, default)
        if not isinstance(value, str):
            raise self._wrong(names, value, "a string")
        return value

    def object(self, *names: str) -> "Hyperparameters":
        """A nested object; an empty one when absent."""
        value = self.find(*names)
        if not isinstance(value, dict | None):
            raise self._wrong(names, value, "an object")
        return Hyperparameters(value or {}, file_name=self._file_name)

    def _get(self, names: tuple[str, ...], default: Any) -> Any:
        value = self.find(*names)
        if value is None and default is None:
            raise ModelNotCreatable(f"{self._file_name} lacks {names[0]}")
        return default if value is None else value

    def _wrong(self, names: tuple[str, ...], value: Any, wanted: str) -> ModelNotCreatable:
        return ModelNotCreatable(
            f"{self._file_name}: {names[0]} must be {wanted}, not {str(value)[:80]!r}"
        )
