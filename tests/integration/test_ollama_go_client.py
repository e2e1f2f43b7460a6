"""Clients in Go against the daemon: Ollama's own, which its command line uses, and LangChainGo."""

import json
from collections.abc import Iterator

import pytest

from support import goclient, models
from support.api import Api
from support.daemon import running_daemon

TEMPLATE = "{{ .System }}|{{ .Prompt }}|"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    made = tmp_path_factory.mktemp("go")
    speaker = models.tiny_speaker(made / "speaker.gguf", ("get_weather", {"city": "Paris"}))
    # One request at a time: an answer that goes on after its client left would block the next.
    with running_daemon(made / "home", environ={"OLM_NUM_PARALLEL": "1"}) as daemon:
        api = Api(daemon)
        api.create("smol", models.smollm2())
        api.create("speaker", speaker)
        api.create("told", parent="smol", system="Be brief.", template=TEMPLATE)
        api.create("minilm", models.minilm_gguf())
        yield daemon.url


def test_every_call_and_every_error_is_read_as_from_ollama(url: str) -> None:
    found = goclient.drive_ollama(url, "told", "minilm", "speaker")
    assert tuple(map(int, found["version"].split("."))) > (0, 6, 4)
    assert {"told:latest", "minilm:latest"} <= set(found["list"])
    assert found["show"] == {"system": "Be brief.", "template": TEMPLATE}
    assert found["generate"]["text"] and found["generate"]["done"]
    assert found["generate"]["reason"] in ("stop", "length")
    assert found["chat"] == found["chat without a stream"] == found["after cancel"] != ""
    assert found["structured"] in ('"red"', '"blue"')
    (call,) = found["calls"]
    assert call["function"]["name"] == "get_weather"
    assert call["function"]["arguments"] == {"city": "Paris"}
    assert found["cancelled"] is True
    assert found["embed"] == 384
    assert found["running"] == 3
    # The client's empty texts are not given: what the parent has stays.
    assert found["created"] == found["show"]
    for step in ("delete error", "show error", "generate error"):
        error = found[step]
        assert (error["kind"], error["status"]) == ("status", 404)
        assert error["text"].startswith("model 'nonesuch") and "{" not in error["text"]
    pull = found["pull error"]
    assert pull["kind"] in ("status", "other") and "no-such-package" in pull["text"]
    assert found["whoami error"] == {"kind": "authorization", "status": 401}


def test_langchain_chats_calls_tools_embeds_fails_and_leaves(url: str) -> None:
    found = goclient.drive_langchain(url, "smol", "minilm", "speaker")
    assert found["chat"] == found["stream"] == found["after cancel"] != ""
    assert 0 < found["usage"] <= 8
    assert isinstance(json.loads(found["json"]), dict)
    assert found["embed"] == [384, 384]
    assert "model 'nonesuch' not found" in found["error"]
    assert found["cancelled with"] == "left"
    by_openai = found["openai"]
    assert by_openai["chat"] == by_openai["stream"] == by_openai["after cancel"] != ""
    assert by_openai["usage"] == 4
    call = by_openai["calls"][0]["tool_call"]
    assert call["id"] and call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
    assert by_openai["answer to a call"]
    assert json.loads(by_openai["structured"])["colour"] in ("red", "blue")
    assert by_openai["embed"] == [384, 384]
    assert "model 'nonesuch' not found" in by_openai["error"]
    assert by_openai["cancelled with"]
