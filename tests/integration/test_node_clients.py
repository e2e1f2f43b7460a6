"""The daemon through JavaScript's released clients, each a program of its own."""

from collections.abc import Iterator

import pytest

from support import clients, models
from support.api import Api
from support.daemon import running_daemon


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    # One request at a time: an answer that goes on after its client left would block the next.
    environ = {"OLM_NUM_PARALLEL": "1"}
    made = tmp_path_factory.mktemp("clients")
    speaker = models.tiny_speaker(made / "speaker.gguf", ("get_weather", {"city": "Paris"}))
    with running_daemon(made / "home", environ=environ) as daemon:
        api = Api(daemon)
        api.create("speaker", speaker)
        api.create("minilm", models.minilm_gguf())
        yield api


@pytest.mark.parametrize("client", ["ollama", "openai", "anthropic", "ai_sdk"])
def test_a_client_chats_calls_tools_binds_answers_and_leaves(api: Api, client: str) -> None:
    found = clients.drive_node(f"{client}_client", api.daemon.url)
    assert found["chat"] and found["usage"] == 8
    assert found["stream"] == found["chat"]
    assert (found["tool"]["name"], found["tool"]["arguments"]) == ("get_weather", {"city": "Paris"})
    assert found["structured"] in ("red", "blue")
    assert "model 'nonesuch' not found" in found["error"]["text"]
    assert found["error"]["status"] == 404
    assert "cancelled after" in found
    if client == "ai_sdk":  # its request ends with its process
        body = {"model": "speaker", "prompt": "x", "stream": False, "options": {"num_predict": 1}}
        assert api.post("/api/generate", body).json["done"]
    else:
        assert found["after cancel"] == found["chat"]
    if client != "anthropic":
        assert found["embed"] == [384, 384]
    if client == "ollama":
        assert {"speaker:latest", "minilm:latest"} <= set(found["list"])
        assert set(found["running"]) == {"speaker:latest", "minilm:latest"}
        assert found["show"] == ["completion", "tools"]
        assert found["generate"] and found["deleted"] == "success"
        assert found["cancelled with"] == "AbortError"
    if client == "openai":
        assert {"speaker:latest", "minilm:latest"} <= set(found["list"])
        assert found["responses"] == found["responses stream"] == found["chat"]
        assert found["last event"] == "response.incomplete"
        assert found["error"]["kind"] == "NotFoundError"
    if client == "anthropic":
        assert {"speaker:latest", "minilm:latest"} <= set(found["list"])
        assert found["show"] == "model"
        assert (found["stop reason"], found["cancelled with"]) == (
            "max_tokens",
            "APIUserAbortError",
        )
        assert found["counted"] > 8
