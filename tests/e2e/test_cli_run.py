"""`olm run` without a chat: what comes in, what goes out, and with which exit status."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon, running_daemon, wait_until
from support.models import minilm_gguf, smollm2
from support.olm import OLM, environment, olm, out
from support.terminal import on_terminal

SEED = "PARAMETER seed 1\nPARAMETER temperature 0\nPARAMETER num_ctx 1024\n"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with `m`, which answers in few words, and `long`, which does not."""
    with running_daemon(tmp_path_factory.mktemp("run") / "home") as running:
        for name, tokens in (("m", 8), ("long", 120)):
            text = f"FROM {smollm2()}\n{SEED}PARAMETER num_predict {tokens}"
            out(olm(running.environ, "create", name, "-f", "-", stdin=text))
        out(olm(running.environ, "create", "e", "-f", "-", stdin=f"FROM {minilm_gguf()}"))
        yield running


@pytest.fixture
def environ(daemon: Daemon) -> dict[str, str]:
    return daemon.environ


def test_a_pipe_gets_the_answers_own_bytes_and_one_newline(environ: dict[str, str]) -> None:
    done = olm(environ, "run", "m", "Name a colour.")
    assert done.returncode == 0
    assert done.stderr == b""
    assert done.stdout.endswith(b"\n")
    assert not done.stdout.endswith(b"\n\n")
    assert b"\x1b" not in done.stdout
    assert len(done.stdout.split()) >= 2


def test_the_answer_is_the_one_that_the_api_gives(daemon: Daemon) -> None:
    status, body = daemon.request(
        "POST", "/api/generate", {"model": "m", "prompt": "Name a colour.", "stream": False}
    )
    assert status == 200
    text = out(olm(daemon.environ, "run", "m", "Name a colour."))
    assert text == json.loads(body)["response"] + "\n"


def test_long_lines_are_never_wrapped_outside_a_terminal(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with open(tmp_path / "out.txt", "wb") as file:
        subprocess.run(
            [OLM, "run", "long", "Write a long paragraph about the sea."],
            env=environment(environ | {"COLUMNS": "20"}),
            stdin=subprocess.DEVNULL,
            stdout=file,
            check=True,
        )
    text = (tmp_path / "out.txt").read_bytes()
    assert b"\x1b" not in text
    assert max(map(len, text.split(b"\n"))) > 80


def test_standard_input_and_words_are_both_used(daemon: Daemon) -> None:
    """Both orders and the joining blank, seen in the prompt that was counted."""
    whole = olm(daemon.environ, "run", "m", "--verbose", "one two\n three four")
    joined = olm(daemon.environ, "run", "m", "--verbose", "three four", stdin="one two\n")
    assert out(joined) == out(whole)

    def prompt_tokens(stderr: bytes) -> bytes:
        return next(line for line in stderr.splitlines() if line.startswith(b"prompt eval count"))

    assert prompt_tokens(joined.stderr) == prompt_tokens(whole.stderr)


def test_verbose_timings_go_to_stderr(environ: dict[str, str]) -> None:
    done = olm(environ, "run", "m", "--verbose", "hi")
    lines = done.stderr.decode().splitlines()
    names = [line.partition(":")[0] for line in lines]
    assert names == [
        "total duration",
        "load duration",
        "prompt eval count",
        "prompt eval duration",
        "prompt eval rate",
        "eval count",
        "eval duration",
        "eval rate",
    ]
    assert all(line[22] != " " and line[21] == " " for line in lines)
    assert b"duration" not in done.stdout


def test_an_empty_prompt_loads_the_model(daemon: Daemon) -> None:
    out(olm(daemon.environ, "stop", "m"))
    wait_until(lambda: "m:latest" not in out(olm(daemon.environ, "ps", "-q")).split())
    assert out(olm(daemon.environ, "run", "m", "")) == ""
    assert "m:latest" in out(olm(daemon.environ, "ps", "-q")).split()


def test_keep_alive_takes_bare_seconds(daemon: Daemon) -> None:
    out(olm(daemon.environ, "run", "m", "--keepalive", "7200", "hi"))
    assert "2 hours from now" in out(olm(daemon.environ, "ps"))
    out(olm(daemon.environ, "run", "m", "--keepalive", "-1", "hi"))
    assert "Forever" in out(olm(daemon.environ, "ps"))
    out(olm(daemon.environ, "run", "m", "--keepalive", "5m", "hi"))


def test_a_model_that_is_nowhere_gives_its_own_status(environ: dict[str, str]) -> None:
    environ = environ | {"HTTPS_PROXY": "http://127.0.0.1:1", "PIP_INDEX_URL": "http://127.0.0.1:1"}
    done = olm(environ, "run", "pypi://no-such-package-of-olm", "hi")
    assert done.returncode != 0
    assert done.stdout == b""
    assert b"Error: " in done.stderr


def test_a_path_that_is_not_there_is_no_name_to_pull(environ: dict[str, str]) -> None:
    for path in ("./missing.gguf", "/missing/model", "missing.gguf"):
        done = olm(environ, "run", path, "hi")
        assert (done.returncode, done.stdout) == (3, b"")
        assert done.stderr.decode() == f"Error: no such file: {path}\n"


def test_a_local_file_runs_without_a_name(environ: dict[str, str], tmp_path: Path) -> None:
    os.link(smollm2(), tmp_path / "tiny.gguf") if same_disk(tmp_path) else (
        tmp_path / "tiny.gguf"
    ).symlink_to(smollm2())
    words = ("run", "./tiny.gguf", "--format", '{"type": "boolean"}', "Is it?")
    done = olm(environ, *words, cwd=tmp_path)
    assert out(done).strip()
    assert "tiny" not in out(olm(environ, "ls"))


def same_disk(path: Path) -> bool:
    return path.stat().st_dev == smollm2().stat().st_dev


def test_a_file_that_is_no_model_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    with open(smollm2(), "rb") as whole:
        path.write_bytes(whole.read(5_000_000))
    done = olm(environ, "run", str(path), "hi")
    assert (done.returncode, done.stdout) == (7, b"")
    told = done.stderr.decode().splitlines()[-1]
    assert told == "Error: bad.gguf: truncated: needs 98362432 bytes, has 5000000"


def test_a_reader_that_goes_away_ends_the_answer_quietly(daemon: Daemon) -> None:
    script = (
        f"{OLM} run long 'Write a long story about the sea.' | head -c1; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment(daemon.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.endswith(b"141\n")
    assert done.stderr == b""


def test_an_interrupt_ends_with_130_and_frees_the_model(daemon: Daemon) -> None:
    process = subprocess.Popen(
        [OLM, "run", "long", "Write a very long story."],
        env=environment(daemon.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, b"")
    out(olm(daemon.environ, "stop", "long"))
    wait_until(lambda: "long:latest" not in out(olm(daemon.environ, "ps", "-q")).split())


@pytest.mark.parametrize("words", [["run", "m", "hi"], ["--version"], ["--help"], ["ls", "-h"]])
def test_output_that_cannot_be_written_is_an_error(
    words: list[str], environ: dict[str, str]
) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [OLM, *words],
            env=environment(environ),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == b"Error: cannot write the output: no space left on device\n"


def test_an_embedding_model_prints_its_vector(environ: dict[str, str]) -> None:
    vector = json.loads(out(olm(environ, "run", "e", "hello")))
    assert len(vector) == 384
    assert sum(x * x for x in vector) == pytest.approx(1, abs=1e-4)
    assert json.loads(out(olm(environ, "run", "e", stdin="hello"))) == pytest.approx(vector)
    assert len(json.loads(out(olm(environ, "run", "e", "--dimensions", "8", "hello")))) == 8
    done = olm(environ, "run", "e")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"embedding models require input text" in done.stderr
    done = olm(environ, "run", "e", "--truncate=false", "word " * 1000)
    assert done.returncode != 0
    assert b"context length" in done.stderr


def test_words_that_are_no_utf_8_are_refused(environ: dict[str, str]) -> None:
    done = subprocess.run(
        [OLM.encode(), b"run", b"m", b"caf\xe9"],
        env=environment(environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"a word is no UTF-8 text: it has the byte 0xe9" in done.stderr


def test_a_prompt_on_a_terminal_is_answered_and_wrapped(environ: dict[str, str]) -> None:
    command = [OLM, "run", "long", "Write a paragraph about the sea."]
    with on_terminal(command, environ, columns=40, rows=60) as terminal:
        assert terminal.wait_for_end(90) == 0
        plain = out(olm(environ, *command[1:]))
        assert terminal.text.split() == plain.split()
        assert all(len(line) < 40 for line in terminal.lines)


def test_no_wrapping_when_it_is_refused(environ: dict[str, str]) -> None:
    command = [OLM, "run", "long", "--nowordwrap", "Write a paragraph about the sea."]
    with on_terminal(command, environ, columns=40, rows=60) as terminal:
        assert terminal.wait_for_end(90) == 0
        assert any(len(line) == 40 for line in terminal.lines)
        assert b"\x1b[K\r\n" not in terminal.raw


def test_a_long_prompt_says_on_a_terminal_how_far_it_is(environ: dict[str, str]) -> None:
    # A token a step: no machine reads it in half a second.
    words = [OLM, "run", "long", "--set", "num_batch=1", "The sea is wide and blue. " * 120]
    with on_terminal(words, environ, columns=100) as terminal:
        terminal.wait_for("reading the prompt ")
        assert "%" in terminal.text.split("reading the prompt ")[1][:4]
        terminal.send("\x03")
        assert terminal.wait_for_end() == 130
        assert "reading" not in terminal.text
