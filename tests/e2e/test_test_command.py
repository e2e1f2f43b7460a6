"""`olm test` on real models: what it prints, how it ends, and what it leaves behind."""

import json
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from support.daemon import Daemon, free_port, running_daemon, wait_until
from support.models import minilm_gguf, qwen_coder, smollm2
from support.olm import OLM, daemons, environment, olm, out
from support.randommodel import write_llama

TOOL = """
[[case]]
name = "tool"
prompt = "What is the weather in Paris? Use the tool."
options = { num_predict = 64 }
[[case.tools]]
type = "function"
[case.tools.function]
name = "get_weather"
description = "Get the weather of a city"
parameters = { type = "object", properties = { city = { type = "string" } }, required = ["city"] }
[case.expect]
call = { name = "get_weather", arguments = { city = "Paris" } }
"""
SUITE = """
models = ["m"]
options = { temperature = 0, seed = 1, num_ctx = 512, num_predict = 16 }
embedding_model = "e"

[[case]]
name = "capital"
prompt = "What is the capital of France?"
format = { const = "The capital of France is Paris" }
[case.expect]
contains = "Paris"
not_contains = "Lyon"
regex = "(?i)capital"
max_tokens = 16
refusal = false
similar = { to = "Paris is the capital of France", at_least = 0.5 }

[[case]]
name = "colour"
prompt = "Name a colour in JSON."
format = { type = "object", properties = { colour = { enum = ["red", "blue"] } }, \
required = ["colour"] }
[case.expect]
schema = { type = "object", required = ["colour"] }
time = { case = "capital", at_most = 1000 }
end = "stop"
"""
WRONG = SUITE + '\n[[case]]\nname = "wrong"\nprompt = "Say yes."\nexpect.exact = "no such answer"\n'


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with the chat model `m`, the embedding model `e`, and `q`, which calls tools."""
    with running_daemon(tmp_path_factory.mktemp("suites") / "home") as running:
        for name, weights in (("m", smollm2()), ("e", minilm_gguf()), ("q", qwen_coder())):
            out(olm(running.environ, "create", name, "-f", "-", stdin=f"FROM {weights}"))
        yield running


def run(
    daemon: Daemon, folder: Path, suite: str, *words: str
) -> "subprocess.CompletedProcess[bytes]":
    (folder / "s.toml").write_text(suite)
    return olm(daemon.environ, "test", "s.toml", *words, cwd=folder)


def test_all_as_expected_is_0(daemon: Daemon, tmp_path: Path) -> None:
    done = run(daemon, tmp_path, SUITE)
    lines = out(done).splitlines()
    assert lines[0].split() == ["MODEL", "CASE", "RESULT", "TIME", "TOKENS"]
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["m", "capital", "ok"],
        ["m", "colour", "ok"],
    ]
    assert lines[-1] == "2 passed"


def test_an_unexpected_answer_is_14_in_every_form(daemon: Daemon, tmp_path: Path) -> None:
    done = run(daemon, tmp_path, WRONG, "--junit", "r.xml", "--json", "--github", "--filter", "w*")
    assert done.returncode == 14
    said = json.loads(done.stdout)
    [trial] = said["trials"]
    assert (said["failed"], trial["outcome"], trial["attempts"]) == (1, "failed", 1)
    assert trial["failures"] == ['is not "no such answer"']
    assert trial["answer"]["digest"].startswith("sha256:")
    assert ElementTree.parse(tmp_path / "r.xml").find("testsuite/testcase/failure") is not None
    errors = done.stderr.decode().splitlines()
    assert errors[0].startswith(f"::error file=s.toml,line={trial['line']},title=m%3A wrong::")
    assert errors[-1] == "Error: 1 of 1 answers are not what was expected"


def test_retries_are_made_where_they_are_asked_for(daemon: Daemon, tmp_path: Path) -> None:
    done = run(daemon, tmp_path, WRONG, "--filter", "wrong", "--retries", "2")
    assert done.returncode == 14
    assert "FAIL (3)" in done.stdout.decode()


def test_a_missing_model_is_3_and_the_others_are_asked_all_the_same(
    daemon: Daemon, tmp_path: Path
) -> None:
    suite = WRONG.replace('["m"]', '["absent", "m"]')
    done = run(daemon, tmp_path, suite, "--no-pull")
    assert done.returncode == 3
    assert done.stdout.decode().splitlines()[-1] == "2 passed, 1 failed, 3 errors"


def test_a_tool_is_called_with_its_arguments(daemon: Daemon, tmp_path: Path) -> None:
    suite = 'models = ["q"]\noptions = { temperature = 0, num_ctx = 1024 }\n' + TOOL
    assert out(run(daemon, tmp_path, suite)).endswith("1 passed\n")
    done = run(daemon, tmp_path, suite.replace('city = "Paris" }', 'city = "Oslo" }'))
    assert done.returncode == 14
    assert "calls 'get_weather' with" in done.stdout.decode()


def test_an_answer_that_does_not_come_in_time_is_10(daemon: Daemon, tmp_path: Path) -> None:
    suite = 'models = ["m"]\n[[case]]\nname = "a"\nprompt = "Go on."\ntimeout = 0.05\n'
    done = run(daemon, tmp_path, suite + "options = { num_predict = -1, num_ctx = 512 }\n")
    assert done.returncode == 10
    assert "no whole answer within 0.05 s" in done.stdout.decode()


def test_a_bad_suite_is_2_and_a_missing_one_3(daemon: Daemon, tmp_path: Path) -> None:
    done = run(daemon, tmp_path, SUITE.replace("contains =", "contain ="))
    assert done.returncode == 2
    assert b"Error: s.toml:11: 'case.expect' has no key 'contain'\nhint: did you mean" in (
        done.stderr
    )
    assert olm(daemon.environ, "test", "absent.toml", cwd=tmp_path).returncode == 3
    assert run(daemon, tmp_path, SUITE.replace('models = ["m"]', "")).returncode == 2


def test_the_list_asks_no_daemon(tmp_path: Path, olm_home: Path) -> None:
    (tmp_path / "olm-test.toml").write_text(SUITE)
    environ = {"OLM_HOME": str(olm_home), "OLM_HOST": f"127.0.0.1:{free_port()}"}
    assert out(olm(environ, "test", "--list", cwd=tmp_path)) == (
        "MODEL    CASE       LINE\nm        capital    6\nm        colour     18\n"
    )
    assert not daemons(olm_home)


def test_a_suite_is_found_in_yaml_too(tmp_path: Path, olm_home: Path) -> None:
    environ = {"OLM_HOME": str(olm_home), "OLM_HOST": f"127.0.0.1:{free_port()}"}
    (tmp_path / "olm-test.yml").write_text("models: m\ncases:\n- name: a\n  prompt: hi\n")
    listed = out(olm(environ, "test", "--list", "--format", "{{.Case}} {{.Line}}", cwd=tmp_path))
    assert listed == "a 3\n"


def test_no_daemon_is_5(tmp_path: Path, olm_home: Path) -> None:
    (tmp_path / "olm-test.toml").write_text(SUITE)
    environ = {"OLM_HOME": str(olm_home), "OLM_HOST": f"https://127.0.0.1:{free_port()}"}
    assert olm(environ, "test", cwd=tmp_path).returncode == 5


def test_local_files_are_quantized_and_leave_nothing(daemon: Daemon, tmp_path: Path) -> None:
    write_llama(tmp_path / "w.gguf")
    suite = 'models = ["./w.gguf"]\nquantizations = ["q8_0", "f16"]\n'
    suite += '[[case]]\nname = "a"\nprompt = "b"\nexpect.max_tokens = 2\n'
    before = out(olm(daemon.environ, "ls", "-q"))
    done = run(daemon, tmp_path, suite + "options = { num_predict = 2 }\n", "--json")
    trials = json.loads(out(done))["trials"]
    assert [trial["model"] for trial in trials] == ["./w.gguf q8_0", "./w.gguf f16"]
    assert len({trial["answer"]["digest"] for trial in trials}) == 2
    assert out(olm(daemon.environ, "ls", "-q")) == before


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[tuple[dict[str, str], Path]]:
    """The variables of a command in a directory with a suite whose answer never ends, and where
    the private home will be."""
    write_llama(tmp_path / "w.gguf")
    (tmp_path / "olm-test.toml").write_text(
        'models = ["./w.gguf"]\n[[case]]\nname = "a"\nprompt = "b"\n'
        "options = { num_predict = -1, num_ctx = 64 }\n"
    )
    # The path of a socket has to be short.
    with tempfile.TemporaryDirectory(prefix="olm-", dir="/tmp") as name:
        yield {"TMPDIR": name}, Path(name)


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)],
)
def test_a_private_daemon_and_its_store_vanish_however_the_command_ends(
    endless: tuple[dict[str, str], Path], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    variables, temporary = endless
    process = subprocess.Popen(
        [OLM, "test", "--ephemeral"],
        env=environment(variables),
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def homes() -> list[Path]:
        return [home for home in temporary.iterdir() if (home / "daemon.json").exists()]

    wait_until(homes, timeout_s=60, what="a private daemon")
    [home] = homes()
    assert home.stat().st_mode & 0o777 == 0o700
    process.send_signal(number)
    assert process.wait(60) == status
    if number is signal.SIGKILL:
        wait_until(lambda: not home.exists(), timeout_s=60, what="the end of the home")
    assert list(temporary.iterdir()) == []
    assert not daemons(home)


def test_a_private_daemon_answers_and_vanishes(
    endless: tuple[dict[str, str], Path], tmp_path: Path
) -> None:
    variables, temporary = endless
    path = tmp_path / "olm-test.toml"
    path.write_text(path.read_text().replace("-1", "2") + "expect.max_tokens = 2\n")
    done = olm(variables, "test", "--ephemeral", cwd=tmp_path)
    assert out(done).endswith("\n1 passed\n")
    assert list(temporary.iterdir()) == []
