"""What Continue and Open WebUI send, in their own bodies and headers, and what they read of it.

Sources: `core/llm/llms/Ollama.ts` of https://github.com/continuedev/continue and
`backend/open_webui/routers/ollama.py`, `utils/payload.py` there, of
https://github.com/open-webui/open-webui.
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from support import models
from support.api import Answer, Api
from support.daemon import running_daemon

WEBUI = {
    "Content-Type": "application/json",
    "Authorization": "Bearer sk-none",
    "X-OpenWebUI-User-Name": "Ann%20Example",
    "X-OpenWebUI-User-Id": "4e2b1c55-0000-4000-8000-000000000000",
    "X-OpenWebUI-User-Role": "admin",
}
CONTINUE = {"Content-Type": "application/json", "Authorization": "Bearer "}
CONTINUE_OPTIONS = {
    "temperature": 0.01,
    "top_p": 1,
    "num_predict": 8,
    "num_ctx": 4096,
    "num_gpu": -1,
    "mirostat": 0,
    "num_thread": 2,
    "use_mmap": True,
    "stop": ["<|endoftext|>", "\n\n"],
}
TITLE = (
    "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history.\n"
    '### Output:\nJSON format: { "title": "your concise title here" }\n'
    "### Chat History:\n<chat_history>\nUSER: Name a colour.\nASSISTANT: Red.\n</chat_history>"
)
TAGS = TITLE.replace("title with an emoji", "list of tags").replace('"title": "your', '"tags": ["a')
METADATA = {
    "user_id": "4e2b1c55",
    "chat_id": "b7f0",
    "message_id": "c1",
    "session_id": "s",
    "task": "title_generation",
    "features": {"web_search": False},
    "variables": {},
}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    made = tmp_path_factory.mktemp("bodies")
    speaker = models.tiny_speaker(made / "speaker.gguf", ("read_file", {"path": "a.txt"}))
    with running_daemon(made / "home") as daemon:
        api = Api(daemon)
        assert api.get("/api/ps").json == {"models": []}
        assert api.get("/api/tags").json == {"models": []}
        api.create("speaker", speaker, parameters={"num_ctx": 4096, "stop": ["<|x|>"]})
        api.create("coder", models.qwen_coder())
        api.create("minilm", models.minilm_gguf())
        yield api


def webui(api: Api, path: str, body: dict[str, Any] | None = None) -> Answer:
    answer = api.ask("GET" if body is None else "POST", path, body, headers=WEBUI)
    assert answer.status == 200, answer.body
    return answer


def test_open_webui_reads_versions_and_models(api: Api) -> None:
    version = webui(api, "/api/version").json["version"]
    assert re.fullmatch(r"[0-9]+(\.[0-9]+)+", re.sub(r"^v|-.*", "", version))
    for model in webui(api, "/api/tags").json["models"]:
        assert model["name"] == model["model"]
    webui(api, "/api/generate", {"model": "speaker:latest"})
    (running,) = webui(api, "/api/ps").json["models"]
    assert running["name"] == running["model"] == "speaker:latest"
    datetime.fromisoformat(running["expires_at"])
    unload = {"model": "speaker:latest", "keep_alive": 0, "prompt": ""}
    assert webui(api, "/api/generate", unload).json["done_reason"] == "unload"


def test_open_webui_chats(api: Api) -> None:
    body = {
        "model": "speaker:latest",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Name a colour.", "images": []},
        ],
        "format": None,
        "template": None,
        "tools": None,
        "stream": True,
        "keep_alive": "5m",
        "options": {"temperature": 0, "num_predict": 8, "num_ctx": 4096, "stop": ["<|end|>"]},
        "metadata": METADATA,
    }
    *pieces, last = webui(api, "/api/chat", body).lines
    assert "".join(piece["message"]["content"] for piece in pieces)
    assert (last["done"], "error" in last) == (True, False)
    for number in ("eval_count", "eval_duration", "prompt_eval_count", "prompt_eval_duration"):
        assert last[number] > 0  # it shows tokens a second


@pytest.mark.parametrize("task", [TITLE, TAGS], ids=["title", "tags"])
def test_open_webui_makes_titles_and_tags_by_either_api(api: Api, task: str) -> None:
    body: dict[str, Any] = {
        "model": "speaker:latest",
        "messages": [{"role": "user", "content": task}],
        "stream": False,
        "metadata": METADATA,
    }
    native = webui(api, "/api/chat", body | {"options": {"num_predict": 8}}).json
    assert native["message"]["content"]
    whole = webui(api, "/v1/chat/completions", body | {"max_completion_tokens": 8}).json
    assert whole["choices"][0]["message"]["content"]


def test_open_webui_chats_by_openais_api(api: Api) -> None:
    body = {
        "stream": True,
        "model": "speaker:latest",
        "messages": [{"role": "user", "content": "Name a colour."}],
        "stream_options": {"include_usage": True},
        "max_tokens": 8,
        "logit_bias": {},
        "tool_ids": None,
        "features": {"image_generation": False, "code_interpreter": False},
    }
    answer = webui(api, "/v1/chat/completions", body)
    frames = [frame.removeprefix(b"data: ") for frame in answer.body.split(b"\n\n") if frame]
    assert frames[-1] == b"[DONE]"
    assert 0 < json.loads(frames[-2])["usage"]["completion_tokens"] <= 8
    ids = {model["id"] for model in webui(api, "/v1/models").json["data"]}
    assert ids == {"speaker:latest", "coder:latest", "minilm:latest"}


def test_open_webui_embeds(api: Api) -> None:
    many = {"input": ["one text", "another"], "model": "minilm", "truncate": True}
    assert [len(vector) for vector in webui(api, "/api/embed", many).json["embeddings"]] == [
        384
    ] * 2
    one = {"model": "minilm", "prompt": "one text", "keep_alive": None, "options": None}
    assert len(webui(api, "/api/embeddings", one).json["embedding"]) == 384
    openai = {"input": ["one text"], "model": "minilm"}
    assert len(webui(api, "/v1/embeddings", openai).json["data"][0]["embedding"]) == 384


def test_open_webui_is_told_what_failed(api: Api) -> None:
    body = {"model": "nonesuch", "insecure": True}
    answer = api.ask("POST", "/api/show", body, headers=WEBUI)
    assert (answer.status, answer.error) == (404, "model 'nonesuch:latest' not found")


def test_continue_reads_parameters_and_template(api: Api) -> None:
    shown = api.ask("POST", "/api/show", {"name": "speaker"}, headers=CONTINUE).json
    found = {}
    for line in shown["parameters"].splitlines():
        match = re.fullmatch(r"(\S+)\s+((?:\".*\")|\S+)", line)
        assert match, line
        found[match[1]] = json.loads(match[2])
    assert found == {"num_ctx": 4096, "stop": "<|x|>"}
    assert isinstance(shown["template"], str) and "error" not in shown


def test_continue_completes_code_by_raw_prompts(api: Api) -> None:
    body = {
        "model": "coder",
        "raw": True,
        "prompt": "<|fim_prefix|>def add(a, b):\n    return <|fim_suffix|>\n<|fim_middle|>",
        "suffix": None,
        "options": CONTINUE_OPTIONS,
        "keep_alive": 1800,
        "stream": True,
    }
    *pieces, last = api.ask("POST", "/api/generate", body, headers=CONTINUE).lines
    assert "a + b" in "".join(piece["response"] for piece in pieces)
    assert last["done"] and not {"context", "error"} & set(last)


def test_continue_chats_with_tools(api: Api) -> None:
    parameters = {"type": "object", "properties": {"path": {"type": "string"}}}
    function = {"name": "read_file", "description": "Reads a file.", "parameters": parameters}
    body = {
        "model": "speaker",
        "messages": [{"role": "user", "content": "Read the file a.txt. Use the tool."}],
        "options": CONTINUE_OPTIONS | {"num_predict": 40},
        "keep_alive": 1800,
        "stream": True,
        "tools": [{"type": "function", "function": function}],
    }
    lines = api.ask("POST", "/api/chat", body, headers=CONTINUE).lines
    calls = [call for line in lines for call in line["message"].get("tool_calls", ())]
    assert calls[0]["function"]["name"] == "read_file"
    assert isinstance(calls[0]["function"]["arguments"], dict)
