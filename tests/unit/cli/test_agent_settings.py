"""Values of ours in somebody else's JSON file, and the way back."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from olmkit.cli.agents.jsonsettings import JsonSettings, merged, unmerged
from olmkit.cli.errors import CliError

OURS = {"model": "olm/m", "env": {"URL": "here"}}


@pytest.mark.parametrize(
    "before",
    [
        {},
        {"model": "theirs"},
        {"env": {}},
        {"env": {"URL": "there", "OTHER": 1}, "list": [1]},
        {"env": "no object"},
    ],
)
def test_what_was_there_comes_back(before: dict[str, object]) -> None:
    now = merged(before, OURS)
    assert now["model"] == "olm/m"
    assert now["env"]["URL"] == "here"
    assert unmerged(now, OURS, before) == before


def test_what_was_changed_since_stays() -> None:
    now = merged({"model": "theirs"}, OURS) | {"model": "newer", "more": True}
    assert unmerged(now, OURS, {"model": "theirs"}) == {"model": "newer", "more": True}


def settings(folder: Path, ours: Mapping[str, object]) -> JsonSettings:
    return JsonSettings(path=folder / "settings.json", record=folder / "record.json", ours=ours)


def test_a_second_write_does_not_forget_what_was_there_at_first(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"model": "theirs"}')
    settings(tmp_path, {"model": "a"}).write()
    settings(tmp_path, {"model": "b", "env": {"X": "1"}}).write()
    assert settings(tmp_path, {}).restore()
    assert json.loads((tmp_path / "settings.json").read_text()) == {"model": "theirs"}
    assert not settings(tmp_path, {}).restore()


def test_a_file_that_was_not_there_is_gone_again(tmp_path: Path) -> None:
    settings(tmp_path, OURS).write()
    assert (tmp_path / "settings.json").stat().st_mode & 0o777 == 0o600
    assert settings(tmp_path, {}).restore()
    assert list(tmp_path.iterdir()) == []


def test_a_mode_and_a_link_stay(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    real.chmod(0o640)
    (tmp_path / "settings.json").symlink_to(real)
    settings(tmp_path, OURS).write()
    assert (tmp_path / "settings.json").is_symlink()
    assert json.loads(real.read_text()) == OURS
    assert real.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("text", ['{"a": 1} // why', "[]", "\x00", "{"])
def test_a_file_that_would_lose_something_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(CliError, match=r"nothing was changed"):
        settings(tmp_path, OURS).write()
    assert (tmp_path / "settings.json").read_text() == text
    assert not (tmp_path / "record.json").exists()
