"""Digests as values, and the hashing of files."""

import hashlib
from pathlib import Path

import pytest

from olmkit.registry.errors import InvalidDigest, StoreError
from olmkit.registry.oci.digest import BLOCK_BYTES, Digest, hash_file

HEX = "0123456789abcdef" * 4


def test_both_spellings_are_the_same_digest() -> None:
    assert Digest.parse(f"sha256:{HEX}") == Digest(f"sha256-{HEX.upper()}") == f"sha256:{HEX}"


def test_a_digest_names_its_file_and_its_id() -> None:
    digest = Digest(f"sha256:{HEX}")
    assert (digest.hex, digest.short, digest.file_name) == (HEX, HEX[:12], f"sha256-{HEX}")


@pytest.mark.parametrize(
    "text",
    ["", "sha256:", HEX, f"sha256:{HEX}0", f"sha256:{HEX[1:]}", f"sha256:../{HEX[3:]}",
     f"sha256:{HEX}\n", f"sha512:{HEX}{HEX}", f" sha256:{HEX}", f"sha256:{HEX[:-1]}g"],
)  # fmt: skip
def test_other_texts_are_no_digests(text: str) -> None:
    with pytest.raises(InvalidDigest, match="is no digest") as caught:
        Digest(text)
    assert caught.value.text == text


def test_of_hashes_bytes() -> None:
    assert Digest.of(b"abc").hex == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES - 7])
def test_a_files_digest_is_that_of_its_bytes_and_progress_ends_at_its_size(
    tmp_path: Path, size: int
) -> None:
    data = bytes(i * 7 % 251 for i in range(1000)) * (size // 1000 + 1)
    path = tmp_path / "file"
    path.write_bytes(data[:size])
    seen: list[int] = []
    assert hash_file(path, seen.append) == Digest.of(data[:size])
    assert seen == sorted(seen)
    assert seen[-1:] == ([size] if size else [])


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"cannot read {tmp_path}/none: no such file"):
        hash_file(tmp_path / "none")
