"""Models with control vectors, made by `olm create` and asked through a real daemon."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from support.adapters import random_directions, write_adapter, write_control_vector
from support.api import Api
from support.daemon import running_daemon
from support.olm import olm, out
from support.randommodel import write_llama
from support.registry import serving

LAYERS, WIDTH = 4, 64
PROMPT = "Once upon a time, there was"
FIRST, SECOND = (random_directions(seed, layers=LAYERS, width=WIDTH) for seed in (1, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vectors")


@pytest.fixture(scope="module")
def api(folder: Path) -> Iterator[Api]:
    write_llama(folder / "model.gguf", layers=LAYERS, width=WIDTH)
    write_control_vector(folder / "happy.gguf", FIRST)
    write_control_vector(folder / "formal.gguf", SECOND)
    total = {layer: FIRST[layer] + SECOND[layer] for layer in FIRST}
    write_control_vector(folder / "total.gguf", total)
    write_adapter(folder / "lora.gguf", width=WIDTH)
    with running_daemon(folder / "home") as daemon:
        api = Api(daemon)
        for name, base, adapter in (
            ("base", "./model.gguf", None),
            ("happy", "base", "happy"),
            ("formal", "base", "formal"),
            ("both", "happy", "formal"),
            ("total", "base", "total"),
            ("tuned", "base", "lora"),
            ("mixed", "tuned", "happy"),
            ("whole", "./model.gguf", "happy"),
        ):
            line = f"ADAPTER ./{adapter}.gguf\n" if adapter else ""
            create(api, folder, name, f"FROM {base}\n{line}")
        create(api, folder, "off", "FROM happy\nPARAMETER adapter_scale 0\n")
        yield api


def create(api: Api, folder: Path, name: str, text: str) -> None:
    done = olm(api.daemon.environ, "create", name, "-f", "-", stdin=text, cwd=folder)
    assert done.returncode == 0, done.stderr.decode()


def text_of(api: Api, model: str, **options: object) -> str:
    given = {"temperature": 0, "num_predict": 16, "ignore_eos": True, **options}
    body = {"model": model, "prompt": PROMPT, "raw": True, "stream": False, "options": given}
    answer = api.post("/api/generate", body)
    assert answer.status == 200, answer.error
    return str(answer.json["response"])


def test_vectors_steer_add_up_and_go_with_lora(api: Api) -> None:
    texts = {
        name: text_of(api, name)
        for name in ("base", "happy", "formal", "both", "tuned", "mixed", "base", "happy")
    }
    assert len(set(texts.values())) == 6
    assert text_of(api, "total") == texts["both"]
    assert text_of(api, "whole") == texts["happy"]
    assert len(api.get("/api/ps").json["models"]) == 1, "they share the loaded weights"


def test_the_scale_of_adapters_is_that_of_vectors(api: Api) -> None:
    base, happy = text_of(api, "base"), text_of(api, "happy")
    assert text_of(api, "off") == base
    assert text_of(api, "happy", adapter_scale=0) == base
    assert text_of(api, "mixed", adapter_scale=0) == base
    assert text_of(api, "off", adapter_scale=1) == happy
    assert text_of(api, "happy", adapter_scale=-1) not in (base, happy)
    words = ("run", "happy", PROMPT, "--set", "temperature=0", "--set", "num_predict=16", "--set")
    off, on = (olm(api.daemon.environ, *words, f"adapter_scale={one}").stdout for one in (0, 1))
    assert off != on


def test_a_vector_is_shown_as_an_adapter(api: Api) -> None:
    environ = api.daemon.environ
    text = out(olm(environ, "show", "mixed", "--modelfile"))
    assert sum(line.startswith("ADAPTER ") for line in text.splitlines()) == 2
    (inspected,) = json.loads(out(olm(environ, "inspect", "mixed")))
    assert [layer["role"] for layer in inspected["layers"]].count("adapter") == 2


@pytest.mark.parametrize("form", ["modelpack", "ollama"])
def test_a_vector_is_pushed_and_pulled_as_an_adapter(api: Api, folder: Path, form: str) -> None:
    happy, environ = text_of(api, "happy"), api.daemon.environ
    with serving() as registry, running_daemon(folder / form) as daemon:
        name = f"127.0.0.1:{registry.port}/me/happy"
        out(olm(environ, "cp", "happy", name))
        out(olm(environ, "push", "--insecure", "--as", form, name))
        out(olm(daemon.environ, "pull", "--insecure", name))
        assert text_of(Api(daemon), name) == happy


def test_what_does_not_fit_is_refused_and_not_stored(api: Api, folder: Path) -> None:
    base = text_of(api, "base")
    wide = random_directions(3, layers=LAYERS, width=2 * WIDTH)
    broken = FIRST | {2: np.full(WIDTH, np.nan, np.float32)}
    many = random_directions(3, layers=LAYERS + 1, width=WIDTH)
    for directions, count, reason in (
        (wide, None, "direction.1 has 128 numbers, the model's layers 64"),
        (broken, None, "direction.2 holds numbers that are not finite"),
        (many, None, "4 directions are more than the 3 that the model takes"),
        ({1: FIRST[1]}, 3, "1 of 3 directions are there"),
        ({}, None, "the control vector holds no directions"),
    ):
        path = write_control_vector(folder / "wrong.gguf", directions, count=count)
        text = f"FROM base\nADAPTER {path}\n"
        done = olm(api.daemon.environ, "create", "wrong", "-f", "-", stdin=text)
        assert done.returncode != 0
        assert f"wrong.gguf: {reason}" in done.stderr.decode()
        assert "wrong:latest" not in {one["name"] for one in api.get("/api/tags").json["models"]}
        path.unlink()
    assert text_of(api, "base") == base
