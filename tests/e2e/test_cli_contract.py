"""What scripts may rely on: exit codes by real causes, and the forms of answers."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from olmkit.cli.exits import MEANINGS, ExitCode
from support.daemon import Daemon, running_daemon, wait_until
from support.models import minilm_gguf, smollm2, tiny_chat
from support.olm import OLM, environment, olm, out

STEADY = "PARAMETER seed 1\nPARAMETER temperature 0\n"
TALL = '{"type": "object", "properties": {"a": {"type": "array", "items": {"enum": ["x"]}, '
TALL += '"minItems": 2, "maxItems": 2, "uniqueItems": true}}, "required": ["a"]}'
"""A schema that no answer satisfies; the engine leaves `uniqueItems` out and says so."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with `m`, which says what it likes, `short`, made to answer in 8 tokens, `looping`,
    which goes on when left to itself, `endless`, which does so at the pace of a real model, and
    the embedding model `e`."""
    # No card of NVIDIA's or AMD's, so that what has to be on one does not fit.
    without_cards = {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    environ = {"OLM_NUM_PARALLEL": "1", "OLM_MAX_QUEUE": "1", **without_cards}
    with running_daemon(tmp_path_factory.mktemp("contract") / "home", environ=environ) as running:
        for name, weights, rest in (
            ("m", tiny_chat(), "PARAMETER num_ctx 512"),
            ("short", tiny_chat(), "PARAMETER num_ctx 512\nPARAMETER num_predict 8"),
            ("looping", tiny_chat(), "PARAMETER num_ctx 512\nPARAMETER num_predict -1"),
            ("endless", smollm2(), "PARAMETER num_ctx 512\nPARAMETER num_predict -1"),
        ):
            text = f"FROM {weights}\n{STEADY}{rest}"
            out(olm(running.environ, "create", name, "-f", "-", stdin=text))
        out(olm(running.environ, "create", "e", "-f", "-", stdin=f"FROM {minilm_gguf()}"))
        yield running


@pytest.fixture
def environ(daemon: Daemon) -> dict[str, str]:
    return daemon.environ


def test_0_an_answer_of_the_length_that_its_model_is_made_for(environ: dict[str, str]) -> None:
    done = olm(environ, "run", "short", "--json", "Count to a hundred.")
    assert done.returncode == 0
    assert json.loads(done.stdout)["end"] == "length"


@pytest.mark.parametrize(
    "words",
    [
        ["run", "m", "--set", "temperatur=0", "hi"],
        ["run", "m", "--set", "temperature", "hi"],
        ["run", "m", "--timeout", "soon", "hi"],
        ["run", "m", "--json", "--jsonl", "hi"],
        ["run", "m", "--format", "json", "--schema", "s.json", "hi"],
        ["run", "m", "--grammar", "g.txt", "hi"],
        ["embed", "e"],
        ["rerank", "e", "query"],
    ],
)
def test_2_wrong_usage(words: list[str], environ: dict[str, str]) -> None:
    done = olm(environ, *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"Error: ")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("junk", [b"caf\xe9", b"a\0b", "h".encode("utf-16")])
def test_2_input_that_is_no_text(junk: bytes, environ: dict[str, str]) -> None:
    done = olm(environ, "run", "m", stdin=junk)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"standard input is" in done.stderr
    assert b"hint: " in done.stderr


@pytest.mark.parametrize("verb", ["run", "prompt", "embed", "rerank"])
def test_2_words_that_are_no_text(verb: str, environ: dict[str, str]) -> None:
    done = olm(environ, verb, "m", os.fsdecode(b"caf\xe9"))
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"Error: a word is no UTF-8 text: it has the byte 0xe9\n")


def test_1_input_without_end_is_refused_and_not_read_to_its_end(environ: dict[str, str]) -> None:
    with open("/dev/zero", "rb") as endless:
        done = subprocess.run(
            [OLM, "run", "m"],
            stdin=endless,
            capture_output=True,
            env=environment(environ),
            check=False,
        )
    assert done.returncode == 1
    assert b"standard input is longer than 64 MiB" in done.stderr


def test_3_no_such_model_or_file(environ: dict[str, str]) -> None:
    assert olm(environ, "run", "absent", "--no-pull", "hi").returncode == 3
    assert olm(environ, "embed", "absent", "--no-pull", "hi").returncode == 3
    assert olm(environ, "run", "m", "--schema", "absent.json", "hi").returncode == 3
    assert olm(environ, "replay", "absent.json").returncode == 3


def test_4_a_key_that_is_missing_or_wrong(environ: dict[str, str], tmp_path: Path) -> None:
    """From another home the only way in is the port, where a key is asked for once there is one."""
    elsewhere = {**environ, "OLM_HOME": str(tmp_path)}
    out(olm(elsewhere, "ls"))
    key = out(olm(environ, "key", "create", "ci", "--scope", "read")).strip()
    try:
        for given, code in (({}, 4), ({"OLM_API_KEY": "wrong"}, 4), ({"OLM_API_KEY": key}, 0)):
            assert olm({**elsewhere, **given}, "ls").returncode == code
        forbidden = olm({**elsewhere, "OLM_API_KEY": key}, "rm", "m")
        assert (forbidden.returncode, forbidden.stdout) == (4, b"")
    finally:
        olm(environ, "key", "revoke", "ci")


def test_5_a_daemon_that_cannot_be_reached(environ: dict[str, str]) -> None:
    done = olm({**environ, "OLM_HOST": "nowhere.invalid:1"}, "ls")
    assert (done.returncode, done.stdout) == (5, b"")
    assert b"cannot connect to the daemon at http://nowhere.invalid:1" in done.stderr
    assert b"hint: OLM_HOST" in done.stderr


def test_6_a_model_that_does_not_fit_where_it_has_to_be(environ: dict[str, str]) -> None:
    """What is too large for the memory that a machine or a group has: test_out_of_memory.py."""
    done = olm(environ, "run", "m", "--require-gpu", "hi")
    assert (done.returncode, done.stdout) == (6, b"")
    assert b"m:latest is to be on graphics cards only" in done.stderr


def test_7_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    """Its weights go bad in the store after it was made."""
    with running_daemon(tmp_path / "home") as daemon:
        out(olm(daemon.environ, "create", "bad", "-f", "-", stdin=f"FROM {tiny_chat()}\n"))
        shown = json.loads(out(olm(daemon.environ, "inspect", "bad")))[0]
        digest = next(one["digest"] for one in shown["layers"] if one["role"] == "weights")
        blob = daemon.home / "models" / "blobs" / digest.replace(":", "-")
        broken = bytearray(blob.read_bytes())
        place = broken.index(b"llama.block_count") + len(b"llama.block_count") + 4
        broken[place : place + 4] = (200).to_bytes(4, "little")
        blob.unlink()  # it may be a link to the file that it was made from
        blob.write_bytes(broken)
        done = olm(daemon.environ, "run", "bad", "hi")
        assert done.returncode == 7, done.stderr
        assert done.stdout == b""


def test_8_a_prompt_that_is_too_long(environ: dict[str, str]) -> None:
    done = olm(environ, "run", "m", "--no-truncate", "word " * 2000)
    assert (done.returncode, done.stdout) == (8, b"")
    assert b"context length" in done.stderr


def test_9_an_answer_that_is_cut_is_printed_all_the_same(environ: dict[str, str]) -> None:
    done = olm(environ, "run", "m", "--max-tokens", "3", "Count to a hundred.")
    assert done.returncode == 9
    assert done.stdout.strip()
    assert b"cut after 3 tokens" in done.stderr


def test_10_a_time_limit_ends_the_work_and_the_daemon_goes_on(environ: dict[str, str]) -> None:
    done = olm(
        environ, "run", "endless", "--timeout", "2", "--grammar", _grammar(environ), "Count."
    )
    assert done.returncode == 10
    assert b"no whole answer within 2 s" in done.stderr
    assert out(olm(environ, "run", "short", "hi"))


def test_11_an_answer_that_repeats_itself(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "same.regex").write_text("(a ){2000}\n")
    done = olm(
        environ,
        *("run", "looping", "--grammar", str(tmp_path / "same.regex"), "--set", "num_ctx=2048"),
        *("--set", "repeat_penalty=1", "--json", "Say a."),
    )
    assert done.returncode == 11, done.stderr
    assert json.loads(done.stdout)["end"] == "repeat"


def test_12_a_runner_that_dies(daemon: Daemon) -> None:
    words = [OLM, "run", "endless", "--grammar", _grammar(daemon.environ), "Count."]
    with subprocess.Popen(
        words,
        env=environment(daemon.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as answering:
        assert answering.stdout is not None
        assert answering.stdout.read(1)
        for runner in daemon.runners():
            runner.send_signal(signal.SIGKILL)
        _, stderr = answering.communicate(timeout=120)
    assert answering.returncode == 12, stderr


def test_13_an_answer_that_violates_its_schema(environ: dict[str, str]) -> None:
    done = olm(environ, "run", "m", "--format", TALL, "Give an object.")
    assert done.returncode == 13, done.stderr
    assert json.loads(done.stdout) == {"a": ["x", "x"]}
    assert b"violates the schema at /a: its items are not unique" in done.stderr
    done = olm(environ, "run", "short", "--format", TALL.replace("x", "x" * 90), "An object.")
    assert done.returncode == 13
    assert b"the answer is no JSON" in done.stderr


def test_14_a_recording_that_is_answered_otherwise(environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    words = ("--reproducible", "--record", str(file), "Name a colour.")
    said = out(olm(environ, "run", "short", *words))
    assert file.stat().st_mode & 0o777 == 0o600
    assert out(olm(environ, "replay", str(file))) == said
    done = olm(environ, "replay", str(file), "--diff")
    assert (done.returncode, done.stdout) == (0, b"")
    recording = json.loads(file.read_text())
    recording["answer"]["text"] = "Mauve."
    file.write_text(json.dumps(recording))
    done = olm(environ, "replay", str(file), "--diff")
    assert done.returncode == 14
    assert b"-Mauve." in done.stdout


def test_15_a_daemon_with_too_much_to_do(daemon: Daemon) -> None:
    """One request is answered, one of two more waits, the other is refused."""
    long = {"type": "array", "items": {"const": 1}, "minItems": 100_000}
    busy = {"model": "endless", "prompt": "Count.", "format": long, "options": {"num_ctx": 4096}}
    with ExitStack() as stack:
        first = stack.enter_context(daemon.stream("POST", "/api/generate", busy))
        assert first.read(1)
        two = [
            subprocess.Popen(
                [OLM, "run", "endless", "--set", "num_ctx=4096", "hi"],
                env=environment(daemon.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(2)
        ]
        for process in two:
            stack.callback(process.wait)
            stack.callback(process.kill)
        wait_until(lambda: any(process.poll() is not None for process in two), what="a refusal")
        assert [process.returncode for process in two if process.returncode is not None] == [15]


def test_16_a_model_that_a_policy_forbids(environ: dict[str, str], tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('version = 1\ndefault = "deny"\n')
    done = olm(environ, "verify", "m", "--policy", str(policy))
    assert done.returncode == 16
    assert b"is forbidden by the default of" in done.stderr


def test_130_an_interrupt(environ: dict[str, str]) -> None:
    with subprocess.Popen(
        [OLM, "run", "endless", "--grammar", _grammar(environ), "Count."],
        env=environment(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as answering:
        assert answering.stdout is not None
        assert answering.stdout.read(1)
        answering.send_signal(signal.SIGINT)
        answering.communicate(timeout=60)
    assert answering.returncode == 130


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_141_a_reader_that_goes_away(environ: dict[str, str], unbuffered: str) -> None:
    """Python writes to a bare file where PYTHONUNBUFFERED says so, as container images do."""
    with subprocess.Popen(
        [OLM, "show", "m", "--verbose", "--json"],
        env=environment({**environ, "PYTHONUNBUFFERED": unbuffered}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as telling:
        assert telling.stdout is not None
        assert telling.stdout.read(1) == b"{"
        telling.stdout.close()
        assert telling.stderr is not None
        assert telling.stderr.read() == b""
    assert telling.returncode == 141


def test_lines_of_json_add_up_to_the_object_at_their_end(environ: dict[str, str]) -> None:
    words = ("run", "short", "Name a colour.")
    plain = out(olm(environ, *words))
    lines = [json.loads(line) for line in out(olm(environ, *words, "--jsonl")).splitlines()]
    assert "".join(line["text"] for line in lines[:-1]) == lines[-1]["text"]
    assert lines[-1]["text"] + "\n" == plain
    whole = json.loads(out(olm(environ, *words, "--json")))
    assert whole["text"] == lines[-1]["text"]
    assert whole["tokens"]["completion"] == 8
    assert whole["timings"]["total_ns"] > 0
    assert whole["digest"] == json.loads(out(olm(environ, "inspect", "short")))[0]["id"]


def test_system_seed_and_parameters_reach_the_model(environ: dict[str, str]) -> None:
    words = ("run", "short", "Name a city.", "--set", "temperature=1.5")
    one = out(olm(environ, *words, "--seed", "3", "--system", "You are terse."))
    assert out(olm(environ, *words, "--seed", "3", "--system", "You are terse.")) == one
    assert any(out(olm(environ, *words, "--seed", str(n))) != one for n in range(4, 9))


def test_files_bind_answers(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "boolean"}')
    (tmp_path / "g.gbnf").write_text('root ::= "yes" | "no"')
    bound = out(olm(environ, "run", "m", "--schema", str(tmp_path / "s.json"), "Is it?"))
    assert bound in ("true\n", "false\n")
    bound = out(olm(environ, "run", "m", "--grammar", str(tmp_path / "g.gbnf"), "Is it?"))
    assert bound in ("yes\n", "no\n")


def test_vectors_a_line_a_text(environ: dict[str, str]) -> None:
    two = out(olm(environ, "embed", "e", "one", "two")).splitlines()
    lines = out(olm(environ, "embed", "e", "--lines", stdin="one\ntwo\n")).splitlines()
    whole = json.loads(out(olm(environ, "embed", "e", "--json", "one", "two")))
    for vectors in (map(json.loads, lines), whole["embeddings"]):
        for vector, other in zip(map(json.loads, two), vectors, strict=True):
            assert vector == pytest.approx(other, abs=1e-5)
    assert len(out(olm(environ, "embed", "e", stdin="one\ntwo\n")).splitlines()) == 1


def test_an_image_for_a_model_without_eyes_is_refused(
    environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "i.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    done = olm(environ, "run", "m", "--image", str(tmp_path / "i.png"), "What is it?")
    assert done.returncode == 1
    assert b"does not support images" in done.stderr


def test_every_code_is_tested_by_a_real_cause() -> None:
    """A test's name begins with its code, here or in a file beside this."""
    files = Path(__file__).parent.glob("test_*.py")
    tested = {
        int(code)
        for file in files
        for code in re.findall(r"^def test_(\d+)_", file.read_text(), re.M)
    }
    assert tested == {int(code) for code in ExitCode}


def test_every_code_is_documented_once_and_means_one_thing() -> None:
    text = (Path(__file__).parents[2] / "docs" / "scripts.md").read_text()
    table = text.partition("## Exit status")[2].partition("\n## ")[0]
    documented = [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.M)]
    assert documented == sorted(ExitCode)
    assert MEANINGS.keys() == set(ExitCode)
    assert len(set(MEANINGS.values())) == len(ExitCode)


def _grammar(environ: dict[str, str]) -> str:
    """A grammar that no answer comes to the end of within its test."""
    path = Path(environ["OLM_HOME"]) / "digits.regex"
    path.write_text("([0-9]{1,9} [a-z]{2,9} ){4000}")
    return str(path)
