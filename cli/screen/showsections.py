"""The sections of `olm show`: pure functions from what the daemon tells to text."""

from collections.abc import Mapping, Sequence
from typing import Any

from olmkit.cli.screen.output import columns, display_width, reflow
from olmkit.cli.screen.terminal import visible
from olmkit.cli.screen.units import count_text
from olmkit.engine.client.replies import ModelDetails

CELL_COLUMNS = 30
TEXT_COLUMNS = 100
ARRAY_COLUMNS = 10
Rows = list[tuple[str, ...]]


def describe(details: ModelDetails, *, verbose: bool = False) -> str:
    """All sections, each with a title, a table and an empty line after it."""
    sections = [
        _section("Model", _model_rows(details)),
        _section("Capabilities", [(name,) for name in details.capabilities]),
        _section("Projector", _projector_rows(details)),
        _section("Draft", _draft_rows(details)),
        _section("Parameters", parameter_rows(details.parameters)),
    ]
    if verbose:
        rows = [(key, _value(details.info[key])) for key in sorted(details.info)]
        sections.append(_section("Metadata", rows))
        tensors = [(name, kind, _shape(shape)) for name, kind, shape in details.tensors]
        sections.append(_section("Tensors", tensors))
    sections.append(_section("System", _excerpt(details.system), TEXT_COLUMNS))
    sections.append(_section("License", _excerpt(details.license), TEXT_COLUMNS))
    return "".join(sections)


def _section(title: str, rows: Sequence[Sequence[str]], cell_columns: int = CELL_COLUMNS) -> str:
    if not rows:
        return ""
    lines = [line for row in rows for line in _wrapped(row, cell_columns)]
    return f"  {title}\n{columns(lines, indent=4)}\n"


def _wrapped(row: Sequence[str], cell_columns: int) -> list[list[str]]:
    """The row as one or more rows whose cells are short enough."""
    cells = [
        reflow(cell, cell_columns) if display_width(cell) > cell_columns else [cell]
        for cell in map(visible, row)
    ]
    height = max(map(len, cells), default=0)
    return [[cell[i] if i < len(cell) else "" for cell in cells] for i in range(height)]


def _model_rows(details: ModelDetails) -> Rows:
    info = details.info
    architecture = str(info.get("general.architecture") or details.family)
    parameters = details.parameter_size
    count = info.get("general.parameter_count")
    if not parameters and isinstance(count, int):
        parameters = count_text(count)
    rows = [
        ("Remote model", details.remote_model),
        ("Remote URL", details.remote_host),
        ("architecture", architecture),
        ("parameters", parameters),
        ("context length", _number(info, f"{architecture}.context_length")),
        ("embedding length", _number(info, f"{architecture}.embedding_length")),
        ("quantization", details.quantization),
        ("requires", details.requires),
    ]
    return [row for row in rows if row[1]]


def _projector_rows(details: ModelDetails) -> Rows:
    info = details.projector_info
    if not info:
        return []
    architecture = str(info.get("general.architecture") or "")
    count = info.get("general.parameter_count")
    rows = [
        ("architecture", architecture),
        ("parameters", count_text(count) if isinstance(count, int) else ""),
    ]
    for title, key in (("embedding length", "embedding_length"), ("dimensions", "projection_dim")):
        vision = _number(info, f"{architecture}.vision.{key}")
        rows.append((title, vision or _number(info, f"{architecture}.audio.{key}")))
    return [row for row in rows if row[1]]


def _draft_rows(details: ModelDetails) -> Rows:
    if not details.draft:
        return []
    rows = [
        (title, str(details.draft.get(key) or ""))
        for title, key in (
            ("architecture", "family"),
            ("parameters", "parameter_size"),
            ("quantization", "quantization_level"),
        )
    ]
    if details.draft.get("is_head"):
        rows.append(("part of", "the model's own file"))
    use = "guesses ahead" if details.draft.get("used") else "stored, not used for decoding"
    return [*(row for row in rows if row[1]), ("use", use)]


def parameter_rows(parameters: str) -> Rows:
    """Name and value of each line of the API's parameters text, by name.

    Values of one name keep their order.
    """
    pairs = [line.strip().partition(" ") for line in parameters.splitlines() if line.strip()]
    return sorted(((name, value.strip()) for name, _, value in pairs), key=lambda row: row[0])


def _number(info: Mapping[str, Any], key: str) -> str:
    value = info.get(key)
    return str(int(value)) if isinstance(value, int | float) else ""


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return _array(value)
    return value if isinstance(value, str) else "null" if value is None else "object"


def _array(values: Sequence[object]) -> str:
    """The elements that fit into ten columns, at least one, and the number of the others."""
    shown: list[str] = []
    used = 1
    for value in values:
        text = str(value)
        if shown and used + display_width(text) + 2 > ARRAY_COLUMNS:
            return f"[{' '.join(shown)} ...+{len(values) - len(shown)} more]"
        shown.append(text)
        used += display_width(text) + 2
    return f"[{' '.join(shown)}]"


def _shape(shape: Sequence[int]) -> str:
    return f"[{' '.join(map(str, shape))}]"


def _excerpt(text: str) -> Rows:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    rows: Rows = [(line,) for line in lines[:2]]
    return [*rows, ("...",)] if len(lines) > 2 else rows
