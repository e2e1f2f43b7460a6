"""`olm diff`: what it finds in two models, and how it ends."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, running_daemon
from support.olm import olm, out
from support.randommodel import write_llama

SUITE = """
options = { temperature = 0, seed = 1 }
[[case]]
name = "count"
prompt = "b"
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with `a`, its copy `c`, and `b`, which differs in everything but the weights."""
    folder = tmp_path_factory.mktemp("diff")
    weights = write_llama(folder / "w.gguf")
    rest = 'SYSTEM """one\ntwo"""\nLICENSE mine\nMESSAGE user hi\n'
    rest += 'TEMPLATE "{{ .System }} {{ .Prompt }}"\n'
    with running_daemon(folder / "home") as running:
        for name, text in (
            ("a", "PARAMETER num_predict 4\n"),
            ("b", f"PARAMETER num_predict 2\nPARAMETER stop x\nPARAMETER stop y\n{rest}"),
        ):
            modelfile = f"FROM {weights}\nPARAMETER num_ctx 128\n{text}"
            out(olm(running.environ, "create", name, "-f", "-", stdin=modelfile))
        out(olm(running.environ, "cp", "a", "c"))
        yield running


def found(done: bytes) -> dict[tuple[str, str], tuple[object, object]]:
    """Section and key to what either model has there."""
    return {
        (one["section"], one["key"]): (one["left"], one["right"])
        for one in json.loads(done)["differences"]
    }


def test_the_same_model_is_0_and_no_line(daemon: Daemon) -> None:
    assert out(olm(daemon.environ, "diff", "a", "c")) == ""
    said = json.loads(out(olm(daemon.environ, "diff", "a", "c", "--json")))
    assert said["same"] is True
    assert said["left"]["digest"] == said["right"]["digest"]
    short = said["left"]["digest"].removeprefix("sha256:")[:12]
    assert out(olm(daemon.environ, "diff", short, "c")) == ""


def test_every_difference_is_found_and_is_14(daemon: Daemon) -> None:
    done = olm(daemon.environ, "diff", "a", "b", "--json")
    assert done.returncode == 14
    told = found(done.stdout)
    assert told["parameters", "num_predict"] == ("4", "2")
    assert told["parameters", "stop"] == (None, '"x" "y"')
    assert told["system", ""] == (None, "one\ntwo")
    assert told["license", ""] == (None, "mine")
    assert told["messages", "1"] == (None, "user: hi")
    assert told["template", ""][1] == "{{ .System }} {{ .Prompt }}"
    roles = {key for section, key in told if section == "layers"}
    assert roles == {"params", "system", "license", "template", "messages"}
    assert done.stderr.decode().startswith("Error: the models differ in layers, ")


def test_texts_are_told_line_by_line(daemon: Daemon) -> None:
    lines = olm(daemon.environ, "diff", "a", "b").stdout.decode().splitlines()
    assert lines[:3] == ["--- a", "+++ b", "layers"]
    at = lines.index("parameters")
    assert lines[at + 1 : at + 3] == ["  - num_predict: 4", "  + num_predict: 2"]
    at = lines.index("system")
    assert lines[at + 1 : at + 4] == ["    @@ -0,0 +1,2 @@", "    +one", "    +two"]


def test_answers_to_a_suite_count_too(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SUITE)
    same = olm(daemon.environ, "diff", "a", "c", "--suite", "s.toml", cwd=tmp_path)
    assert out(same) == ""
    done = olm(daemon.environ, "diff", "a", "b", "--suite", "s.toml", "--json", cwd=tmp_path)
    assert done.returncode == 14
    longer, shorter = found(done.stdout)["answers", "count"]
    assert longer != shorter


def test_a_model_that_is_not_there_is_3(daemon: Daemon) -> None:
    assert olm(daemon.environ, "diff", "a", "absent").returncode == 3
    assert olm(daemon.environ, "diff", "a").returncode == 2
