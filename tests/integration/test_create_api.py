"""POST /api/create, /api/import and /api/pull over a real daemon."""

import contextlib
import hashlib
import http.client
import json
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from support import models
from support.api import Api
from support.daemon import running_daemon, wait_until
from support.gguffile import GgufFile, Row
from support.index import PackageIndex, serving
from support.wheels import write_wheel

PULLED = GgufFile(tensors=(Row(name="w", shape=(1 << 20,)),), data=os.urandom(4 << 20))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageIndex]:
    folder = tmp_path_factory.mktemp("wheels")
    write_wheel(folder, "tiny-model", "1.0", {"tiny_model/tiny.gguf": PULLED.encode()})
    write_wheel(folder, "no-model", "1.0", {"no_model/__init__.py": b""})
    with serving(PackageIndex(folder)) as serving_index:
        yield serving_index


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, index: PackageIndex) -> Iterator[Api]:
    environ = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index.url,
        "PIP_NO_CACHE_DIR": "1",
    }
    home = tmp_path_factory.mktemp("create") / "home"
    with running_daemon(home, environ=environ) as daemon:
        client = Api(daemon)
        client.create("smol", models.smollm2())
        yield client


def refusal(api: Api, path: str = "/api/create", **members: Any) -> tuple[int, str]:
    answer = api.post(path, {"model": "refused", **members})
    assert "refused" not in api.get("/api/tags").body.decode()
    return answer.status, answer.error


def test_the_steps_of_a_create(api: Api) -> None:
    lines = api.create("briefly", parent="smol", system="Be brief.")
    statuses = [line["status"] for line in lines]
    assert statuses[0].startswith("using existing layer sha256:")
    assert statuses[1].startswith("creating new layer sha256:")
    assert statuses[-2:] == ["writing manifest", "success"]
    whole = api.post("/api/create", {"model": "briefly", "from": "smol", "stream": False})
    assert (whole.status, whole.json) == (200, {"status": "success"})
    shown = api.post("/api/show", {"model": "briefly"}).json
    assert shown["details"]["parent_model"] == "smol:latest"


def test_what_the_parts_say_comes_out_of_show_and_chat(api: Api) -> None:
    api.create(
        "parts",
        parent="smol",
        system="Answer in one word.",
        license=["MIT", "GPL"],
        parameters={"temperature": 0, "stop": ["\n", '"']},
        messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}],
    )
    shown = api.post("/api/show", {"model": "parts"}).json
    assert shown["license"] == "MIT\nGPL"
    assert shown["parameters"] == (
        'stop                           "\\n"\n'
        'stop                           "\\""\n'
        "temperature                    0"
    )
    assert shown["messages"][1] == {"role": "assistant", "content": "hello"}
    assert "SYSTEM Answer in one word.\n" in shown["modelfile"]
    assert "MESSAGE assistant hello\n" in shown["modelfile"]
    turns = {"model": "parts", "messages": [{"role": "user", "content": "Q"}]}
    answer = api.post("/api/chat", {**turns, "_debug_render_only": True}).json
    assert answer["_debug_info"]["rendered_template"] == (
        "<|im_start|>system\nAnswer in one word.<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nhello<|im_end|>\n"
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
    )
    own = [{"role": "system", "content": "S"}, *turns["messages"]]
    answer = api.post("/api/chat", {"model": "parts", "messages": own, "_debug_render_only": True})
    assert "Answer in one word" not in answer.json["_debug_info"]["rendered_template"]


def test_a_printed_modelfile_makes_the_same_model(api: Api) -> None:
    from olmkit.modelfile.parser import parse

    api.create(
        "printed",
        parent="smol",
        system='Say "hi"\nand bye',
        template="{{ .System }}\n{{ .Prompt }}",
        parameters={"temperature": 0.25, "stop": ["<|x|>", "y"]},
        messages=[{"role": "user", "content": "a"}],
        license="L\n",
    )
    modelfile = parse(api.post("/api/show", {"model": "printed"}).json["modelfile"])
    digest = "sha256:" + Path(modelfile.from_ or "").name.removeprefix("sha256-")
    api.create(
        "reprinted",
        files={"m.gguf": digest},
        system=modelfile.system,
        template=modelfile.template,
        parameters=modelfile.parameters,
        messages=[{"role": m.role, "content": m.value} for m in modelfile.messages],
        license=list(modelfile.licenses),
    )
    listed = {m["name"]: m for m in api.get("/api/tags").json["models"]}
    first, second = (api.post("/api/show", {"model": n}).json for n in ("printed", "reprinted"))
    for part in ("system", "template", "parameters", "messages", "license"):
        assert first[part] == second[part], part
    assert listed["reprinted:latest"]["size"] == listed["printed:latest"]["size"]


def test_a_go_template_is_parsed_before_anything_is_made(api: Api) -> None:
    status, text = refusal(api, **{"from": "smol"}, template="{{ if }}")
    assert status == 400
    assert text.startswith("template error: template: :1: ")
    api.create("gone", parent="smol", template="<{{ .System }}|{{ .Prompt }}>{{ .Response }}")
    body = {"model": "gone", "prompt": "P", "system": "S", "_debug_render_only": True}
    answer = api.post("/api/generate", body).json
    assert answer["_debug_info"]["rendered_template"] == "<S|P>"


def test_what_makes_no_model_has_a_status_of_its_own(api: Api) -> None:
    absent = "sha256:" + "0" * 64
    for members, status, text in (
        ({}, 400, "neither 'from' or 'files' was specified"),
        ({"files": {"../x": absent}}, 400, "file path must be relative"),
        ({"files": {"x": "nonsense"}}, 400, "invalid digest format"),
        ({"from": "a b"}, 400, "invalid model name"),
        ({"requires": "one", "from": "smol"}, 400, "requires must be a valid semver (e.g. 0.14.0)"),
        ({"from": "smol", "parameters": {"nix": 1}}, 400, "unknown parameter 'nix'"),
        ({"from": "smol", "remote_host": "x"}, 400, "bad remote"),
    ):
        got = refusal(api, **members, stream=False)
        assert got == (status, text)


def test_a_truncated_file_is_refused_with_its_name_and_sizes(api: Api, tmp_path: Path) -> None:
    whole = models.smollm2().read_bytes()
    half = whole[: len(whole) // 2]
    told = f"truncated: needs {len(whole)} bytes, has {len(half)}"
    blobs = Path(api.get("/api/status").json["olm"]["models"]) / "blobs"
    before = set(blobs.iterdir())
    incoming = Path(api.get("/api/status").json["olm"]["incoming"])
    link = incoming / secrets.token_hex(16)
    link.write_bytes(half)
    answer = api.post("/api/import", {"file": link.name, "name": "my.gguf"})
    assert (answer.status, answer.error) == (500, f"my.gguf: {told}")
    assert not link.exists() and set(blobs.iterdir()) == before
    digest = "sha256:" + hashlib.sha256(half).hexdigest()
    assert api.post(f"/api/blobs/{digest}", half).status == 201
    lines = api.post("/api/create", {"model": "refused", "files": {"cut.gguf": digest}}).lines
    assert lines[-1]["error"] == f"cut.gguf: {told}"
    direct = api.post("/api/generate", {"model": digest, "prompt": "x"})
    assert direct.status == 500 and told in direct.error


def test_an_unknown_architecture_is_one_clear_sentence(api: Api, tmp_path: Path) -> None:
    from support.gguffile import string

    path = GgufFile(metadata={"general.architecture": string("nonesuch")}).write(
        tmp_path / "odd.gguf"
    )
    files = {path.name: api.import_file(path)}
    status, error = refusal(api, files=files, stream=False)
    assert status == 400
    assert "nonesuch" in error and "\n" not in error
    api.create("odd", path, try_load=False)
    answer = api.post("/api/generate", {"model": "odd", "prompt": "x"})
    assert answer.status == 500
    assert "nonesuch" in answer.error and "\n" not in answer.error
    assert api.post("/api/generate", {"model": "smol"}).status == 200


def test_import_takes_only_what_lies_in_incoming(api: Api, tmp_path: Path) -> None:
    incoming = Path(api.get("/api/status").json["olm"]["incoming"])
    assert incoming.stat().st_mode & 0o777 == 0o700
    for name in ("", "../blobs/x", "/etc/passwd", "nothere", "ff" * 16):
        assert api.post("/api/import", {"file": name, "stream": False}).status >= 400, name
    secret = tmp_path / "secret"
    secret.write_text("secret")
    link = incoming / secrets.token_hex(16)
    link.symlink_to(secret)
    assert api.post("/api/import", {"file": link.name, "stream": False}).status >= 400
    assert not link.is_symlink() and secret.exists()


def test_a_checkpoint_in_safetensors_becomes_a_model_that_embeds(api: Api) -> None:
    directory = models.minilm_directory()
    wanted = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    extra = ("vocab.txt", "modules.json", "1_Pooling/config.json", "special_tokens_map.json")
    files = {
        name: api.import_file(directory / name)
        for name in (*wanted, *extra)
        if (directory / name).exists()
    }
    lines = api.post("/api/create", {"model": "minilm", "files": files}).lines
    assert lines[-1] == {"status": "success"}, lines[-1]
    assert {"status": "converting model"} in lines
    vector = api.post("/api/embed", {"model": "minilm", "input": "hello"}).json["embeddings"][0]
    assert len(vector) == 384


def test_a_pull_through_pip(api: Api) -> None:
    lines = api.post("/api/pull", {"model": "pypi://tiny-model"}).lines
    assert lines[0]["status"].startswith("resolving ")
    assert lines[-1] == {"status": "success"}
    assert any(line.get("total", 0) > 4_000_000 for line in lines)
    listed = {m["name"]: m for m in api.get("/api/tags").json["models"]}
    assert listed["pypi://tiny-model"]["details"]["family"] == "llama"
    again = api.post("/api/pull", {"name": "pypi://tiny-model", "stream": False})
    assert (again.status, again.json) == (200, {"status": "success"})


def test_a_pull_that_fails_says_so(api: Api) -> None:
    for name in ("pypi://nonesuch-package", "pypi://no-model"):
        whole = api.post("/api/pull", {"model": name, "stream": False})
        assert whole.status >= 400 and whole.error
        lines = api.post("/api/pull", {"model": name}).lines
        assert lines[0]["status"].startswith("resolving ")
        assert lines[-1]["error"] == whole.error
        assert "status" not in lines[-1]


def test_a_missing_parent_is_pulled_first(api: Api) -> None:
    api.ask("DELETE", "/api/delete", {"model": "pypi://tiny-model"})
    lines = api.create("child", parent="pypi://tiny-model", system="x")
    assert any(line["status"].startswith("pulling") for line in lines)


def test_those_who_pull_the_same_model_share_the_work(api: Api, index: PackageIndex) -> None:
    api.ask("DELETE", "/api/delete", {"model": "pypi://tiny-model"})
    index.requests.clear()
    index.pause_s = 0.01
    try:
        with ThreadPoolExecutor(3) as pool:
            pulls = [
                pool.submit(api.post, "/api/pull", {"model": "pypi://tiny-model"}) for _ in range(3)
            ]
            assert [p.result().lines[-1]["status"] for p in pulls] == ["success"] * 3
    finally:
        index.pause_s = 0
    assert sum(path.endswith(".whl") for path in index.requests) == 1


def test_a_pull_that_nobody_waits_for_is_cancelled(api: Api, index: PackageIndex) -> None:
    api.ask("DELETE", "/api/delete", {"model": "pypi://tiny-model"})
    index.pause_s = 0.5
    try:
        connection = http.client.HTTPConnection("127.0.0.1", api.daemon.port, timeout=60)
        connection.request("POST", "/api/pull", json.dumps({"model": "pypi://tiny-model"}))
        response = connection.getresponse()
        response.readline()
        wait_until(lambda: pip_runs(api), what="pip")
        connection.close()
        response.close()
        wait_until(lambda: not pip_runs(api), what="the end of pip")
    finally:
        index.pause_s = 0
    assert "tiny-model" not in api.get("/api/tags").body.decode()


def pip_runs(api: Api) -> bool:
    for child in psutil.Process(api.daemon.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it ends while it is looked at
            if "pip" in " ".join(child.cmdline()):
                return True
    return False


def test_quantizing_on_the_way(api: Api) -> None:
    lines = api.create("minilm-f16", models.minilm_gguf())
    before = api.post("/api/show", {"model": "minilm-f16"}).json["details"]
    assert before["quantization_level"] == "F16"
    lines = api.create("minilm-q8", parent="minilm-f16", quantize="q8_0")
    statuses = [line["status"] for line in lines]
    assert "quantizing F16 model to Q8_0" in statuses
    assert lines[-1] == {"status": "success"}
    after = api.post("/api/show", {"model": "minilm-q8"}).json["details"]
    assert after["quantization_level"] == "Q8_0"
    one, other = (
        api.post("/api/embed", {"model": name, "input": "hello"}).json["embeddings"][0]
        for name in ("minilm-f16", "minilm-q8")
    )
    assert sum(a * b for a, b in zip(one, other, strict=True)) > 0.99
    again = api.post("/api/create", {"model": "refused", "from": "smol", "quantize": "q8_0"})
    assert again.lines[-1]["error"] == (
        "quantization is only supported for F16, BF16 and F32 models"
    )
    wrong = api.post("/api/create", {"model": "refused", "from": "minilm-f16", "quantize": "q99"})
    assert wrong.error.startswith("unsupported quantization type q99 - supported")
