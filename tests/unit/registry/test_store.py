"""The store: names to manifests on disk, in a layout that Ollama shares."""

import os
from pathlib import Path

import pytest

from olmkit.registry.errors import (
    CorruptBlob,
    InvalidManifest,
    InvalidReference,
    ModelNotFound,
    StoreError,
)
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.manifest import MANIFEST_LIMIT_BYTES, Manifest
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store import nametree
from olmkit.registry.store.store import Store
from support.stores import GGUF, files_of, manifest, put_model, write_raw_manifest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def parse(text: str) -> Reference:
    return Reference.parse(text)


def names_in(store: Store) -> list[str]:
    return sorted(model.reference.short for model in store.list())


def test_a_new_store_is_empty_and_nothing_is_made_by_looking(store: Store) -> None:
    assert store.list() == []
    assert store.find(parse("m")) is None
    with pytest.raises(ModelNotFound, match="model 'm:latest' not found") as caught:
        store.load(parse("m"))
    assert caught.value.name == "m:latest"
    assert not store.root.exists()


def test_what_is_put_is_loaded_with_the_bytes_verbatim(store: Store) -> None:
    made = manifest(store)
    spaced = Manifest.parse(made.raw.replace(b",", b", "))
    assert store.put(parse("m:1"), spaced) == spaced.digest == Digest.of(spaced.raw)
    model = store.load(parse("m:1"))
    assert model.manifest.raw == spaced.raw
    assert model.manifest_digest == spaced.digest
    assert model.id == spaced.digest.short
    assert model.size_bytes == sum(blob.size_bytes for blob in made.blobs)
    assert model.modified_at.tzinfo is not None
    assert model.config(store).model_format == "gguf"
    path = store.root / "manifests/registry.ollama.ai/library/m/1"
    assert path.read_bytes() == spaced.raw


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("m", "registry.ollama.ai/library/m/latest"),
        ("hf.co/User/Repo:Q4_K_M", "hf.co/User/Repo/Q4_K_M"),
        ("localhost:5000/me/m:1", "localhost:5000/me/m/1"),
        ("localhost:5000/m:1", "localhost:5000/_/m/1"),
        ("ghcr.io/org/team/m:1", "ghcr.io/org_2f_team/m/1"),
        ("ghcr.io/a/b/c/m:1", "ghcr.io/a_2f_b_2f_c/m/1"),
        ("_/m:1", "registry.ollama.ai/_/m/1"),
        ("ghcr.io/_/m:1", "ghcr.io/_5f_/m/1"),
        ("ghcr.io/a_2f_b/m:1", "ghcr.io/a_5f_2f_b/m/1"),
        ("ghcr.io/org_ab/team/m:1", "ghcr.io/org_5f_ab_2f_team/m/1"),
        ("ghcr.io/a/m:1_00.", "ghcr.io/a/m/1_5f_00_2e_"),
        ("[::1]:5000/a/m:1", "_5b_::1_5d_:5000/a/m/1"),
        ("pypi://x==1!2+cpu", "pypi/library/x/1_21_2_2b_cpu"),
        ("con", "registry.ollama.ai/library/_63_on/latest"),
        ("LPT1.x:1.0.", "registry.ollama.ai/library/_4c_PT1.x/1.0_2e_"),
        ("aux.example/nul/prn:com0", "_61_ux.example/_6e_ul/_70_rn/_63_om0"),
        ("console/nullable:com", "registry.ollama.ai/console/nullable/com"),
        ("ghcr.io/con/aux/m:1", "ghcr.io/con_2f_aux/m/1"),
        ("m@sha256:" + "a" * 64, "registry.ollama.ai/library/m/sha256-" + "a" * 64),
    ],
)
def test_every_name_has_a_place_of_four_levels_and_is_read_back_from_it(
    name: str, path: str
) -> None:
    parts = nametree.parts_of(parse(name))
    assert "/".join(parts) == path
    assert nametree.reference_of(parts) == parse(name)


def test_ollamas_own_spelling_of_such_a_name_is_found_and_written_again(store: Store) -> None:
    made = manifest(store)
    write_raw_manifest(store.root, "registry.ollama.ai/library/con/1.", made.raw)
    assert [model.reference for model in store.list()] == [parse("con:1.")]
    assert store.load(parse("CON:1.")).manifest.raw == made.raw
    store.put(parse("con:1."), manifest(store, template=b"other"))
    store.put(parse("con:2"), made)
    listed = sorted(path.name for path in (store.names.folder / "registry.ollama.ai").rglob("*"))
    assert listed == ["1.", "2", "con", "library"]
    store.remove(parse("con:1."))
    assert [model.reference for model in store.list()] == [parse("con:2")]


def test_a_name_too_long_for_a_file_system_is_refused(store: Store) -> None:
    with pytest.raises(InvalidReference, match="too long for a file name"):
        store.find(parse("ghcr.io/" + "a/" * 90 + "m"))


def test_a_manifest_whose_blobs_are_absent_or_cut_is_refused(store: Store) -> None:
    made = manifest(store)
    weights = store.blobs.path(made.layers[0].digest)
    os.truncate(weights, 5)
    with pytest.raises(CorruptBlob, match="has 5 bytes instead of"):
        store.put(parse("m"), made)
    weights.unlink()
    with pytest.raises(StoreError, match=f"blob {made.layers[0].digest} is missing"):
        store.put(parse("m"), made)
    assert store.list() == []


def test_a_reference_with_another_digest_is_refused(store: Store) -> None:
    with pytest.raises(InvalidManifest, match="has another digest"):
        store.put(parse("m@sha256:" + "a" * 64), manifest(store))


def test_a_model_is_found_by_name_and_digest_under_any_tag(store: Store) -> None:
    made = put_model(store, "m:8b")
    assert store.find(parse(f"m@{made.digest}")) == parse("m:8b")
    assert store.find(parse(f"m:8b@{made.digest}")) == parse("m:8b")
    assert store.find(parse("m@sha256:" + "a" * 64)) is None
    assert store.find(parse("m:8b@sha256:" + "a" * 64)) is None
    pinned = parse(f"n@{made.digest}")
    store.put(pinned, made)
    assert store.load(pinned).reference == pinned


def test_names_are_found_whatever_their_case(store: Store) -> None:
    put_model(store, "hf.co/User/Repo:Q4_K_M")
    put_model(store, "Llama3:8B")
    assert store.find(parse("hf.co/user/REPO:q4_k_m")) == parse("hf.co/User/Repo:Q4_K_M")
    assert store.load(parse("llama3:8b")).reference == parse("Llama3:8B")
    store.remove(parse("LLAMA3:8b"))
    assert names_in(store) == ["hf.co/User/Repo:Q4_K_M"]


def test_the_exact_spelling_is_found_first(store: Store) -> None:
    made = manifest(store)
    for name in ("M", "m"):
        write_raw_manifest(store.root, f"registry.ollama.ai/library/{name}/latest", made.raw)
    assert store.find(parse("m")) == parse("m")
    assert store.find(parse("M")) == parse("M")


def test_a_fold_is_followed_through_folders_that_lack_the_tag(store: Store) -> None:
    made = manifest(store)
    write_raw_manifest(store.root, "registry.ollama.ai/library/m/other", made.raw)
    write_raw_manifest(store.root, "registry.ollama.ai/Library/M/wanted", made.raw)
    found = store.find(parse("m:Wanted"))
    assert found is not None and found.full == "registry.ollama.ai/Library/M:wanted"


def test_writing_uses_the_spelling_that_is_there(store: Store) -> None:
    put_model(store, "Llama3:8b")
    put_model(store, "llama3:8B")
    put_model(store, "LLAMA3:new")
    assert names_in(store) == ["Llama3:8b", "Llama3:new"]


def test_copying_keeps_the_bytes_and_so_the_id(store: Store) -> None:
    made = put_model(store, "a")
    store.copy(parse("a"), parse("ghcr.io/org/team/b:1"))
    assert store.load(parse("ghcr.io/org/team/b:1")).manifest.raw == made.raw
    assert names_in(store) == ["a:latest", "ghcr.io/org/team/b:1"]
    with pytest.raises(ModelNotFound):
        store.copy(parse("none"), parse("c"))


def test_removing_a_name_removes_what_only_it_used(store: Store) -> None:
    put_model(store, "a", GGUF + b"a")
    before = files_of(store)
    put_model(store, "b", GGUF + b"b")
    store.remove(parse("b"))
    assert files_of(store) == before
    assert not (store.root / "manifests/registry.ollama.ai/library/b").exists()
    store.remove(parse("a"))
    assert files_of(store) == set()
    with pytest.raises(ModelNotFound):
        store.remove(parse("a"))


def test_replacing_a_name_removes_what_only_the_old_model_used(store: Store) -> None:
    put_model(store, "a", GGUF + b"1")
    put_model(store, "a", GGUF + b"2")
    assert not store.blobs.has(Digest.of(GGUF + b"1"))
    assert store.blobs.has(Digest.of(GGUF + b"2"))


def test_the_newest_model_is_listed_first(store: Store) -> None:
    made = manifest(store)
    for age, name in ((3, "c"), (1, "a"), (2, "b")):
        store.put(parse(name), made)
        os.utime(store.names.path(nametree.parts_of(parse(name))), (1e9 - age, 1e9 - age))
    assert [model.reference.short for model in store.list()] == ["a:latest", "b:latest", "c:latest"]


def test_listing_sees_every_change_of_a_manifest(store: Store) -> None:
    first = put_model(store, "a", GGUF + b"1")
    assert [model.manifest_digest for model in store.list()] == [first.digest]
    second = put_model(store, "a", GGUF + b"2")
    assert [model.manifest_digest for model in store.list()] == [second.digest]


def test_models_are_found_by_the_digits_of_their_id(store: Store) -> None:
    made = put_model(store, "a")
    store.copy(parse("a"), parse("b"))
    found = store.with_id(made.digest.hex[:5].upper())
    assert sorted(model.reference.short for model in found) == ["a:latest", "b:latest"]
    assert store.with_id(made.digest) == store.with_id(made.digest.hex)
    assert store.with_id("0" * 64) == []


def test_what_cannot_be_read_is_reported_and_does_not_hide_the_rest(store: Store) -> None:
    put_model(store, "good")
    write_raw_manifest(store.root, "registry.ollama.ai/library/bad/latest", b"{")
    write_raw_manifest(store.root, "registry.ollama.ai/library/bad/name!", b"{}")
    write_raw_manifest(store.root, "registry.ollama.ai/library/shallow", b"{}")
    write_raw_manifest(store.root, "registry.ollama.ai/library/.DS_Store", b"x")
    models, unreadable = store.scan()
    assert [model.reference.short for model in models] == ["good:latest"]
    reasons = sorted(item.reason for item in unreadable)
    assert [item.path.name for item in sorted(unreadable, key=lambda item: item.reason)] == [
        "name!",
        "shallow",
        "latest",
    ]
    assert "is no model's name" in reasons[0]
    assert "is not at HOST/NAMESPACE/MODEL/TAG" in reasons[1]
    assert reasons[2].startswith("bad:latest: the manifest cannot be read")
    with pytest.raises(InvalidManifest, match=r"^bad:latest: the manifest cannot be read"):
        store.load(parse("bad"))


def test_a_broken_model_can_be_removed(store: Store) -> None:
    write_raw_manifest(store.root, "registry.ollama.ai/library/bad/latest", b"{")
    store.remove(parse("bad"))
    assert store.scan() == ([], ())


def test_a_manifest_of_absurd_length_is_not_read(store: Store) -> None:
    write_raw_manifest(store.root, "registry.ollama.ai/library/big/latest", b"")
    path = store.root / "manifests/registry.ollama.ai/library/big/latest"
    os.truncate(path, MANIFEST_LIMIT_BYTES + 1)
    with pytest.raises(StoreError, match="too long for a manifest"):
        store.load(parse("big"))


def test_what_is_no_manifest_loses_its_name_and_nothing_else(store: Store, tmp_path: Path) -> None:
    put_model(store, "good")
    folder = store.root / "manifests/registry.ollama.ai/library/odd"
    folder.mkdir()
    target = tmp_path / "target"
    target.write_text("{}")
    (folder / "link").symlink_to(target)
    (folder / "dangling").symlink_to("/nowhere")
    os.mkfifo(folder / "pipe")
    for name in ("odd:link", "odd:dangling", "odd:pipe"):
        store.remove(parse(name))
        with pytest.raises(ModelNotFound):
            store.remove(parse(name))
    assert not folder.exists()
    assert target.exists()
    assert names_in(store) == ["good:latest"]


def test_links_below_manifests_are_not_followed(store: Store, tmp_path: Path) -> None:
    made = put_model(store, "good")
    outside = tmp_path / "outside"
    write_raw_manifest(outside, "library/m/latest", made.raw)
    folder = store.root / "manifests"
    (folder / "evil").symlink_to(outside / "manifests")
    (folder / "registry.ollama.ai/library/link").symlink_to(outside / "manifests/library/m")
    (folder / "registry.ollama.ai/library/good/file").symlink_to("/etc/hostname")
    assert names_in(store) == ["good:latest"]
    before = sorted(outside.rglob("*"))
    for name in ("evil/library/m", "link", "good:file", "evil/library/new", "link:new"):
        reference = parse(name)
        for act in (
            store.load,
            lambda r: store.put(r, made),
            lambda r: store.copy(parse("good"), r),
            *(() if name == "good:file" else (store.remove,)),
        ):
            with pytest.raises(StoreError, match="is a link, and those are not followed"):
                act(reference)
    assert sorted(outside.rglob("*")) == before


def test_a_store_may_itself_be_reached_by_links(store: Store, tmp_path: Path) -> None:
    put_model(store, "m")
    (tmp_path / "link").symlink_to(store.root)
    assert names_in(Store(tmp_path / "link")) == ["m:latest"]
    put_model(Store(tmp_path / "link"), "n")
    assert names_in(store) == ["m:latest", "n:latest"]


def test_blobs_on_another_file_system_work(store: Store) -> None:
    elsewhere = Path("/dev/shm") / f"olm-test-blobs-{os.getpid()}"
    elsewhere.mkdir()
    try:
        store.root.mkdir()
        (store.root / "blobs").symlink_to(elsewhere)
        put_model(store, "m")
        assert store.load(parse("m")).config(store).model_format == "gguf"
        store.remove(parse("m"))
        assert [p for p in elsewhere.rglob("*") if p.is_file()] == []
    finally:
        for path in sorted(elsewhere.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        elsewhere.rmdir()


def hand_over(store: Store, name: str, data: bytes = GGUF) -> Path:
    path = store.incoming / name
    path.write_bytes(data)
    return path


def test_a_file_handed_over_becomes_a_blob_and_leaves_incoming(store: Store) -> None:
    path = hand_over(store, "ab" * 16)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert store.adopt("ab" * 16) == (Digest.of(GGUF), len(GGUF))
    assert not path.exists()
    assert store.blobs.check(Digest.of(GGUF)).read_bytes() == GGUF


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../x", "AB" * 16, "ab" * 7, "ab" * 33, "zz" * 16, "ab" * 16 + "\n"]
)
def test_only_random_hex_names_a_handed_over_file(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="is no name of a handed-over file"):
        store.adopt(name)


def test_only_regular_files_are_taken_over(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(GGUF)
    (store.incoming / ("ab" * 16)).symlink_to(tmp_path / "secret")
    os.mkfifo(store.incoming / ("cd" * 16))
    for name in ("ab" * 16, "cd" * 16, "ef" * 16):
        with pytest.raises(StoreError, match=r"cannot read|is no regular file"):
            store.adopt(name)
    assert os.listdir(store.incoming) == []
    assert (tmp_path / "secret").exists()


def test_the_blobs_folder_holds_blobs_only_and_manifests_only_manifests(store: Store) -> None:
    put_model(store, "a")
    hand_over(store, "ab" * 16, GGUF + b"more")
    store.adopt("ab" * 16)
    assert all(name.startswith("sha256-") for name in os.listdir(store.root / "blobs"))
    found = [p for p in (store.root / "manifests").rglob("*") if p.is_file()]
    assert [p.name for p in found] == ["latest"]


def test_a_thousand_models_are_listed_without_reading_them_again(store: Store) -> None:
    made = manifest(store)
    for number in range(1000):
        write_raw_manifest(store.root, f"registry.ollama.ai/library/m{number}/latest", made.raw)
    first = store.list()
    assert len(first) == 1000
    again = store.list()
    assert all(one is other for one, other in zip(first, again, strict=True))
