"""Wheels as untrusted archives."""

import base64
import hashlib
import os
import struct
import zipfile
from pathlib import Path

import pytest

from olmkit.registry.errors import SourceError
from olmkit.registry.oci.digest import Digest
from olmkit.registry.sources import wheel
from support.wheels import write_wheel


def test_a_wheels_files_metadata_and_hashes_are_read(tmp_path: Path) -> None:
    path = write_wheel(
        tmp_path,
        "My_Pkg",
        "1.0",
        {"my/m.gguf": b"GGUF", "my/x.py": b"pass"},
        requires=["A.b==1", "c (==2)", "d>=3", "e==4; extra == 'x'", "f==5.*", "g==6,<7"],
    )
    with wheel.opened(path) as opened:
        assert (opened.package, opened.version) == ("my-pkg", "1.0")
        assert [str(pin) for pin in opened.pins()] == ["a-b==1", "c==2"]
        assert b"".join(opened.blocks("my/m.gguf")) == b"GGUF"
        assert opened.size_bytes("my/m.gguf") == 4
        assert opened.recorded_digest("my/m.gguf") == Digest.of(b"GGUF")
        assert opened.recorded_digest("my/absent") is None
        assert opened.read_text("my/x.py", 4) == "pass"
        assert opened.read_text("my/x.py", 3) is None
        assert opened.read_text("absent", 3) is None


def test_text_that_is_no_utf8_counts_as_absent(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, "x", "1", {"x/LICENSE": b"\xff\xfe"})
    with wheel.opened(path) as opened:
        assert opened.read_text("x/LICENSE", 100) is None


@pytest.mark.parametrize("content", [b"", b"PK", b"no zip at all" * 100])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    path.write_bytes(content)
    with (
        pytest.raises(SourceError, match=r"^the wheel x-1-py3-none-any.whl cannot be read: "),
        wheel.opened(path),
    ):
        pass


def test_an_archive_without_a_wheels_information_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/m.gguf", b"GGUF")
    with pytest.raises(SourceError, match=r"0 \.dist-info folders"), wheel.opened(path):
        pass


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, "x", "1", {"x/m.gguf": b"GGUF"})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("x/m.gguf", b"other")
    with pytest.raises(SourceError, match="two files of one name"), wheel.opened(path):
        pass


def test_a_damaged_file_is_an_error_when_it_is_read(tmp_path: Path) -> None:
    data = os.urandom(5000)
    path = write_wheel(tmp_path, "x", "1", {"x/m.gguf": data})
    raw = bytearray(path.read_bytes())
    raw[2000] ^= 0xFF
    path.write_bytes(raw)
    with wheel.opened(path) as opened, pytest.raises(SourceError, match="cannot be read: "):
        b"".join(opened.blocks("x/m.gguf"))


def test_an_encrypted_file_is_refused(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, "x", "1", {"x/m.gguf": b"GGUF"})
    raw = bytearray(path.read_bytes())
    central = raw.index(b"PK\x01\x02")
    flags = struct.unpack_from("<H", raw, central + 8)[0]
    struct.pack_into("<H", raw, central + 8, flags | 1)
    struct.pack_into("<H", raw, raw.index(b"PK\x03\x04") + 6, flags | 1)
    path.write_bytes(raw)
    with wheel.opened(path) as opened, pytest.raises(SourceError, match="encrypted"):
        b"".join(opened.blocks("x/m.gguf"))


def test_a_file_that_expands_beyond_measure_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write_wheel(tmp_path, "x", "1", {"x/m.gguf": bytes(80 << 20)})
    with wheel.opened(path) as opened, pytest.raises(SourceError, match="expands beyond measure"):
        next(opened.blocks("x/m.gguf"))


@pytest.mark.parametrize("cell", ["sha256=!!!", "sha256=" + "A" * 9, "sha256=AAAA"])
def test_a_record_that_cannot_be_read_is_refused(tmp_path: Path, cell: str) -> None:
    path = write_wheel(tmp_path, "x", "1", {"x/m.gguf": b"GGUF"})
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"GGUF").digest()).decode().rstrip("=")
    broken = tmp_path / "broken.whl"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(broken, "w") as target:
        for name in source.namelist():
            content = source.read(name).replace(f"sha256={digest}".encode(), cell.encode())
            target.writestr(name, content)
    with wheel.opened(broken) as opened, pytest.raises(SourceError, match="RECORD"):
        opened.recorded_digest("x/m.gguf")


def test_no_cut_of_a_wheel_raises_anything_but_our_error(tmp_path: Path) -> None:
    whole = write_wheel(tmp_path, "x", "1", {"x/m.gguf": b"GGUF" * 20}).read_bytes()
    path = tmp_path / "cut.whl"
    for position in range(0, len(whole), 3):
        for content in (
            whole[:position],
            whole[:position] + b"\xff" + whole[position + 1 :],
            whole[:position] + b"\x00\x00" + whole[position + 2 :],
        ):
            path.write_bytes(content)
            try:
                with wheel.opened(path) as opened:
                    opened.pins()
                    opened.recorded_digest("x/m.gguf")
                    for name in opened.names:
                        b"".join(opened.blocks(name))
            except SourceError:
                pass
