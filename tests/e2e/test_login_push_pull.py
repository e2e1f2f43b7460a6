"""`olm login`, `push`, `rm`, `pull` against Debian's registry, through a real daemon."""

import base64
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.api import Api
from support.daemon import Daemon, running_daemon
from support.debian_registry import DebianRegistry, debian_registry
from support.hub import COMMIT, Hub, serving_hub
from support.olm import olm, out
from support.randommodel import write_llama

LOGIN = "ann:se:cret"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DebianRegistry]:
    with debian_registry(tmp_path_factory.mktemp("registry"), login=LOGIN) as registry:
        yield registry


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running_daemon(tmp_path / "home") as daemon:
        yield daemon


@pytest.fixture
def environ(daemon: Daemon) -> dict[str, str]:
    return daemon.environ


def config_of() -> Path:
    return Path(os.environ["DOCKER_CONFIG"]) / "config.json"


def login(environ: dict[str, str], host: str, password: str = "se:cret") -> tuple[int, str, str]:
    done = olm(environ, "login", "-u", "ann", "--password-stdin", host, stdin=f"{password}\n")
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_a_model_goes_to_a_registry_and_comes_back(
    environ: dict[str, str], daemon: Daemon, registry: DebianRegistry, tmp_path: Path
) -> None:
    name = f"{registry.host}/team/tiny:1"
    Api(daemon).create(name, write_llama(tmp_path / "tiny.gguf"), system="You are terse.")
    before = json.loads(daemon.request("POST", "/api/show", {"model": name})[1])

    refused = olm(environ, "push", name)
    assert refused.returncode == 4, refused.stderr
    assert f"olm login {registry.host}" in refused.stderr.decode()

    status, stdout, stderr = login(environ, registry.host)
    assert (status, stdout) == (0, "Login Succeeded\n"), stderr
    assert "stored unencrypted" in stderr
    config = config_of()
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    kept = json.loads(config.read_text())["auths"][registry.host]["auth"]
    assert base64.b64decode(kept).decode() == LOGIN

    out(olm(environ, "push", name))
    out(olm(environ, "rm", name))
    out(olm(environ, "pull", name))
    after = json.loads(daemon.request("POST", "/api/show", {"model": name})[1])
    assert after["system"] == before["system"] == "You are terse."
    assert after["model_info"] == before["model_info"]

    assert out(olm(environ, "logout", registry.host)).startswith("Removing login credentials")
    assert json.loads(config.read_text())["auths"] == {}
    assert LOGIN.partition(":")[2] not in daemon.log


def test_all_quantizations_go_under_one_name(
    environ: dict[str, str], daemon: Daemon, tmp_path: Path
) -> None:
    with debian_registry(tmp_path / "open") as registry:
        repository = f"{registry.host}/team/several"
        weights = write_llama(tmp_path / "tiny.gguf")
        Api(daemon).create(f"{repository}:full", weights)
        modelfile = f"FROM {repository}:full"
        out(olm(environ, "create", "-q", "Q8_0", f"{repository}:small", "-f", "-", stdin=modelfile))
        pushed = olm(environ, "push", "--all-quants", f"{repository}:1")
        assert pushed.returncode == 0, pushed.stderr
        assert "Q8_0" in pushed.stderr.decode()
        out(olm(environ, "pull", "--quant", "q8_0", f"{repository}:1"))
        shown = json.loads(daemon.request("POST", "/api/show", {"model": f"{repository}:1"})[1])
        assert shown["details"]["quantization_level"] == "Q8_0"
        out(olm(environ, "pull", f"{repository}:1"))
        shown = json.loads(daemon.request("POST", "/api/show", {"model": f"{repository}:1"})[1])
        assert shown["details"]["quantization_level"] != "Q8_0"


def test_a_login_that_the_registry_refuses_is_not_kept(
    environ: dict[str, str], registry: DebianRegistry
) -> None:
    status, stdout, stderr = login(environ, registry.host, "wrong-password")
    assert (status, stdout) == (4, "")
    assert stderr.startswith(f"Error: {registry.host} refuses this login")
    assert "user name and the password" in stderr
    assert "wrong-password" not in stderr
    assert not config_of().exists()


def test_a_dash_for_the_password_takes_it_from_standard_input(
    environ: dict[str, str], registry: DebianRegistry
) -> None:
    done = olm(environ, "login", "-u", "ann", "-p", "-", registry.host, stdin="se:cret\r\n")
    assert out(done) == "Login Succeeded\n"
    assert b"insecure" not in done.stderr


def test_a_credential_helper_keeps_the_login(
    environ: dict[str, str], registry: DebianRegistry, tmp_path: Path
) -> None:
    folder, kept = tmp_path / "bin", tmp_path / "kept"
    folder.mkdir()
    helper = folder / "docker-credential-test"
    helper.write_text(
        "#!/bin/sh\n"
        f"case $1 in store) cat > {kept};; get) cat {kept} 2>/dev/null || "
        '{ echo "credentials not found in native keychain"; exit 1; };; '
        f"erase) rm {kept};; esac\n"
    )
    helper.chmod(0o755)
    config_of().parent.mkdir(parents=True)
    config_of().write_text('{"credsStore": "test"}')
    environ = environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    status, stdout, stderr = login(environ, registry.host)
    assert (status, stdout, stderr) == (0, "Login Succeeded\n", "")
    assert json.loads(kept.read_text())["Secret"] == "se:cret"
    assert json.loads(config_of().read_text())["auths"] == {registry.host: {}}
    out(olm(environ, "logout", registry.host))
    assert not kept.exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--password-stdin"], "requires --username"),
        (["-u", "a", "-p", "b", "--password-stdin"], "conflicting options"),
        ([], "non TTY device"),
    ],
)
def test_a_login_without_what_it_needs_is_told(words: list[str], text: str, tmp_path: Path) -> None:
    done = olm({"OLM_HOME": str(tmp_path)}, "login", *words, "127.0.0.1:1")
    assert done.returncode in (1, 2)
    assert text in done.stderr.decode()


def test_what_is_not_there_cannot_be_pushed(environ: dict[str, str]) -> None:
    done = olm(environ, "push", "127.0.0.1:1/team/none")
    assert done.returncode == 3
    assert "not found" in done.stderr.decode()


def test_a_file_at_an_address_is_pulled(
    environ: dict[str, str], daemon: Daemon, tmp_path: Path
) -> None:
    data = write_llama(tmp_path / "tiny.gguf").read_bytes()
    with serving_hub(Hub("u/r", {"tiny.gguf": data})) as hub:
        out(olm(environ, "pull", f"{hub.address}/u/r/resolve/{COMMIT}/tiny.gguf"))
        names = [m["name"] for m in json.loads(daemon.request("GET", "/api/tags")[1])["models"]]
        assert names == [f"127.0.0.1:{hub.port}/u/r/resolve/{COMMIT}/tiny:latest"]
