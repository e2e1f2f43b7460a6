"""POST /api/tokenize and /api/detokenize."""

from collections.abc import Iterator

import pytest

from support.api import Api
from support.daemon import running_daemon
from support.models import gemma3, tiny_chat


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with running_daemon(tmp_path_factory.mktemp("tokens") / "home") as daemon:
        client = Api(daemon)
        client.create("smol", tiny_chat())
        client.create("gemma", gemma3())
        yield client


def test_tokens_go_to_text_and_back(api: Api) -> None:
    text = "Grüße, 世界!<|im_end|>\n"
    reply = api.post("/api/tokenize", {"model": "smol", "prompt": text}).json
    assert reply["model"] == "smol:latest"
    back = api.post("/api/detokenize", {"model": "smol", "tokens": reply["tokens"]}).json
    assert back == {"model": "smol:latest", "text": text}
    assert api.running() == []


def test_a_written_bos_is_not_doubled(api: Api) -> None:
    plain = api.post("/api/tokenize", {"model": "gemma", "prompt": "Hello"}).json["tokens"]
    written = api.post("/api/tokenize", {"model": "gemma", "prompt": "<bos>Hello"}).json["tokens"]
    assert plain == written == [2, 9259]
    bare = {"model": "gemma", "prompt": "Hello", "add_special": False}
    assert api.post("/api/tokenize", bare).json["tokens"] == [9259]


@pytest.mark.parametrize(
    ("path", "body", "status", "complaint"),
    [
        ("tokenize", {"prompt": "x"}, 400, "model is required"),
        ("tokenize", {"model": "smol"}, 400, "prompt is required"),
        ("tokenize", {"model": "nope", "prompt": "x"}, 404, "model 'nope' not found"),
        ("detokenize", {"model": "smol"}, 400, "tokens is required"),
        ("detokenize", {"model": "smol", "tokens": [10**6]}, 400, "a token is not in 0 to 49151"),
        ("detokenize", {"model": "smol", "tokens": [10**30]}, 400, ""),
    ],
)
def test_refusals(api: Api, path: str, body: object, status: int, complaint: str) -> None:
    answer = api.post(f"/api/{path}", body)
    assert answer.status == status, answer.body
    assert complaint in answer.error
