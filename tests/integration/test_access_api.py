"""Keys over the wire: every route, every dialect, the released clients, curl."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import anthropic
import ollama
import openai
import pytest

from olmkit.engine.access.keyfile import KeyFile
from support import models
from support.api import Api
from support.daemon import Daemon, running_daemon, start_daemon, wait_until
from support.olm import olm, out

pytestmark = pytest.mark.timeout(180)
QUESTION: Any = [{"role": "user", "content": "Name a colour."}]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


class Keyed:
    """A daemon with keys, made by the command."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def key(self, name: str, *flags: str) -> str:
        done = olm(self.daemon.environ, "key", "create", name, *flags)
        assert done.returncode == 0, done.stderr
        return out(done).strip()

    def ask(
        self, method: str, path: str, body: Any = None, key: str | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON (or text) and headers."""
        headers = {} if key is None else bearer(key)
        reply = Api(self.daemon).ask(method, path, body, headers=headers)
        is_json = reply.headers.get("content-type", "").startswith("application/json")
        return reply.status, reply.json if is_json else reply.body.decode(), dict(reply.headers)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with running_daemon(tmp_path_factory.mktemp("access") / "home") as daemon:
        api = Api(daemon)
        api.create("smol", models.smollm2())
        api.create("team/minilm", models.minilm_gguf())
        keyed = Keyed(daemon)
        keyed.key("first")
        yield keyed


@pytest.fixture(scope="module")
def infer(keyed: Keyed) -> str:
    return keyed.key("infer")


def test_signs_of_life_need_no_key(keyed: Keyed) -> None:
    assert keyed.ask("GET", "/")[:2] == (200, "Ollama is running")
    for path in ("/api/version", "/healthz"):
        assert keyed.ask("GET", path)[0] == 200
    assert keyed.ask("GET", "/readyz")[0] in (200, 503), "the engine is looked at"
    assert keyed.ask("GET", "/nope")[0] == 404


def test_each_api_refuses_in_its_own_form(keyed: Keyed) -> None:
    status, body, headers = keyed.ask("POST", "/api/chat", {"model": "smol"})
    assert (status, body["code"]) == (401, "key_required")
    assert body["error"] == "a key is required"
    assert headers["www-authenticate"].startswith("Bearer")
    status, body, _ = keyed.ask("POST", "/v1/chat/completions", {"model": "smol"}, "wrong")
    assert (status, body["error"]["type"]) == (401, "authentication_error")
    assert "the key is not known" in body["error"]["message"]
    status, body, _ = keyed.ask("POST", "/v1/messages", {"model": "smol"}, "wrong")
    assert (status, body["type"], body["error"]["type"]) == (401, "error", "authentication_error")


ROUTES = {
    "infer": [("POST", "/api/generate"), ("POST", "/v1/completions"), ("POST", "/v1/messages")],
    "list": [("GET", "/api/tags"), ("GET", "/v1/models"), ("POST", "/api/show")],
    "read": [
        ("GET", "/api/ps"),
        ("GET", "/api/usage"),
        ("GET", "/metrics"),
        ("GET", "/api/events?follow=false"),
        ("GET", "/api/stats"),
        ("POST", "/api/inspect"),
    ],
    "manage": [
        *(("POST", f"/api/{name}") for name in ("pull", "push", "create", "copy", "prune", "save")),
        *(("POST", f"/api/{name}") for name in ("verify", "load", "import")),
        ("DELETE", "/api/delete"),
        ("POST", f"/api/blobs/sha256:{'0' * 64}"),
    ],
}


@pytest.mark.parametrize(
    ("scope", "good_for"),
    [
        ("infer", {"infer", "list"}),
        ("read", {"list", "read"}),
        ("manage", set(ROUTES)),
    ],
)
def test_scopes_are_kept_by_every_kind_of_route(
    keyed: Keyed, scope: str, good_for: set[str]
) -> None:
    key = keyed.key(f"scope-{scope}", "--scope", scope)
    for kind, routes in ROUTES.items():
        for method, path in routes:
            # An empty body: whoever is let in hears of that, and nothing is changed.
            status = keyed.ask(method, path, {"dry_run": True}, key)[0]
            assert (status == 403) == (kind not in good_for), (path, status)


def test_a_key_for_some_models_sees_and_uses_those_alone(keyed: Keyed, infer: str) -> None:
    key = keyed.key("team", "--models", "team/*", "--scope", "manage")
    assert [m["name"] for m in keyed.ask("GET", "/api/tags", key=key)[1]["models"]] == [
        "team/minilm:latest"
    ]
    assert [m["id"] for m in keyed.ask("GET", "/v1/models", key=key)[1]["data"]] == [
        "team/minilm:latest"
    ]
    vector = keyed.ask("POST", "/api/embed", {"model": "team/minilm", "input": "x"}, key)
    assert vector[0] == 200
    listed = keyed.ask("GET", "/api/tags", key=infer)[1]["models"]
    (smol,) = (model for model in listed if model["name"] == "smol:latest")
    for method, path, body in (
        ("POST", "/api/generate", {"model": "smol"}),
        ("POST", "/api/generate", {"model": "SMOL:latest"}),
        ("POST", "/api/generate", {"model": "registry.ollama.ai/library/smol"}),
        ("POST", "/api/generate", {"model": "not-there-at-all"}),
        ("POST", "/v1/chat/completions", {"model": "smol", "messages": QUESTION}),
        ("POST", "/v1/messages", {"model": "smol", "messages": QUESTION, "max_tokens": 1}),
        ("POST", "/api/show", {"model": "smol"}),
        ("GET", "/v1/models/smol", None),
        ("DELETE", "/api/delete", {"model": "smol"}),
        ("POST", "/api/copy", {"source": "smol", "destination": "team/mine"}),
        ("POST", "/api/copy", {"source": "team/minilm", "destination": "mine"}),
        ("POST", "/api/create", {"model": "mine", "from": "team/minilm"}),
        ("POST", "/api/create", {"model": "team/mine", "from": "smol"}),
        ("POST", "/api/pull", {"model": "smol"}),
        ("POST", "/api/push", {"model": "smol"}),
        ("POST", "/api/save", {"models": ["smol"]}),
        ("POST", "/api/prune", {"dry_run": True}),
        ("POST", "/api/load", None),
    ):
        status, reply, _ = keyed.ask(method, path, body, key)
        assert status == 403, (path, body, status, reply)
    # An ID is no name that a pattern could cover, but neither may it open the door.
    assert keyed.ask("POST", "/api/inspect", {"model": smol["digest"][:12]}, key)[0] in (403, 404)


def test_a_key_sees_what_answers_its_models_under_their_own_names(keyed: Keyed) -> None:
    assert olm(keyed.daemon.environ, "cp", "smol", "ours/smol").returncode == 0
    key = keyed.key("ours", "--models", "ours/*", "--scope", "manage")
    alone = keyed.key("alone", "--models", "alone/*", "--scope", "read")
    body = {"model": "smol", "prompt": "x", "options": {"num_predict": 1}, "stream": False}
    assert keyed.ask("POST", "/api/generate", body, keyed.key("all"))[0] == 200
    (running,) = keyed.ask("GET", "/api/ps", key=key)[1]["models"]
    assert (running["name"], running["state"]) == ("ours/smol:latest", "ready")
    assert [one["name"] for one in keyed.ask("GET", "/api/stats", key=key)[1]["models"]] == [
        "ours/smol:latest"
    ]
    lines = keyed.ask("GET", "/api/events?since=1h&follow=false&type=model", key=key)[
        1
    ].splitlines()
    told = [json.loads(line) for line in lines if line]
    loads = [one for one in told if one["action"] == "load"]
    assert [one["model"] for one in loads] == ["ours/smol:latest"]
    assert {one["model"] for one in told} == {"ours/smol:latest"}
    assert [one["attributes"] for one in told if one["action"] == "tag"] == [{}], "of a hidden one"
    assert keyed.ask("GET", "/api/ps", key=alone)[1] == {"models": []}


def test_a_rate_is_429_with_the_time_to_wait(keyed: Keyed) -> None:
    key = keyed.key("slow", "--rate", "1/h")
    body = {"model": "smol", "prompt": "x", "options": {"num_predict": 1}, "stream": False}
    assert keyed.ask("POST", "/api/generate", body, key)[0] == 200
    for path in ("/api/generate", "/v1/completions", "/v1/messages"):
        status, reply, headers = keyed.ask("POST", path, body, key)
        assert status == 429
        is_native = path.startswith("/api")
        kind = reply["code"] if is_native else reply["error"]["type"]
        assert kind == ("rate_exceeded" if is_native else "rate_limit_error")
        assert 0 < int(headers["retry-after"]) <= 3600


def test_a_key_works_and_ends_without_a_restart(keyed: Keyed) -> None:
    key = keyed.key("brief")
    assert keyed.ask("GET", "/api/tags", key=key)[0] == 200
    assert olm(keyed.daemon.environ, "key", "revoke", "brief").returncode == 0
    assert keyed.ask("GET", "/api/tags", key=key)[0] == 401


def test_released_clients_send_keys(keyed: Keyed, infer: str) -> None:
    url = keyed.daemon.url
    with openai.OpenAI(base_url=f"{url}/v1", api_key=infer, max_retries=0) as client:
        assert client.chat.completions.create(model="smol", messages=QUESTION, max_tokens=1).choices
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()
    with anthropic.Anthropic(base_url=url, api_key=infer, max_retries=0) as speaker:
        assert speaker.messages.create(model="smol", messages=QUESTION, max_tokens=1).content
    with (
        anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0) as speaker,
        pytest.raises(anthropic.AuthenticationError),
    ):
        speaker.messages.create(model="smol", messages=QUESTION, max_tokens=1)
    native = ollama.Client(host=url, headers=bearer(infer))
    with closing(native._client):
        assert [model.model for model in native.list().models]
    native = ollama.Client(host=url, headers=bearer("wrong"))
    with closing(native._client), pytest.raises(ollama.ResponseError) as caught:
        native.list()
    assert caught.value.status_code == 401
    curl = ("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-u", f":{infer}")
    assert subprocess.check_output((*curl, f"{url}/api/tags")) == b"200"


def test_the_users_own_commands_need_no_key_and_others_send_one(
    keyed: Keyed, infer: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert olm(keyed.daemon.environ, "ps").returncode == 0
    # Another home has no private door to this daemon.
    strange = {"OLM_HOST": keyed.daemon.netloc, "OLM_HOME": str(tmp_path_factory.mktemp("other"))}
    refused = olm(strange, "ls")
    assert (refused.returncode, b"a key is required" in refused.stderr) == (4, True)
    assert b"smol" in olm(strange | {"OLM_API_KEY": infer}, "ls").stdout
    assert b"smol" in olm(strange | {"OLLAMA_API_KEY": infer}, "ls").stdout


def test_the_last_use_is_shown(keyed: Keyed, infer: str) -> None:
    keyed.ask("GET", "/api/tags", key=infer)
    file = KeyFile(keyed.daemon.home)
    digest = next(key.sha256 for key in file.read() if key.name == "infer")
    wait_until(lambda: digest in file.uses(), timeout_s=30, what="the use on disk")
    listed = out(olm(keyed.daemon.environ, "key", "list", "--format", "json"))
    rows = {row["name"]: row for row in map(json.loads, listed.splitlines())}
    assert rows["infer"]["last_used_at"] is not None


def test_an_address_for_other_machines_needs_a_key_or_a_word(tmp_path_factory: Any) -> None:
    home = tmp_path_factory.mktemp("exposed") / "home"
    daemon = start_daemon(home, environ={"OLM_HOST": "0.0.0.0:0"})
    assert daemon.process.wait(60) == 1
    assert "and there is no key to ask them for" in daemon.log
    assert "--insecure" in daemon.log
    with running_daemon(home, environ={"OLM_INSECURE": "1"}) as open_one:
        assert open_one.request("GET", "/api/tags")[0] == 200
    port = open_one.port
    environ = {"OLM_HOME": str(home), "OLM_HOST": f"127.0.0.1:{port}"}
    assert olm(environ, "key", "create", "ann").returncode == 0
    command = (sys.executable, "-m", "olmkit", "serve", "--host", f"0.0.0.0:{port}")
    with running_daemon(home, port=port, command=command) as asking:
        assert asking.request("GET", "/api/tags")[0] == 401
        # Its own user comes through the private door, by the address of loopback.
        assert olm(environ, "ls").returncode == 0
        # Nobody is let in when the last key goes.
        assert olm(environ, "key", "revoke", "ann").returncode == 0
        assert asking.request("GET", "/api/tags")[0] == 401
