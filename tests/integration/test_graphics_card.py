"""With a graphics card that the engine can use: what runs on the processor runs there too.

Elsewhere the summary says that none of it was tested. What is worked out from the card's answers
is tested everywhere, on recorded ones (`tests/unit/engine/test_placement.py`).
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.engine.devices.enginesurvey import SurveyUnderWay
from support.daemon import Daemon, running_daemon
from support.models import minilm_gguf, smollm2
from support.olm import olm, out

ASK = {"prompt": "Say hi", "stream": False, "options": {"num_predict": 8, "temperature": 0}}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    said = SurveyUnderWay().result(timeout_s=120)
    if not any(device.is_card for device in said.devices):
        pytest.skip("NOT TESTED: there is no graphics card here that this engine can use")
    with running_daemon(tmp_path_factory.mktemp("card") / "home") as running:
        for name, path in (("tiny", smollm2()), ("mini", minilm_gguf())):
            out(olm(running.environ, "create", name, "-f", "-", stdin=f"FROM {path}\n"))
        yield running


def loaded(daemon: Daemon, name: str) -> dict[str, int]:
    _, body = daemon.request("GET", "/api/ps")
    return next(model for model in json.loads(body)["models"] if model["name"].startswith(name))


def answer(daemon: Daemon, **options: int) -> str:
    body = ASK | {"model": "tiny", "options": {**ASK["options"], **options}}  # type: ignore[dict-item]
    status, reply = daemon.request("POST", "/api/generate", body)
    assert status == 200, reply
    return str(json.loads(reply)["response"])


def test_a_model_goes_to_the_card_as_a_whole_and_ps_says_so(daemon: Daemon) -> None:
    assert answer(daemon)
    model = loaded(daemon, "tiny")
    assert model["size"] == model["size_vram"] > 0
    assert "100% GPU" in out(olm(daemon.environ, "ps"))


def test_some_of_the_layers_are_some_of_the_model(daemon: Daemon) -> None:
    assert answer(daemon, num_gpu=2)
    model = loaded(daemon, "tiny")
    assert 0 < model["size_vram"] < model["size"]
    assert "% CPU/GPU" in out(olm(daemon.environ, "ps"))


def test_without_layers_it_is_a_model_on_the_processor(daemon: Daemon) -> None:
    assert answer(daemon, num_gpu=0)
    assert loaded(daemon, "tiny")["size_vram"] == 0


def test_embeddings_come_from_the_card(daemon: Daemon) -> None:
    status, reply = daemon.request("POST", "/api/embed", {"model": "mini", "input": ["a", "b"]})
    assert status == 200, reply
    assert len(json.loads(reply)["embeddings"]) == 2
    model = loaded(daemon, "mini")
    assert model["size"] == model["size_vram"] > 0


def test_info_shows_the_card_with_its_memory_and_doctor_finds_it(daemon: Daemon) -> None:
    found = json.loads(out(olm(daemon.environ, "info", "--json")))
    cards = [d for d in found["engine"]["survey"]["devices"] if "gpu" in d["kind"]]
    assert cards
    assert all(0 < card["free_bytes"] <= card["total_bytes"] for card in cards)
    assert "graphics card" in out(olm(daemon.environ, "doctor"))


def test_the_engine_runs_without_the_card_where_it_must(tmp_path: Path) -> None:
    hidden = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "", "GGML_VK_VISIBLE_DEVICES": ""}
    with running_daemon(tmp_path / "home", environ=hidden) as daemon:
        out(olm(daemon.environ, "create", "tiny", "-f", "-", stdin=f"FROM {smollm2()}\n"))
        assert answer(daemon)
        assert loaded(daemon, "tiny")["size_vram"] == 0
