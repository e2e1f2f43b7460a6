"""Clients in Go against the daemon: Ollama's own, which its command line uses, and LangChainGo."""

import json
from pathlib import Path

from support import goclient, models
from support.api import Api
from support.daemon import running_daemon

TEMPLATE = "{{ .System }}|{{ .Prompt }}|"


def test_every_call_and_every_error_is_read_as_from_ollama(tmp_path: Path) -> None:
    # One request at a time: an answer that goes on after its client left would block the next.
    with running_daemon(tmp_path / "home", environ={"OLM_NUM_PARALLEL": "1"}) as daemon:
        api = Api(daemon)
        api.create("smol", models.smollm2())
        api.create("qwen", models.qwen_coder())
        api.create("told", parent="smol", system="Be brief.", template=TEMPLATE)
        api.create("minilm", models.minilm_gguf())
        found = goclient.drive_ollama(daemon.url, "told", "minilm", "qwen")
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


def test_langchain_chats_embeds_fails_and_leaves(tmp_path: Path) -> None:
    # One request at a time: an answer that goes on after its client left would block the next.
    with running_daemon(tmp_path / "home", environ={"OLM_NUM_PARALLEL": "1"}) as daemon:
        api = Api(daemon)
        api.create("smol", models.smollm2())
        api.create("minilm", models.minilm_gguf())
        found = goclient.drive_langchain(daemon.url, "smol", "minilm")
    assert found["chat"] == found["stream"] == found["after cancel"] != ""
    assert 0 < found["usage"] <= 8
    assert isinstance(json.loads(found["json"]), dict)
    assert found["embed"] == [384, 384]
    assert "model 'nonesuch' not found" in found["error"]
    assert found["cancelled with"] == "left"
