"""Every command on a real pseudo-terminal and off one: it ends alike and leaves both clean."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from olmkit.cli.app import COMMANDS
from support.daemon import Daemon, running_daemon
from support.models import minilm_gguf, tiny_chat
from support.olm import OLM, environment, olm, out
from support.terminal import on_terminal

SHORT = "PARAMETER num_ctx 512\nPARAMETER num_predict 4\nPARAMETER temperature 0\nSYSTEM Hi."
SUITE = 'models = ["m"]\n[[case]]\nname = "a"\nprompt = "hi"\nexpect.regex = "."\n'

LINES = """
    run m hi
    session ls
    session rm absent
    embed e hi
    rerank e query document
    replay r.json
    test suite.toml
    pull oci-archive:m.tar
    push localhost:1/team/m
    login localhost:1 -u ann -p x
    logout localhost:1
    create made -f Modelfile
    show m
    diff m e
    plan m
    prompt m hi
    parse m answer.txt
    bench e --rounds 1 --time 60s
    ls
    ps
    stats --no-stream
    events --no-follow
    logs
    wait m --timeout 1
    cp m copied
    rm -f absent
    tag m tagged
    inspect m absent
    history m
    save m -o again.tar
    load m.tar
    lock m
    verify e
    sign --generate-key --key {run}.key
    sbom m
    cache du
    cache ls
    cache rm m
    system df -v
    system prune --force
    stop m
    key create {run}
    key list
    key revoke {run}
    serve --host nonsense://x
    launch codex --model m --config-only
    service install --dry-run
    export m --to compose
    config list
    config set keep_alive 4m
    config get keep_alive
    info
    doctor
    version
    completion fish
    help run
"""
"""What is typed; `{run}` is another word each time."""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon(tmp_path_factory.mktemp("terminals") / "home") as running:
        for name, text in (("m", f"FROM {tiny_chat()}\n{SHORT}"), ("e", f"FROM {minilm_gguf()}")):
            out(olm(running.environ, "create", name, "-f", "-", stdin=text))
        yield running


@pytest.fixture(scope="module")
def folder(daemon: Daemon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("folder")
    (made / "Modelfile").write_text("FROM m\nSYSTEM Made.\n")
    (made / "answer.txt").write_text("Hello.")
    (made / "suite.toml").write_text(SUITE)
    out(olm(daemon.environ, "run", "m", "hi", "--record", "r.json", cwd=made))
    out(olm(daemon.environ, "save", "m", "-q", "-o", "m.tar", cwd=made))
    return made


@pytest.fixture
def environ(daemon: Daemon, tmp_path: Path) -> dict[str, str]:
    """With a home of its own for what others' programs keep."""
    return {
        **daemon.environ,
        "CODEX_HOME": str(tmp_path / "codex"),
        "COSIGN_PASSWORD": "",
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


@pytest.mark.parametrize("line", LINES.strip().splitlines(), ids=str.strip)
def test_a_command_ends_alike_on_a_terminal_and_off_one(
    line: str, environ: dict[str, str], folder: Path
) -> None:
    off = olm(environ, *line.format(run="off").split(), cwd=folder)
    words = line.format(run="on").split()
    for stream in (off.stdout, off.stderr):
        assert b"\x1b" not in stream, "escape codes are for terminals"
        assert b"Traceback" not in stream
    command = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), OLM, *words]
    with on_terminal(command, environment(environ), columns=40) as terminal:
        assert terminal.wait_for_end(120) == off.returncode
        assert b"Traceback" not in terminal.raw
        last = re.findall(rb"\x1b\[\?25[hl]", terminal.raw)[-1:]
        assert last in ([], [b"\x1b[?25h"]), "the cursor stays hidden"


@pytest.mark.parametrize(
    "line",
    ["run m hi", "create made -f Modelfile", "load m.tar", "ls", "stats --no-stream", "doctor"],
)
def test_a_dumb_terminal_gets_no_escape_codes(
    line: str, environ: dict[str, str], folder: Path
) -> None:
    command = ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), OLM, *line.split()]
    dumb = {**environment(environ), "TERM": "dumb"}
    with on_terminal(command, dumb, columns=40) as terminal:
        assert terminal.wait_for_end(120) == 0
        assert b"\x1b" not in terminal.raw


def test_no_command_is_left_out() -> None:
    assert {line.split()[0] for line in LINES.strip().splitlines()} == set(COMMANDS)
