"""What `create` takes, a runner loads: proved by llama.cpp before the name appears."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.api import Answer, Api
from support.daemon import running_daemon
from support.gguffile import GgufFile, Row, string
from support.randommodel import VOCABULARY, write_llama


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("dryrun") / "home") as daemon:
        yield Api(daemon)


def create(api: Api, path: Path, **members: Any) -> Answer:
    files = {path.name: api.import_file(path)}
    return api.post("/api/create", {"model": "m", "files": files, "stream": False, **members})


def names(api: Api) -> list[str]:
    return [model["name"] for model in api.get("/api/tags").json["models"]]


def test_a_model_that_loads_is_made_and_runs(api: Api, tmp_path: Path) -> None:
    assert create(api, write_llama(tmp_path / "m.gguf")).json == {"status": "success"}
    assert api.post("/api/generate", {"model": "m", "prompt": "hi", "stream": False}).status == 200
    api.ask("DELETE", "/api/delete", {"model": "m"})


@pytest.mark.parametrize("rows", [VOCABULARY - 1, VOCABULARY // 2])
def test_a_vocabulary_larger_than_the_embedding_is_refused(
    api: Api, tmp_path: Path, rows: int
) -> None:
    answer = create(api, write_llama(tmp_path / "m.gguf", rows=rows))
    assert answer.status == 400
    assert answer.error.startswith("m:latest could not be loaded: ")
    assert "token_embd.weight" in answer.error
    assert names(api) == []


def test_a_model_that_lacks_what_its_kind_needs_is_refused(api: Api, tmp_path: Path) -> None:
    header = GgufFile(
        metadata={"general.architecture": string("llama")},
        tensors=(Row(name="w"),),
        data=bytes(128),
    )
    answer = create(api, header.write(tmp_path / "m.gguf"))
    assert answer.status == 400
    assert "could not be loaded" in answer.error
    assert names(api) == []


def test_who_knows_better_may_say_so(api: Api, tmp_path: Path) -> None:
    path = write_llama(tmp_path / "m.gguf", rows=VOCABULARY - 1)
    assert create(api, path, try_load=False).status == 200
    api.ask("DELETE", "/api/delete", {"model": "m"})
