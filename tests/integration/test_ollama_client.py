"""The real ollama-python against the daemon ."""

import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from support import models
from support.api import Api
from support.daemon import running_daemon

GREEDY = {"temperature": 0, "seed": 1, "num_predict": 8}
QUESTION = [{"role": "user", "content": "Name a colour."}]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    # One request at a time: an answer that goes on after its client left would block the next.
    environ = {"OLM_NUM_PARALLEL": "1"}
    made = tmp_path_factory.mktemp("ollama")
    speaker = models.tiny_speaker(made / "speaker.gguf", ("get_weather", {"city": "Paris"}))
    with running_daemon(made / "home", environ=environ) as daemon:
        api = Api(daemon)
        api.create("smol", models.smollm2())
        api.create("speaker", speaker)
        api.create("minilm", models.minilm_gguf())
        client = ollama.Client(host=daemon.url)
        yield client
        client._client.close()


def test_generate(client: Any) -> None:
    whole = client.generate("smol", "Name a colour.", options=GREEDY)
    pieces = client.generate("smol", "Name a colour.", options=GREEDY, stream=True)
    assert "".join(piece.response for piece in pieces) == whole.response != ""
    assert whole.done and whole.eval_count > 0 and whole.context
    assert client.generate("smol", "", keep_alive="1m").done_reason == "load"


def test_chat(client: Any) -> None:
    whole = client.chat("smol", QUESTION, options=GREEDY, tools=[])
    pieces = list(client.chat("smol", QUESTION, options=GREEDY, stream=True))
    assert "".join(p.message.content for p in pieces) == whole.message.content != ""
    assert whole.message.role == "assistant"
    assert pieces[-1].done_reason in ("stop", "length")


def get_weather(city: str) -> str:
    """Get the current weather of a city.

    Args:
        city: The name of the city.
    """
    return f"22 degrees in {city}"


@pytest.mark.parametrize("stream", [False, True])
def test_tools(client: Any, stream: bool) -> None:
    asked = [{"role": "user", "content": "What is the weather in Paris?"}]
    reply = client.chat(
        "speaker", asked, tools=[get_weather], stream=stream, options={**GREEDY, "num_predict": 60}
    )
    messages = [part.message for part in reply] if stream else [reply.message]
    (call,) = [call for message in messages for call in message.tool_calls or ()]
    assert call.function.name == "get_weather"
    assert "22" in get_weather(**call.function.arguments)


def test_structured_output(client: Any) -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}}
    schema["required"] = ["colour"]
    reply = client.chat("smol", QUESTION, format=schema, options={**GREEDY, "num_predict": 40})
    assert json.loads(reply.message.content)["colour"] in ("red", "blue")


def test_an_answer_that_is_left_frees_its_place(client: Any) -> None:
    endless = {"type": "array", "items": {"type": "integer"}, "minItems": 10_000}
    stream = client.chat("smol", QUESTION, format=endless, stream=True, options={"num_predict": -1})
    assert next(stream).message.content
    stream.close()
    assert client.chat("smol", QUESTION, options=GREEDY).done


def test_embed(client: Any) -> None:
    vectors = client.embed("minilm", ["a", "b"]).embeddings
    assert [len(vector) for vector in vectors] == [384, 384]
    assert len(client.embeddings("minilm", "a").embedding) == 384


def test_models(client: Any) -> None:
    assert {model.model for model in client.list().models} >= {"smol:latest", "minilm:latest"}
    shown = client.show("smol")
    assert shown.modelinfo["llama.context_length"] == 8192
    assert "completion" in shown.capabilities
    client.create("brief", from_="smol", system="Be brief.", parameters={"temperature": 0})
    assert client.show("brief").parameters.split() == ["temperature", "0"]
    client.copy("brief", "briefer")
    assert client.delete("briefer").status == "success"
    assert client.ps().models is not None


def test_blobs(client: Any, tmp_path: Any) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"some bytes")
    digest = client.create_blob(str(file))
    assert digest == client.create_blob(str(file))


def test_errors(client: Any) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat("nonesuch", QUESTION)
    assert (caught.value.status_code, caught.value.error) == (404, "model 'nonesuch' not found")
    with pytest.raises(ollama.ResponseError):
        list(client.pull("pypi://", stream=True))
