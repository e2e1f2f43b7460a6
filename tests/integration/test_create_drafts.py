"""DRAFT: draft models stored beside a model, over a real daemon and through registries."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from olmkit.engine.create.assembly import Recipe, Workshop, create
from olmkit.engine.gguf.header import read_header
from olmkit.engine.models.spec import ModelSpec, spec_of
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci.manifest import Manifest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.push import transfer
from olmkit.registry.sources import PullOptions, pull
from olmkit.registry.store.store import Store
from support.api import Api
from support.checkpoints import write_checkpoint
from support.daemon import running_daemon
from support.gguffile import GgufFile, string
from support.ggufsplit import split
from support.headmodels import write_head
from support.models import smollm2
from support.olm import olm, out
from support.randommodel import write_llama
from support.registry import serving


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("drafts") / "home") as daemon:
        yield Api(daemon)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("base") / "base.gguf", layers=3, width=128)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("small") / "small.gguf", layers=1, width=64)


def build(api: Api, folder: Path, name: str, text: str, *words: str) -> str:
    """What `olm create` says."""
    done = olm(api.daemon.environ, "create", name, "-f", "-", *words, stdin=text, cwd=folder)
    assert done.returncode == 0, done.stderr.decode()
    return done.stderr.decode()


def layers(api: Api, name: str) -> list[tuple[str, str]]:
    """Role and digest of each layer."""
    found = api.post("/api/inspect", {"model": name}).json["layers"]
    return [(layer["role"], layer["digest"]) for layer in found]


def drafts(api: Api, name: str) -> list[str]:
    return [digest for role, digest in layers(api, name) if role == "draft"]


def digest_of(api: Api, name: str) -> str:
    return str(api.post("/api/inspect", {"model": name}).json["id"])


def refusal(api: Api, **members: Any) -> tuple[int, str]:
    answer = api.post("/api/create", {"model": "refused", "stream": False, **members})
    assert "refused" not in api.get("/api/tags").body.decode()
    return answer.status, answer.error


def test_a_draft_is_a_layer_of_its_own_that_every_command_shows(
    api: Api, base: Path, small: Path, tmp_path: Path
) -> None:
    build(api, tmp_path, "m", f"FROM {base}\nDRAFT {small}\nSYSTEM hi\n")
    assert [role for role, _ in layers(api, "m")] == ["weights", "draft", "system"]
    config = api.post("/api/inspect", {"model": "m"}).json["config"]
    assert config["draft"] == {"model_format": "gguf", "architecture": "llama"}
    environ = api.daemon.environ
    assert "DRAFT" in out(olm(environ, "history", "m"))
    shown = out(olm(environ, "show", "m"))
    assert "  Draft\n    architecture    llama\n" in shown
    assert "    use             guesses ahead\n" in shown
    body = {"model": "m", "prompt": "Hi", "options": {"num_predict": 2}, "stream": False}
    assert api.post("/api/generate", body).json["eval_count"] in (1, 2)


def test_a_printed_modelfile_makes_the_same_model(
    api: Api, base: Path, small: Path, tmp_path: Path
) -> None:
    other = write_llama(tmp_path / "other.gguf", layers=2, width=64)
    text = f"FROM {base}\nDRAFT {other}\nDRAFT {small}\nSYSTEM hi\nREQUIRES 0.1.0\n"
    build(api, tmp_path, "printed", text)
    printed = out(olm(api.daemon.environ, "show", "printed", "--modelfile"))
    assert printed.count("\nDRAFT ") == 2
    assert "\nREQUIRES 0.1.0\n" in printed
    build(api, tmp_path, "again", printed)
    assert digest_of(api, "again") == digest_of(api, "printed")


def test_a_child_inherits_drafts_and_its_own_come_behind_them(
    api: Api, base: Path, small: Path, tmp_path: Path
) -> None:
    other = write_llama(tmp_path / "other.gguf", layers=3, width=64)
    build(api, tmp_path, "parent", f"FROM {base}\nDRAFT {small}\n")
    build(api, tmp_path, "heir", "FROM parent\nSYSTEM x\n")
    (inherited,) = drafts(api, "parent")
    assert drafts(api, "heir") == [inherited]
    build(api, tmp_path, "child", f"FROM parent\nDRAFT {other}\n")
    first, second = drafts(api, "child")
    assert first == inherited != second
    shown = api.post("/api/show", {"model": "child"}).json["olm"]["draft"]
    assert shown["quantization_level"] == "F32"
    build(api, tmp_path, "back", f"FROM child\nDRAFT {small}\n")
    assert drafts(api, "back") == [second, first]


def test_a_draft_in_parts_is_the_draft_in_one_file(
    api: Api, base: Path, small: Path, tmp_path: Path
) -> None:
    shard, *_ = split(small, tmp_path, "small", 3)
    build(api, tmp_path, "whole", f"FROM {base}\nDRAFT {small}\n")
    build(api, tmp_path, "parts", f"FROM {base}\nDRAFT ./{shard.name}\n")
    assert digest_of(api, "parts") == digest_of(api, "whole")


def test_a_draft_in_safetensors_is_converted_and_quantized(api: Api, tmp_path: Path) -> None:
    for folder in ("checkpoint", "draft"):
        write_checkpoint("llama", tmp_path / folder)
    text = "FROM ./checkpoint\nDRAFT ./draft\n"
    told = build(api, tmp_path, "converted", text, "--draft-quantize", "q8_0")
    assert "converting draft\n" in told
    assert "quantizing BF16 draft to Q8_0\n" in told
    shown = api.post("/api/show", {"model": "converted"}).json
    assert shown["olm"]["draft"]["quantization_level"] == "Q8_0"
    assert shown["details"]["quantization_level"] == "BF16"


def test_draft_quantize_is_checked_before_any_file_is_moved(tmp_path: Path) -> None:
    environ = {"OLM_HOME": str(tmp_path / "home"), "OLM_HOST": "127.0.0.1:9"}
    words = ("create", "m", "-f", "-", "--draft-quantize")
    without = olm(environ, *words, "q8_0", stdin=f"FROM {smollm2()}\n")
    assert (without.returncode, without.stderr) == (
        2,
        b"Error: --draft-quantize requires a DRAFT model\n",
    )
    wrong = olm(environ, *words, "q99", stdin=f"FROM {smollm2()}\nDRAFT ./x\n")
    assert b"unsupported quantization type q99" in wrong.stderr


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("adapter", "d.gguf is an adapter: a draft has to be a model"),
        ("mmproj", "d.gguf is a projector: a draft has to be a model"),
    ],
)
def test_what_is_no_model_is_no_draft(
    kind: str, message: str, api: Api, small: Path, tmp_path: Path
) -> None:
    file = GgufFile(
        metadata={"general.architecture": string("llama"), "general.type": string(kind)}
    )
    digest = api.import_file(file.write(tmp_path / "d.gguf"))
    files = {"m.gguf": api.import_file(small)}
    assert refusal(api, files=files, draft_files={"d.gguf": digest}) == (400, message)


def test_a_draft_needs_weights_and_its_quantizing_a_draft(
    api: Api, small: Path, tmp_path: Path
) -> None:
    model = api.import_file(small)
    files = {"m.gguf": model}
    empty = api.import_file(GgufFile(tensors=(), data=b"").write(tmp_path / "e.gguf"))
    for members, status, message in (
        (
            {"draft_files": {"e.gguf": empty}},
            400,
            "e.gguf holds no weights",
        ),
        ({"draft_quantize": "q8_0"}, 400, "--draft-quantize requires a DRAFT model"),
        ({"draft_files": {"../d": model}}, 400, "file path must be relative"),
        ({"draft_files": {"d": "sha256:x"}}, 400, "invalid digest format"),
    ):
        assert refusal(api, files=files, **members) == (status, message)
    status, text = refusal(api, files=files, draft_files={"d": model}, draft_quantize="q99")
    assert (status, text.partition(" - ")[0]) == (400, "unsupported quantization type q99")
    quantized = {"d.gguf": api.import_file(smollm2())}
    status, text = refusal(api, files=files, draft_files=quantized, draft_quantize="q8_0")
    assert text == "quantization is only supported for F16, BF16 and F32 models"


def test_a_draft_of_another_vocabulary_is_refused_and_one_that_was_made_is_left_out(
    api: Api, small: Path, tmp_path: Path
) -> None:
    says = "the draft model is not used: its vocabulary has 259 tokens, that of the model 49152"
    files = {"m.gguf": api.import_file(smollm2())}
    draft = {"d.gguf": api.import_file(small)}
    assert refusal(api, files=files, draft_files=draft) == (400, says)
    build(api, tmp_path, "other", f"FROM {smollm2()}\nDRAFT {small}\n", "--no-try-load")
    body = {"model": "other", "prompt": "Hi", "options": {"num_predict": 2}, "stream": False}
    assert api.post("/api/generate", body).json["eval_count"] == 2
    (running,) = [
        one for one in api.get("/api/ps").json["models"] if one["model"] == "other:latest"
    ]
    assert running["notes"] == [says]


def test_a_draft_that_reads_the_model_s_state_is_stored_only(
    api: Api, base: Path, tmp_path: Path
) -> None:
    file = GgufFile(metadata={"general.architecture": string("dflash")})
    guided = file.write(tmp_path / "guided.gguf")
    told = build(api, tmp_path, "guided", f"FROM {base}\nDRAFT {guided}\n")
    assert "drafts of the architecture dflash are not used yet" in told
    shown = out(olm(api.daemon.environ, "show", "guided"))
    assert "    use             stored, not used for decoding\n" in shown
    body = {"model": "guided", "prompt": "Hi", "options": {"num_predict": 2}, "stream": False}
    assert api.post("/api/generate", body).json["eval_count"] in (1, 2)


def test_a_head_in_the_model_s_file_guesses_where_there_is_no_draft(
    api: Api, small: Path, tmp_path: Path
) -> None:
    head = write_head(tmp_path / "head.gguf")
    build(api, tmp_path, "headed", f"FROM {head}\n")
    shown = out(olm(api.daemon.environ, "show", "headed"))
    assert "    part of         the model's own file\n    use             guesses ahead\n" in shown
    body = {"model": "headed", "prompt": "#$%&'()*+,-./0123456789", "raw": True, "stream": False}
    options = [{"num_predict": 50, "draft_num_predict": most, "temperature": 0} for most in (0, 16)]
    answers = [api.post("/api/generate", body | {"options": one}).json for one in options]
    assert [one["response"] for one in answers] == ["".join(map(chr, range(58, 108)))] * 2
    (running,) = [
        one for one in api.get("/api/ps").json["models"] if one["model"] == "headed:latest"
    ]
    assert not running.get("notes")
    build(api, tmp_path, "both", f"FROM {head}\nDRAFT {small}\n")
    assert "is_head" not in api.post("/api/show", {"model": "both"}).json["olm"]["draft"]


def test_archives_keep_drafts(api: Api, base: Path, small: Path, tmp_path: Path) -> None:
    build(api, tmp_path, "saved", f"FROM {base}\nDRAFT {small}\n")
    before = digest_of(api, "saved")
    environ = api.daemon.environ
    archive = str(tmp_path / "saved.tar")
    assert olm(environ, "save", "saved", "-o", archive).returncode == 0
    with running_daemon(tmp_path / "home") as elsewhere:
        out(olm(elsewhere.environ, "load", "-i", archive))
        assert digest_of(Api(elsewhere), "saved") == before
        assert drafts(Api(elsewhere), "saved") == drafts(api, "saved")


@pytest.mark.parametrize("format_", ["ollama", "modelpack", "docker"])
def test_registries_keep_drafts_in_every_format(format_: str, small: Path, tmp_path: Path) -> None:
    store, other = Store(tmp_path / "one"), Store(tmp_path / "two")
    draft = write_llama(tmp_path / "draft.gguf", layers=1, width=32)
    nobody = threading.Event()
    with serving() as registry:
        name = Reference.parse(f"{registry.host}/library/m:1")
        files = [{path.name: store.blobs.ingest_file(path)[0]} for path in (small, draft)]
        create(
            Recipe(name=name, files=files[0], drafts=files[1]),
            Workshop(
                require_loadable=lambda _: None,
                store=store,
                pull=lambda *_: store.load(name),
                on_event=lambda event: None,
                cancelled=nobody,
            ),
        )
        transfer.push_model(
            store.load(name),
            store,
            RemoteAccess(),
            on_event=lambda event: None,
            cancelled=nobody,
            options=transfer.PushOptions(format=format_),
        )
        media_type, raw = registry.manifests["library/m", "1"]
        assert Manifest.parse(raw).media_type == media_type
        pulled = pull(
            name,
            other,
            on_event=lambda event: None,
            cancelled=nobody,
            describe=lambda path: ModelConfig(),
            options=PullOptions(),
        )
    spec: ModelSpec = spec_of(other, pulled)
    (path,) = spec.drafts
    assert [t.name for t in read_header(path).tensors] == [
        t.name for t in read_header(draft).tensors
    ]
    assert spec.config.draft == {"model_format": "gguf", "architecture": "llama"}
    assert Path(spec.files.weights_path).name != path.name
