"""Tar streams that mean harm, or are broken, end in an error of ours and leave nothing."""

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from olmkit.registry import formats
from olmkit.registry.errors import RegistryError, SourceError
from olmkit.registry.store.store import Store
from olmkit.registry.tar import tarstream
from olmkit.registry.tar.compression import decompressed
from olmkit.registry.tar.tarstream import Kind
from support.formats import WEIGHTS, stored, tar


def read_all(data: bytes) -> dict[str, bytes]:
    return {
        member.name: b"".join(iter(member.read, b""))
        for member in tarstream.members(decompressed(io.BytesIO(data)))
        if member.kind is Kind.FILE
    }


def single(name: str, **fields: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo(name)
        for field, value in fields.items():
            setattr(info, field, value)
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    return out.getvalue()


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_the_three_kinds_of_tar_are_read(format_: int) -> None:
    long_name = "models/" + "n" * (80 if format_ == tarfile.USTAR_FORMAT else 200) + ".gguf"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_) as archive:
        for name, data in {long_name: WEIGHTS, "./b": b"2", "empty": b""}.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    assert read_all(out.getvalue()) == {long_name: WEIGHTS, "b": b"2", "empty": b""}


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x"])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(SourceError, match="leads out"):
        read_all(single(name))


@pytest.mark.parametrize("link", ["../../etc/passwd", "../..", "a/../../../x"])
def test_links_that_lead_out_are_refused(link: str) -> None:
    with pytest.raises(SourceError, match="leads out"):
        tarstream.link_target("models/m", link)
    assert tarstream.link_target("models/m", "/models/x") == "models/x"
    assert tarstream.link_target("models/m", "../x") == "x"


@pytest.mark.parametrize("name", ["a\\..\\b.gguf", "C:x.gguf"])
def test_names_that_lead_out_on_other_systems_are_refused_of_models(
    tmp_path: Path, name: str
) -> None:
    store = Store(tmp_path / "models")
    kind = "application/vnd.oci.image.layer.v1.tar"
    config: tuple[str, Any] = ("application/vnd.oci.image.config.v1+json", {})
    unit = "usr/lib/systemd/system/system-systemd\\x2dcryptsetup.slice"
    good = stored(store, config, [(kind, tar({unit: b"", "models/m.gguf": WEIGHTS}), {})])
    assert len(formats.read(store, good).weights) == 1
    pack: tuple[str, Any] = ("application/vnd.cncf.model.config.v1+json", {})
    layer: tuple[str, bytes, dict[str, str]]
    layer = ("application/vnd.cncf.model.weight.v1.tar", tar({name: WEIGHTS}), {})
    with pytest.raises(SourceError, match="leads out"):
        formats.read(store, stored(store, pack, [layer]))


def test_devices_in_a_layer_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    layer = single("dev", type=tarfile.CHRTYPE)
    kind = "application/vnd.cncf.model.weight.v1.tar"
    manifest = stored(store, ("application/vnd.cncf.model.config.v1+json", {}), [(kind, layer, {})])
    with pytest.raises(SourceError, match="no file"):
        formats.read(store, manifest)


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_bombs_are_refused_before_they_expand(compress: "type[bytes]") -> None:
    bomb = compress(single("zeros", size=200 << 20))
    assert len(bomb) < 1 << 20
    with pytest.raises(SourceError, match="expands"):
        for member in tarstream.members(decompressed(io.BytesIO(bomb))):
            member.skip()


def test_huge_headers_and_endless_members_are_refused() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    with pytest.raises(SourceError, match="header of"):
        read_all(info.tobuf(tarfile.GNU_FORMAT))
    endless = io.BytesIO(tar({str(n): b"" for n in range(5)}))
    with pytest.raises(SourceError, match="more than 3"):
        list(tarstream.members(endless, limit=3))


@settings(max_examples=150, deadline=None)
@given(
    data=st.binary(max_size=2048),
    prefix=st.sampled_from([b"", tar({"a": b"x"})[:1024], b"\x1f\x8b", b"\x28\xb5\x2f\xfd"]),
)
def test_garbage_is_an_error_of_ours(data: bytes, prefix: bytes) -> None:
    try:
        read_all(prefix + data)
    except RegistryError:
        pass


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 3000), value=st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(position: int, value: int) -> None:
    for pack in (bytes, gzip.compress, zstandard.ZstdCompressor().compress):
        data = bytearray(pack(tar({"m.gguf": WEIGHTS[:1500], "l" * 150: b"x"})))
        data[position % len(data)] = value
        try:
            read_all(bytes(data))
        except RegistryError:
            pass
