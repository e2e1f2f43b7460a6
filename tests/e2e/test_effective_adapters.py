"""`olm create` from a safetensors directory, with an adapter in safetensors or GGUF over it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.engine.create.convert import convert_adapter, directory_files
from olmkit.engine.gguf.header import read_header
from support.api import Api
from support.checkpoints import lora, write_checkpoint
from support.daemon import Daemon, running_daemon
from support.olm import olm


@pytest.fixture
def daemon(olm_home: Path) -> Iterator[Daemon]:
    with running_daemon(olm_home) as running:
        yield running


def create(daemon: Daemon, name: str, text: str, folder: Path) -> None:
    (folder / "Modelfile").write_text(text)
    done = olm(daemon.environ, "create", name, cwd=folder)
    assert done.returncode == 0, done.stderr.decode()


def modelfile(daemon: Daemon, name: str) -> str:
    return str(Api(daemon).post("/api/show", {"model": name}).json["modelfile"])


def test_an_adapter_of_either_kind_gives_the_same_model(daemon: Daemon, tmp_path: Path) -> None:
    write_checkpoint("llama", tmp_path / "llama")
    (tmp_path / "lora").mkdir()
    lora(tmp_path / "lora", rank=4)
    create(daemon, "base", "FROM ./llama", tmp_path)
    create(daemon, "tuned", "FROM base\nADAPTER ./lora", tmp_path)
    create(daemon, "whole", "FROM ./llama\nADAPTER ./lora", tmp_path)
    (path,) = {line[5:] for line in modelfile(daemon, "base").splitlines() if line[:5] == "FROM "}
    target = tmp_path / "lora.gguf"
    convert_adapter(directory_files(tmp_path / "lora"), target, base=read_header(Path(path)))
    create(daemon, "linked", "FROM base\nADAPTER ./lora.gguf", tmp_path)
    found = {
        name: [line for line in modelfile(daemon, name).splitlines() if line[:7] == "ADAPTER"]
        for name in ("base", "tuned", "whole", "linked")
    }
    assert found["base"] == []
    assert len(found["tuned"]) == 1
    assert found["tuned"] == found["whole"] == found["linked"]


def test_a_missing_adapter_is_an_error_and_never_a_name(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "Modelfile").write_text("FROM base\nADAPTER other\n")
    done = olm(daemon.environ, "create", "m", cwd=tmp_path)
    assert done.returncode == 1
    assert b"Modelfile:2:9: no such file: other" in done.stderr


def test_a_missing_modelfile_is_an_error(daemon: Daemon, tmp_path: Path) -> None:
    done = olm(daemon.environ, "create", "m", "-f", "absent", cwd=tmp_path)
    assert done.returncode == 3
    assert b"no such Modelfile: absent" in done.stderr
