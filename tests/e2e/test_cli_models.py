"""Commands about models in the store: create, ls, show, cp, rm, stop, ps."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, running_daemon
from support.models import smollm2, tiny_chat
from support.olm import olm, out
from support.stores import remove_models


@pytest.fixture
def daemon(shared: Daemon) -> Iterator[Daemon]:
    """The daemon of all tests, without models at the start of each."""
    yield shared
    remove_models(shared.home / "models")


def write(directory: Path, text: str, name: str = "Modelfile") -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_models_life(daemon: Daemon, tmp_path: Path) -> None:
    environ = daemon.environ
    write(
        tmp_path,
        f"FROM {smollm2()}\nSYSTEM Be brief.\nPARAMETER num_ctx 1024\nPARAMETER stop 'a b'\n"
        "LICENSE MIT\nMESSAGE user hi\nMESSAGE assistant hello\n",
    )
    done = olm(environ, "create", "Mine", cwd=tmp_path)
    assert out(done) == ""
    assert done.stderr.splitlines()[-1] == b"success"
    assert b"\x1b" not in done.stderr

    header, row = out(olm(environ, "ls")).splitlines()
    assert header.split() == ["NAME", "ID", "SIZE", "MODIFIED"]
    name, short_id, *_ = row.split()
    assert name == "Mine:latest"
    assert len(short_id) == 12
    listed = json.loads(out(olm(environ, "ls", "--format", "json")))
    assert listed["name"] == "Mine:latest"
    assert listed["digest"].startswith(short_id)
    assert out(olm(environ, "ls", "--no-trunc")).split()[5] == listed["digest"]
    assert out(olm(environ, "ls", "MI", "-q")) == "Mine:latest\n"
    assert out(olm(environ, "ls", "other", "-q")) == ""

    shown = out(olm(environ, "show", "mine"))
    for row in (
        "    architecture        llama\n",
        "    parameters          134.52M\n",
        "    quantization        Q4_1\n",
        "    num_ctx    1024\n",
        "  System\n    Be brief.\n",
        "  License\n    MIT\n",
    ):
        assert row in shown
    assert out(olm(environ, "show", "mine", "--system")) == "Be brief."
    assert out(olm(environ, "show", "mine", "--license")) == "MIT\n"
    assert "PARAMETER num_ctx 1024" in out(olm(environ, "show", "mine", "--modelfile"))
    assert "num_ctx" in out(olm(environ, "show", "mine", "--parameters"))
    assert "tokenizer.ggml.tokens" in out(olm(environ, "show", "mine", "-v"))

    assert out(olm(environ, "cp", "mine", "yours:v1")) == "copied 'mine' to 'yours:v1'\n"
    assert out(olm(environ, "__complete", "models", "yo")) == "yours:v1\n"
    out(olm(environ, "run", "yours:v1", ""))
    assert out(olm(environ, "ps")).splitlines()[1].startswith("yours:v1 ")
    running = json.loads(out(olm(environ, "ps", "--format", "json")))
    assert (running["name"], running["context_length"]) == ("yours:v1", 1024)
    assert out(olm(environ, "__complete", "running", "")) == "yours:v1\n"
    assert out(olm(environ, "stop", "yours:v1")) == ""
    assert out(olm(environ, "ps", "-q")) == ""

    assert out(olm(environ, "rm", "mine", "yours:v1")) == "deleted 'mine'\ndeleted 'yours:v1'\n"
    assert out(olm(environ, "ls", "-q")) == ""


def test_commands_of_several_names_go_on_after_a_failure(daemon: Daemon) -> None:
    environ = daemon.environ
    for name in ("a", "b"):
        out(olm(environ, "create", name, "-f", "-", stdin=f"FROM {tiny_chat()}"))
    done = olm(environ, "rm", "a", "missing", "b")
    assert (done.returncode, done.stdout) == (3, b"deleted 'a'\ndeleted 'b'\n")
    assert done.stderr == b"Error: model 'missing' not found\n"
    assert olm(environ, "rm", "missing").returncode == 3
    assert out(olm(environ, "rm", "-f", "missing")) == ""
    done = olm(environ, "stop", "missing", "gone")
    assert done.returncode == 3
    assert done.stderr.decode().splitlines() == [
        f'Error: couldn\'t find model "{name}" to stop' for name in ("missing", "gone")
    ]


def test_what_is_missing_has_a_status_of_its_own(shared: Daemon) -> None:
    environ = shared.environ
    for words in (["show", "missing"], ["cp", "missing", "x"], ["stop", "missing"]):
        done = olm(environ, *words)
        assert (done.returncode, done.stdout) == (3, b"")
        assert done.stderr.startswith(b"Error: ")


def test_the_store_shares_the_files_blocks(daemon: Daemon, tmp_path: Path) -> None:
    """On one file system a local model takes no second copy of its bytes."""
    source = tmp_path / "m.gguf"
    source.write_bytes(tiny_chat().read_bytes())
    out(olm(daemon.environ, "create", "m", "-f", "-", stdin=f"FROM {source}"))
    blobs = list((daemon.home / "models" / "blobs").iterdir())
    assert any(os.path.samefile(blob, source) for blob in blobs) or source.stat().st_nlink == 1
    assert list((daemon.home / "models" / "incoming").iterdir()) == []


def test_a_missing_modelfile_is_an_error_not_a_guess(shared: Daemon, tmp_path: Path) -> None:
    done = olm(shared.environ, "create", "m", "-f", "Modelfle", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.startswith(b"Error: no such Modelfile: Modelfle\n")
    done = olm(shared.environ, "create", "m", cwd=tmp_path)
    assert done.returncode == 3


def test_paths_are_relative_to_the_modelfile(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "w.gguf").symlink_to(tiny_chat())
    write(tmp_path / "sub", "FROM ./w.gguf")
    out(olm(daemon.environ, "create", "m", "-f", "sub/Modelfile", cwd=tmp_path))
    assert out(olm(daemon.environ, "ls", "-q")) == "m:latest\n"


def test_errors_of_a_modelfile_point_at_their_place(shared: Daemon, tmp_path: Path) -> None:
    write(tmp_path, "FROM ./missing.gguf\nPARAMETER temprature 1\nSISTEM x\n")
    done = olm(shared.environ, "create", "m", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    told = done.stderr.decode()
    assert "Modelfile:2:11: " in told
    assert "did you mean 'temperature'?" in told
    assert "Modelfile:3:1: " in told
    write(tmp_path, "SYSTEM x\nFROM ./missing.gguf\n")
    done = olm(shared.environ, "create", "m", cwd=tmp_path)
    assert "Modelfile:2:6: no such file: ./missing.gguf" in done.stderr.decode()


def test_a_modelfile_can_be_checked_without_a_daemon(olm_home: Path, tmp_path: Path) -> None:
    environ = {"OLM_HOME": str(olm_home), "OLM_HOST": "127.0.0.1:1"}
    write(tmp_path, "FROM llama3\nPARAMETER temperature hot\n")
    done = olm(environ, "create", "--check", "--json", cwd=tmp_path)
    assert done.returncode == 1
    (problem,) = json.loads(done.stdout)
    assert (problem["line"], problem["column"], problem["severity"]) == (2, 23, "error")
    write(tmp_path, "FROM llama3\n")
    assert out(olm(environ, "create", "--check", cwd=tmp_path)) == ""
    assert out(olm(environ, "create", "--check", "--json", cwd=tmp_path)) == "[]\n"
    assert not olm_home.exists()


def test_a_bad_name_is_refused_before_anything_is_hashed(shared: Daemon) -> None:
    done = olm(shared.environ, "create", "../x", "-f", "-", stdin=f"FROM {tiny_chat()}")
    assert done.returncode == 2
    assert b"hashing" not in done.stderr
    assert done.stderr.startswith(b"Error: ")


@pytest.mark.parametrize(
    "words", [["pull", "../x"], ["rm", "../x"], ["show", "../../x"], ["cp", "../x", "y"]]
)
def test_a_name_that_climbs_directories_is_refused_by_name(
    words: list[str], shared: Daemon
) -> None:
    done = olm(shared.environ, *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert words[1] in done.stderr.decode().splitlines()[0]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("models") / "home") as running:
        yield running


def test_a_file_on_another_file_system_is_uploaded_once(daemon: Daemon, tmp_path: Path) -> None:
    assert os.stat("/dev/shm").st_dev != tmp_path.stat().st_dev
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        source = Path(elsewhere) / "m.gguf"
        shutil.copy(tiny_chat(), source)
        modelfile = f"FROM {source}"
        done = olm(daemon.environ, "create", "m", "-f", "-", stdin=modelfile)
        assert done.returncode == 0, done.stderr
        assert b"uploading m.gguf: 100%" in done.stderr
        done = olm(daemon.environ, "create", "m2", "-f", "-", stdin=modelfile)
        assert done.returncode == 0, done.stderr
        assert b"uploading" not in done.stderr
    assert out(olm(daemon.environ, "run", "m2", "")) == ""
