"""Stores whose folders are mounts of their own: `rename` and `link` answer EXDEV between them.

All mounts are of one file system, so that device numbers tell nothing.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from olmkit.registry.lockfile import Locked, write
from olmkit.registry.oci.digest import Digest
from support.daemon import COMMAND, Daemon, running_daemon
from support.mounts import run_with_bind_mounts, with_bind_mounts
from support.pulling import publish
from support.registry import serving
from support.stores import GGUF

OLM = str(Path(sys.executable).with_name("olm"))
FOLDERS = ["blobs", "manifests", "staging", "partial", "links", "unpacked", "pushed", "incoming"]

EVERY_WRITE = """
import os
from pathlib import Path
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.push import pushes
from olmkit.registry.store import unpacked
from olmkit.registry.store.store import Store
from support.stores import GGUF, put_model

root = Path({root!r})
store = Store(root)
put_model(store, "m")
put_model(store, "m", GGUF + b"replaced")
put_model(store, "ghcr.io/a/b/c:1", GGUF + b"other")

source = root.parent / "source.gguf"
source.write_bytes(GGUF * 3)
digest, _ = store.blobs.ingest_file(source)
(store.incoming / ("ab" * 16)).write_bytes(GGUF * 4)
adopted, _ = store.adopt("ab" * 16)
handed = Digest.of(GGUF * 5)
staged = store.blobs.partial / "x"
staged.parent.mkdir(parents=True, exist_ok=True)
staged.write_bytes(GGUF * 5)
store.blobs.install(staged, handed, len(GGUF) * 5)
for one in (digest, adopted, handed):
    store.blobs.verify(one)
store.blobs.links.record(digest, os.stat(source))
record = unpacked.Record(below="x", files=(), links={{}})
unpacked.remember(store.blobs, digest, record)
assert unpacked.find(store.blobs, digest, below="x") == record
pushes.record(store, Reference.parse("m"), digest, adopted)
assert pushes.find(store, Reference.parse("m"), digest) == adopted

store.remove(Reference.parse("ghcr.io/a/b/c:1"))
store.remove_leftovers()
left = [
    str(path)
    for name in ("blobs", "manifests", "staging", "partial")
    for path in (root / name).rglob("*")
    if path.is_file() and (path.name.startswith(".") or "staging" in str(path))
]
assert not left, left
print(*(model.reference.short for model in store.list()))
"""


def mounted_over(root: Path, *names: str) -> dict[Path, Path]:
    """Folders of the store, each to have a mount over it."""
    mounts = {}
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        (root.parent / "elsewhere" / name).mkdir(parents=True, exist_ok=True)
        mounts[root.parent / "elsewhere" / name] = root / name
    return mounts


@pytest.mark.parametrize("names", [[name] for name in FOLDERS] + [FOLDERS])
def test_every_write_works_whichever_folder_is_a_mount(tmp_path: Path, names: list[str]) -> None:
    root = tmp_path / "models"
    mounts = mounted_over(root, *names)
    assert run_with_bind_mounts(EVERY_WRITE.format(root=str(root)), mounts) == "m:latest\n"


def test_a_folder_of_names_may_be_a_mount(tmp_path: Path) -> None:
    root = tmp_path / "models"
    mounts = mounted_over(root, "manifests/registry.ollama.ai/library/m")
    assert run_with_bind_mounts(EVERY_WRITE.format(root=str(root)), mounts) == "m:latest\n"


def olm(daemon: Daemon, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [OLM, *arguments],
        env=os.environ | daemon.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_download_ends_well_where_the_blobs_are_a_bind_mount(tmp_path: Path) -> None:
    home = tmp_path / "home"
    mounts = mounted_over(home / "models", "blobs", "manifests")
    command = with_bind_mounts(mounts, COMMAND)
    with serving() as registry, running_daemon(home, command=command) as daemon:
        name, made = publish(registry, GGUF * 1000)
        pulled = olm(daemon, "pull", name)
        assert pulled.returncode == 0, pulled.stderr
        again = olm(daemon, "verify", name)
        assert again.returncode == 0, again.stderr
        archive, mounted = tmp_path / "m.tar", tmp_path / "mounted.tar"
        archive.touch()
        mounted.touch()
        save = with_bind_mounts({mounted: archive}, [OLM, "save", name, "-o", str(archive)])
        subprocess.run(save, env=os.environ | daemon.environ, check=True)
        assert mounted.stat().st_size > len(GGUF) * 1000
    for blob in made.blobs:
        path = home / "elsewhere" / "blobs" / blob.digest.file_name
        assert path.stat().st_size == blob.size_bytes


def test_a_lock_file_that_is_a_mount_is_written_in_place(tmp_path: Path) -> None:
    written, mounted = tmp_path / "olm.lock", tmp_path / "mounted"
    written.write_text("")
    mounted.write_text("version = 1\n" + "# long\n" * 1000)
    run_with_bind_mounts(
        f"""
from pathlib import Path
from olmkit.registry.lockfile import Locked, write
from olmkit.registry.oci.digest import Digest
write(Path({str(written)!r}), {{"m": Locked(digest=Digest.of(b"x"))}})
""",
        {mounted: written},
    )
    expected = tmp_path / "expected"
    write(expected, {"m": Locked(digest=Digest.of(b"x"))})
    assert mounted.read_text() == expected.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected", "mounted", "olm.lock"]


def test_dockers_configuration_that_is_a_mount_is_written_in_place(tmp_path: Path) -> None:
    (tmp_path / "docker").mkdir()
    config, mounted = tmp_path / "docker" / "config.json", tmp_path / "mounted.json"
    config.write_text("")
    mounted.write_text(json.dumps({"auths": {}}))
    run_with_bind_mounts(
        f"""
from pathlib import Path
from olmkit.registry.http.credentials import Credential, CredentialStore
store = CredentialStore(Path({str(config)!r}))
store.save("quay.io", Credential(username="u", secret="long" * 500))
store.save("ghcr.io", Credential(username="a", secret="b"))
store.erase("quay.io")
""",
        {mounted: config},
    )
    assert json.loads(mounted.read_text()) == {"auths": {"ghcr.io": {"auth": "YTpi"}}}
    assert [path.name for path in config.parent.iterdir()] == ["config.json"]
