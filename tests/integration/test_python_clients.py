"""The daemon through Python's released clients and frameworks, each a program of its own."""

from collections.abc import Iterator

import pytest

from support import clients, models
from support.api import Api
from support.daemon import running_daemon

APIS = {"ollama_chat", "ollama", "openai", "anthropic"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    # One request at a time: an answer that goes on after its client left would block the next.
    environ = {"OLM_NUM_PARALLEL": "1"}
    made = tmp_path_factory.mktemp("clients")
    speaker = models.tiny_speaker(made / "speaker.gguf", ("get_weather", {"city": "Paris"}))
    with running_daemon(made / "home", environ=environ) as daemon:
        api = Api(daemon)
        api.create("speaker", speaker)
        api.create("qwen", models.qwen_coder())  # where an answer is bound by its prompt alone
        api.create("minilm", models.minilm_gguf())
        yield daemon.url


@pytest.mark.parametrize(
    "client",
    ["langchain_ollama", "langchain_openai", "llama_index", "litellm", "llm", "pydantic_ai"],
)
def test_a_client_chats_calls_tools_binds_answers_and_leaves(url: str, client: str) -> None:
    found = clients.drive_python(f"{client}_client", url)
    assert found["chat"] and found["usage"] == 8
    assert found["chat"] == found["stream"] == found["after cancel"]
    assert "cancelled after" in found
    assert found["tool"] == {"name": "get_weather", "arguments": {"city": "Paris"}}
    assert found["structured"] in ("red", "blue")
    assert found["embed"] == [384, 384]
    if client == "llm":  # it asks for models only that the server has
        assert "ollama/speaker:latest" in found["list"]
        assert "ollama/minilm:latest" not in found["list"]
        assert "ollama/minilm:latest" in found["embedding models"]
    assert found["error"]["status"] == 404
    assert "model 'nonesuch" in found["error"]["text"]
    if client == "litellm":
        assert {"speaker:latest", "minilm:latest"} <= set(found["list"])
        assert found["show"] == {"supports_function_calling": True, "max_tokens": 32768}
        assert set(found["by api"]) == set(found["streams by api"]) == APIS
        assert found["by api"] == found["streams by api"] and all(found["by api"].values())
        assert {call["name"] for call in found["tools by api"].values()} == {"get_weather"}
    if client == "langchain_openai":
        assert found["responses"] == found["responses stream"] == found["chat"]
    if client == "llama_index":
        assert found["context"] == 32768
        assert found["complete"] == found["chat"]
    if client == "pydantic_ai":
        assert found["answer by a call"] == "snow in Paris"
        assert found["structured by a call"] in ("red", "blue")


def test_instructor_gets_objects_by_each_of_its_ways_and_leaves(url: str) -> None:
    found = clients.drive_python("instructor_client", url)
    assert set(found["by mode"]) == {"TOOLS", "JSON", "JSON_SCHEMA"}
    objects = {*found["by mode"].values(), found["structured stream"], found["by provider"]}
    assert objects <= {"red", "blue"}
    assert found["cancelled with"] == "APITimeoutError"
    assert found["after cancel"] == found["structured"]
    assert found["error"]["status"] == 404
