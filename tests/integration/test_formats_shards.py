"""A model whose manifest holds shards runs as the file that was split."""

from pathlib import Path

from olmkit.engine.models.spec import spec_of
from olmkit.registry import formats
from olmkit.registry.formats import Format
from olmkit.registry.oci.digest import Digest, hash_file
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store
from support.formats import put_shards
from support.ggufsplit import split
from support.randommodel import write_llama


def test_shards_of_a_manifest_are_put_together_once_and_kept_with_them(tmp_path: Path) -> None:
    whole = write_llama(tmp_path / "whole.gguf", layers=2, width=64)
    parts = [path.read_bytes() for path in split(whole, tmp_path, "m", 3)]
    store = Store(tmp_path / "models")
    manifest = put_shards(store, "ghcr.io/a/sharded", parts)
    name = Reference.parse("ghcr.io/a/sharded")

    spec = spec_of(store, store.load(name))
    path = Path(spec.files.weights_path)
    assert len(spec.gguf.tensors) > 10
    assert hash_file(path) == Digest(path.name)
    before = path.stat().st_ino
    assert store.collect(grace_s=-10).unused == ()
    assert spec_of(store, store.load(name)).files == spec.files
    assert path.stat().st_ino == before

    packed = formats.write(store, formats.read(store, manifest), Format.DOCKER)
    store.put(Reference.parse("ghcr.io/a/docker"), packed)
    other = spec_of(store, store.load(Reference.parse("ghcr.io/a/docker")))
    assert other.files == spec.files

    for model in store.list():
        store.remove(model.reference)
    store.collect(grace_s=-10)
    assert not path.exists()
