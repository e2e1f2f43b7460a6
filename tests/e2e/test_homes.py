"""Homes as containers and old systems have them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import free_port, running_daemon
from support.mounts import as_unknown_user
from support.olm import OLM, olm, out
from support.randommodel import write_llama


def run_without_home(*words: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """`olm` as a user whom the password database does not know, without HOME."""
    return subprocess.run(
        as_unknown_user([OLM, *words]),
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_without_a_home_one_sentence_says_what_to_set() -> None:
    done = run_without_home("ls")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: the home directory is unknown: HOME is not set")
    assert "OLM_HOME" in done.stderr


def test_without_a_home_olm_home_suffices(tmp_path: Path) -> None:
    environ = {"OLM_HOME": str(tmp_path / "home"), "OLM_HOST": f"127.0.0.1:{free_port()}"}
    try:
        done = run_without_home("ls", **environ)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("NAME")
    finally:
        run_without_home("serve", "--stop", **environ)


def test_a_users_name_that_nobody_has_is_no_traceback(tmp_path: Path) -> None:
    environ = {"OLM_HOME": str(tmp_path), "OLM_HOST": f"127.0.0.1:{free_port()}"}
    done = olm(environ, "run", "~nobody-of-this-name/model.gguf", "hi")
    assert done.returncode == 3
    assert done.stderr == b"Error: no such file: ~nobody-of-this-name/model.gguf\n"


@pytest.fixture
def odd_home(tmp_path: Path) -> Iterator[Path]:
    """A home whose path is no UTF-8."""
    if sys.platform != "linux":
        pytest.skip("only Linux has such paths")
    home = tmp_path / os.fsdecode(b"h\xff\xfeme")
    home.mkdir()
    yield home


def test_a_home_whose_path_is_no_utf_8_is_one_like_others(odd_home: Path) -> None:
    weights = write_llama(odd_home / "w.gguf")
    short = ("--max-tokens", "4", "hi")  # random weights end an answer where they like
    with running_daemon(odd_home) as daemon:
        environ = daemon.environ
        (odd_home / "Modelfile").write_text("FROM ./w.gguf\n")
        out(olm(environ, "create", "m", cwd=odd_home))
        assert "m:latest" in out(olm(environ, "ls"))
        assert olm(environ, "run", "m", *short).returncode in (0, 9)
        assert "llama" in out(olm(environ, "show", "m"))
        assert r"\xff\xfeme" in out(olm(environ, "show", "m", "--modelfile"))
        assert olm(environ, "run", str(weights), *short).returncode in (0, 9)
        (odd_home / "Modelfile").write_text("FROM ./w.gguf\nPARAMETER num_ctx 64\n")
        out(olm(environ, "create", "n", cwd=odd_home))
        out(olm(environ, "save", "n", "-o", str(odd_home / "n.tar")))
        out(olm(environ, "rm", "n"))
        out(olm(environ, "load", "-i", str(odd_home / "n.tar")))
        out(olm(environ, "create", "--quantize", "q8_0", "q", cwd=odd_home))
        (daemon.home / "models" / "blobs").rename(daemon.home / "models" / "gone")
        lost = olm(environ, "show", "m")
        assert lost.returncode == 1
        assert rb"h\xff\xfeme" in lost.stderr
        (daemon.home / "models" / "gone").rename(daemon.home / "models" / "blobs")
