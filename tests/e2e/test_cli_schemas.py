"""The JSON of every command is what its schema in docs/schemas says, member by member.

A command that takes `--json` and is not in the table below fails the last test.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from olmkit.cli.app import COMMANDS, load_command
from olmkit.cli.chat.sessionfile import KeptSession, SessionFile
from olmkit.engine.create.convert import convert_directory, directory_files
from support.checkpoints import write_checkpoint
from support.daemon import Daemon, running_daemon
from support.models import minilm_gguf, tiny_chat
from support.olm import OLM, environment, olm, out
from support.registry import serving
from support.terminal import on_terminal

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
SHORT = "PARAMETER num_ctx 1024\nPARAMETER num_predict 4\nPARAMETER temperature 0\nSYSTEM Hi."

SUITE = 'models = ["m"]\n[[case]]\nname = "a"\nprompt = "hi"\nexpect.regex = "."\n'

LINES: dict[str, tuple[str, ...]] = {
    "run": ("run", "m", "--json", "hi"),
    "ls": ("ls", "--json"),
    "ps": ("ps", "--json"),
    "history": ("history", "m", "--json"),
    "key-list": ("key", "list", "--json"),
    "cache-ls": ("cache", "ls", "--json"),
    "cache-du": ("cache", "du", "--json"),
    "info": ("info", "--json"),
    "version": ("version", "--json"),
    "show": ("show", "m", "--json"),
    "plan": ("plan", "m", "--json"),
    "pull": ("pull", "oci-archive:m.tar", "-q", "--json"),
    "push": ("push", "@REGISTRY@/team/m:1", "--insecure", "-q", "--json"),
    "load": ("load", "m.tar", "-q", "--json"),
    "create": ("create", "made", "-f", "Modelfile", "--json"),
    "doctor": ("doctor", "--json"),
    "verify": ("verify", "m", "-q", "--json"),
    "prompt": ("prompt", "m", "hi", "--tokens", "--json"),
    "parse": ("parse", "m", "answer.txt", "--json"),
    "embed": ("embed", "e", "hi", "--json"),
    "rerank": ("rerank", "judge", "a", "b", "c", "--json"),
    "replay": ("replay", "r.json", "--json"),
    "system-df": ("system", "df", "--json"),
    "system-df-verbose": ("system", "df", "-v", "--json"),
    "system-prune": ("system", "prune", "--dry-run", "--json"),
    "config": ("config", "list", "--json"),
    "events": ("events", "--since", "1h", "--no-follow", "--json"),
    "stats": ("stats", "--no-stream", "--json"),
    "test": ("test", "suite.toml", "--json"),
    "test-list": ("test", "suite.toml", "--list", "--json"),
    "session-ls": ("session", "ls", "--json"),
    "bench": ("bench", "e", "--rounds", "1", "--time", "60s", "--json"),
}
"""Commands that print one object, or one a line; the key is the name of the schema."""

ARRAYS: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", "m"),
    "create-check": ("create", "--check", "--json", "-f", "wrong.modelfile"),
}
"""Commands that print one array."""

ELSEWHERE = {"sign", "sign-key", "sbom", "run-piece", "key-create", "logs", "diff", "session"}
"""Tested in functions of their own."""


class Place:
    """A daemon with models, and a directory with files to work on."""

    def __init__(self, daemon: Daemon, directory: Path, registry: str) -> None:
        self.environ = daemon.environ
        self.directory = directory
        self.registry = registry

    def json(self, *words: str, status: int = 0) -> str:
        """What the command prints."""
        said = [word.replace("@REGISTRY@", self.registry) for word in words]
        done = olm(self.environ, *said, cwd=self.directory, timeout_s=300)
        assert done.returncode == status, done.stderr.decode()
        return done.stdout.decode()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("schemas")
    files = directory_files(write_checkpoint("bert_classifier", folder / "checkpoint"))
    convert_directory(files, folder / "judge.gguf")
    (folder / "answer.txt").write_text("Hello.")
    (folder / "Modelfile").write_text("FROM m\nSYSTEM Made.\n")
    (folder / "system.txt").write_text("You answer kindly, and the ship sails at noon. " * 30)
    (folder / "suite.toml").write_text(SUITE)
    (folder / "wrong.modelfile").write_text("FROM m\nPARAMTER x 1\n")
    with serving() as registry:
        host = f"localhost:{registry.port}"
        with running_daemon(folder / "home") as daemon:
            made = Place(daemon, folder, host)
            for name, text in (
                ("m", f"FROM {tiny_chat()}\n{SHORT}"),
                ("e", f"FROM {minilm_gguf()}"),
                ("judge", f"FROM {folder / 'judge.gguf'}"),
            ):
                out(olm(daemon.environ, "create", name, "-f", "-", stdin=text))
            made.json("cp", "m", f"{host}/team/m:1")
            made.json("run", "m", "hi", "--record", "r.json")
            made.json("save", "m", "-q", "-o", "m.tar")
            made.json("cache", "warm", "-f", "system.txt", "m")
            made.json("stop", "m")  # which keeps what its prompts computed
            made.json("run", "m", "hi")
            made.json("key", "create", "ci")
            kept = KeptSession(model="m", system=None, options={}, turns=())
            SessionFile(daemon.home, "work").write(kept)
            yield made


def schema_of(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    return schema


def closed(schema: Any) -> Any:
    """The schema with every object closed that names its members: no member may be untold."""
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        inner.setdefault("additionalProperties", False)
    return inner


def check(name: str, value: Any) -> None:
    validator = Draft202012Validator(closed(schema_of(name)))
    wrong = [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]
    assert wrong == []


@pytest.mark.parametrize("name", LINES)
def test_every_line_is_an_object_of_the_schema(name: str, place: Place) -> None:
    lines = place.json(*LINES[name]).splitlines()
    assert lines
    for line in lines:
        check(name, json.loads(line))


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_one_of_the_schema(name: str, place: Place) -> None:
    check(name, json.loads(place.json(*ARRAYS[name], status=name == "create-check")))


TEMPLATES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "embed": (("embed", "e", "hi", "there"), "{{.Model}} {{len .Embeddings}}", "e 2"),
    "rerank": (("rerank", "judge", "a", "b", "c"), "{{range .results}}{{.text}}{{end}}", "[bc]{2}"),
    "replay": (("replay", "r.json"), "{{.end}} {{.Tokens.Completion}}", "length 4"),
    "prompt": (("prompt", "m", "hi", "--raw"), "{{json .Prompt}}", '"hi"'),
    "push": (("push", "@REGISTRY@/team/m:1", "--insecure", "-q"), "{{.Name}}", "localhost:.*/m:1"),
    "bench": (("bench", "e", "--rounds", "1"), "{{.Model}}", "e"),
    "create": (("create", "made", "-f", "Modelfile"), "{{.Name}} {{len .ID}}", "made:latest 12"),
    "sbom": (("sbom", "m"), "{{.bomFormat}} {{.metadata.component.version}}", "CycloneDX latest"),
    "test": (("test", "suite.toml"), "{{.Passed}} of {{len .Trials}}", "1 of 1"),
    "test-list": (("test", "suite.toml", "--list"), "{{.Case}}", "a"),
}
"""Commands with a template and what it comes to, as a regular expression."""


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_finds_the_members_of_the_json(name: str, place: Place) -> None:
    words, template, wanted = TEMPLATES[name]
    said = place.json(*words, "--format", template)
    assert re.fullmatch(wanted, said.removesuffix("\n")), said


def test_pieces_of_an_answer_come_before_its_object(place: Place) -> None:
    *pieces, last = place.json("run", "m", "--jsonl", "hi").splitlines()
    assert pieces
    for piece in pieces:
        check("run-piece", json.loads(piece))
    check("run", json.loads(last))


def test_a_key_is_told_once(place: Place) -> None:
    made = json.loads(place.json("key", "create", "second", "--json"))
    check("key-create", made)
    assert made["key"] not in place.json("key", "list", "--json")


def test_signatures_are_told(place: Place) -> None:
    name = f"{place.registry}/team/m:1"
    environ = {**place.environ, "COSIGN_PASSWORD": ""}
    for schema, words in (("sign-key", ["--generate-key"]), ("sign", [name, "--insecure"])):
        place.json("push", name, "--insecure", "-q", "--json")
        told = out(olm(environ, "sign", *words, "--json", cwd=place.directory))
        check(schema, json.loads(told))
    words = ["verify", name, "--key", "cosign.pub", "--insecure", "-q", "--json"]
    check("verify", json.loads(place.json(*words, status=16)))  # it went in another format


def test_a_bill_is_json_whether_asked_for_or_not(place: Place) -> None:
    told = place.json("sbom", "m", "--json")
    assert told == place.json("sbom", "m")
    check("sbom", json.loads(told))


def test_differences_are_told_with_a_status_of_their_own(place: Place) -> None:
    check("diff", json.loads(place.json("diff", "m", "e", "--json", status=14)))


def test_a_kept_chat_is_listed(place: Place) -> None:
    words = [OLM, "run", "m", "--session", "work"]
    with on_terminal(words, environment(place.environ)) as terminal:
        terminal.wait_for("Send a message")
        terminal.send("hi\r")
        terminal.wait_for(lambda shown: shown.count(">>>") > 1, 60)
        terminal.send("/bye\r")
        assert terminal.wait_for_end() == 0
    check("session", json.loads(place.json("session", "ls", "--json")))


def test_lines_of_the_log_are_objects(place: Place) -> None:
    """The log is that of a daemon which a command started."""
    home = place.directory / "another"
    environ = {**place.environ, "OLM_HOME": str(home), "OLM_HOST": f"unix://{home}/s"}
    home.mkdir()
    try:
        out(olm(environ, "ls"))
        lines = out(olm(environ, "logs", "--json")).splitlines()
        told = out(olm(environ, "logs", "--format", "{{.Level}} {{.model}}")).splitlines()
    finally:
        out(olm(environ, "serve", "--stop"))
    assert lines
    assert told[0].startswith("INFO"), told
    for line in lines:
        check("logs", json.loads(line))


def test_all_metadata_and_the_settings_one_by_one_have_the_same_schema(place: Place) -> None:
    check("show", json.loads(place.json("show", "m", "-v", "--json")))
    check("config", json.loads(place.json("config", "get", "keep_alive", "--json")))
    check("info", json.loads(place.json("system", "info", "--json")))


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_a_schema_is_one_and_says_what_it_is_of(path: Path) -> None:
    schema = schema_of(path.stem)
    Draft202012Validator.check_schema(schema)
    assert schema["title"].startswith(f"olm {path.stem.partition('-')[0]}")
    assert schema["description"]


def test_every_command_with_json_has_a_schema_and_every_schema_a_command() -> None:
    tested = {*LINES, *ARRAYS, *ELSEWHERE}
    assert {path.stem for path in SCHEMAS.glob("*.json")} == tested
    with_json = {
        name
        for name in COMMANDS
        if any("--json" in param.opts for param in load_command(name).params)
    }
    assert with_json == {name.partition("-")[0] for name in tested}
