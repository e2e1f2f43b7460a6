"""Models that differ in their ADAPTER alone share one loaded model, through a real daemon."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.adapters import write_adapter
from support.api import Api
from support.daemon import running_daemon, wait_until
from support.models import smollm2
from support.olm import olm, out

COUNT = "1 2 3 4 5 6 7 8 9 10 11 12"
"""A text whose continuation is clear to the model, and to no random adapter of all its layers."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("adapters")
    texts = {"base": f"FROM {smollm2()}\n"}
    for seed, name in enumerate(("first", "second"), start=1):
        path = write_adapter(folder / f"{name}.gguf", seed=seed, layers=24)
        texts[name] = f"FROM base\nADAPTER {path}\n"
    texts["weak"] = "FROM first\nPARAMETER adapter_scale 0\n"
    with running_daemon(folder / "home") as daemon:
        for name, text in texts.items():
            done = olm(daemon.environ, "create", name, "-f", "-", stdin=text, cwd=folder)
            assert done.returncode == 0, done.stderr.decode()
        yield Api(daemon)


def text_of(api: Api, model: str, **options: object) -> str:
    given = {"temperature": 0, "num_predict": 12, **options}
    body = {"model": model, "prompt": COUNT, "raw": True, "stream": False, "options": given}
    return str(api.post("/api/generate", body).json["response"])


def test_models_with_adapters_share_the_weights_of_their_base(api: Api) -> None:
    texts = {name: text_of(api, name) for name in ("base", "first", "second", "base", "first")}
    assert len(set(texts.values())) == 3
    assert len(api.get("/api/ps").json["models"]) == 1


def test_what_is_loaded_is_found_under_each_of_its_names(api: Api) -> None:
    text_of(api, "first")
    environ = api.daemon.environ
    seen = out(olm(environ, "stats", "second", "--no-stream", "--json"))
    assert json.loads(seen)["name"] == "first:latest"
    used = api.get("/api/usage").json["models"]
    assert {one["name"] for one in used if one["loaded"]} >= {"base:latest", "second:latest"}
    done = olm(environ, "stop", "second")
    assert (done.returncode, done.stderr) == (0, b"")
    assert api.get("/api/ps").json["models"] == [], "it has waited until nothing was loaded"


def test_a_scale_is_an_option_and_a_parameter(api: Api) -> None:
    base = text_of(api, "base")
    assert text_of(api, "weak") == base
    assert text_of(api, "first", adapter_scale=0) == base
    assert text_of(api, "weak", adapter_scale=1) != base
    body = {"model": "first", "prompt": "x", "options": {"adapter_scale": 17}}
    answer = api.post("/api/generate", body)
    assert (answer.status, answer.error) == (
        400,
        'option "adapter_scale" must be -16 to 16, not 17',
    )


def test_an_adapter_that_does_not_fit_fails_its_model_alone(api: Api, tmp_path: Path) -> None:
    base = text_of(api, "base")
    path = write_adapter(tmp_path / "wide.gguf", width=64)
    done = olm(
        api.daemon.environ, "create", "wide", "-f", "-", stdin=f"FROM base\nADAPTER {path}\n"
    )
    assert done.returncode == 0, done.stderr.decode()
    assert olm(api.daemon.environ, "stop", "base").returncode == 0
    wait_until(lambda: not api.get("/api/ps").json["models"], timeout_s=60)
    answer = api.post("/api/generate", {"model": "wide", "prompt": "x", "stream": False})
    assert answer.status >= 400
    assert "adapter" in answer.error
    assert text_of(api, "base") == base
