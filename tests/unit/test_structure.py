"""Rooms stay small and names stay unique, and the map in ARCHITECTURE.md is true."""

import re
from collections import Counter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PARTS = ("cli", "modelfile", "registry", "engine")
MOST_FILES = 15
"""In one room; the commands are one file each, however many there are."""
TWICE = {"__main__", "errors", "main", "settings"}
VERBS = {CHECKOUT / "cli/commands", *(CHECKOUT / "engine/api").glob("*/")}
"""Rooms whose files are named after what a user or client asks for."""


def modules(room: Path) -> list[Path]:
    return [path for path in room.glob("*.py") if path.name != "__init__.py"]


def rooms() -> list[Path]:
    return [
        path
        for part in PARTS
        for path in (CHECKOUT / part, *(CHECKOUT / part).rglob("*"))
        if path.is_dir() and path.name != "__pycache__"
    ]


@pytest.mark.parametrize("room", rooms(), ids=lambda room: str(room.relative_to(CHECKOUT)))
def test_a_room_holds_about_a_dozen_files(room: Path) -> None:
    if room != CHECKOUT / "cli/commands":
        assert len(modules(room)) <= MOST_FILES


def test_a_name_occurs_once() -> None:
    names = Counter(path.stem for room in rooms() if room not in VERBS for path in modules(room))
    assert {name for name, count in names.items() if count > 1} <= TWICE


def test_no_file_is_longer_than_five_hundred_lines() -> None:
    longest = {
        str(path.relative_to(CHECKOUT)): count
        for room in rooms()
        for path in modules(room)
        if (count := len(path.read_text().splitlines())) > 500
    }
    assert longest == {}


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"])
def test_every_path_that_a_page_names_is_there(page: str) -> None:
    text = (CHECKOUT / page).read_text()
    named = set(
        re.findall(r"`((?:cli|modelfile|registry|engine|tests|docs|benchmarks)/[\w./]*)`", text)
    )
    assert named, "the page names no path: has its form changed?"
    assert [path for path in sorted(named) if not (CHECKOUT / path).exists()] == []
