"""Pulls by the ways that networks of companies leave: addresses, proxies, logins of other tools."""

import base64
import functools
import json
import os
import ssl
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from support.api import Api
from support.daemon import Daemon, running_daemon
from support.debian_registry import debian_registry
from support.forward_proxy import forward_proxy
from support.hub import Hub, serving_hub
from support.models import tiny_chat
from support.olm import olm, out
from support.oras import Oras
from support.randommodel import write_llama
from support.stores import remove_models

HOST = "registry.test"
LOGIN = "ann:se:cret"


class _Files(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass  # clients that do not trust the certificate


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


@pytest.fixture
def address(authority: trustme.CA, folder: Path) -> Iterator[str]:
    """Of a server with the files of `folder`, over TLS and without ranges."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with _Quiet(("127.0.0.1", 0), functools.partial(_Files, directory=str(folder))) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon that trusts the authority."""
    folder = tmp_path_factory.mktemp("trusting")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    environ = {"OLM_CA_BUNDLE": str(folder / "ca.pem")}
    with running_daemon(folder / "home", environ=environ) as daemon:
        yield daemon


@pytest.fixture
def daemon(trusting: Daemon) -> Iterator[Daemon]:
    """That daemon, without models at the start of each test."""
    yield trusting
    remove_models(trusting.home / "models")


def digest_of(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def test_a_file_at_an_address_runs_at_once(daemon: Daemon, folder: Path, address: str) -> None:
    os.link(tiny_chat(), folder / "tiny.gguf")
    name = f"{address}/tiny.gguf#sha256={digest_of(tiny_chat())}"
    # One word, for nothing else bounds what a model has to say.
    asked = ("run", "--format", '{"type": "boolean"}', name, "Is it so?")
    assert out(olm(daemon.environ, *asked)).strip() in ("true", "false")
    assert olm(daemon.environ, *asked).stderr == b""
    (folder / "tiny.gguf").unlink()
    assert out(olm(daemon.environ, *asked)).strip()
    other = name[:-1] + ("0" if name[-1] != "0" else "1")
    done = olm(daemon.environ, "run", other, "Say hello.")
    assert done.returncode == 3  # not what is stored under the same name
    assert out(olm(daemon.environ, "cp", name.partition("#")[0], "mine")) is not None


def test_other_bytes_than_the_address_says_are_refused(
    daemon: Daemon, folder: Path, address: str
) -> None:
    write_llama(folder / "tiny.gguf")
    done = olm(daemon.environ, "pull", f"{address}/tiny.gguf#sha256={'0' * 64}")
    assert done.returncode == 1
    assert "sha256:0000" in done.stderr.decode()
    assert out(olm(daemon.environ, "ls", "-q")) == ""
    done = olm(daemon.environ, "pull", f"{address}/tiny.gguf#sha256=abc")
    assert done.returncode != 0
    assert "64 hexadecimal digits" in done.stderr.decode()


def test_an_address_is_not_trusted_without_its_authority(
    folder: Path, address: str, tmp_path: Path
) -> None:
    write_llama(folder / "tiny.gguf")
    with running_daemon(tmp_path / "distrusting") as daemon:
        done = olm(daemon.environ, "pull", f"{address}/tiny.gguf")
        assert done.returncode == 1
        assert "not trusted" in done.stderr.decode()
        out(olm(daemon.environ, "pull", "--insecure", f"{address}/tiny.gguf"))


def test_a_signature_in_an_address_is_kept_nowhere(
    daemon: Daemon, folder: Path, address: str
) -> None:
    write_llama(folder / "tiny.gguf")
    done = olm(daemon.environ, "pull", f"{address}/tiny.gguf?X-Signature=s3cret")
    assert done.returncode == 0, done.stderr
    name = out(olm(daemon.environ, "ls", "-q")).strip()
    assert name.startswith(f"{address.removeprefix('https://')}/tiny-")  # and a hash of the whole
    shown = out(olm(daemon.environ, "inspect", name))
    assert "s3cret" not in shown + daemon.log
    assert f"{address}/tiny.gguf" in shown
    done = olm(daemon.environ, "pull", f"{address}/absent.gguf?X-Signature=s3cret")
    assert done.returncode == 3
    assert b"s3cret" not in done.stderr


def test_an_address_is_locked_and_pulled_again(
    daemon: Daemon, folder: Path, address: str, tmp_path: Path
) -> None:
    write_llama(folder / "tiny.gguf")
    out(olm(daemon.environ, "pull", f"{address}/tiny.gguf"))
    name = f"{address.removeprefix('https://')}/tiny"
    project = tmp_path / "project"
    project.mkdir()
    out(olm(daemon.environ, "lock", name, cwd=project))
    out(olm(daemon.environ, "rm", name))
    out(olm(daemon.environ, "pull", "--locked", cwd=project))
    write_llama(folder / "tiny.gguf", width=64)
    done = olm(daemon.environ, "pull", "--locked", cwd=project)
    assert done.returncode == 0  # nothing to fetch
    out(olm(daemon.environ, "rm", name))
    done = olm(daemon.environ, "pull", "--locked", cwd=project)
    assert done.returncode == 1
    assert "sends" in done.stderr.decode() or "digest" in done.stderr.decode()
    assert out(olm(daemon.environ, "ls", "-q")) == ""


def test_a_proxy_a_listed_host_and_podmans_login_work_together(tmp_path: Path) -> None:
    auth = tmp_path / "auth.json"
    oras = Oras(tmp_path)
    write_llama(tmp_path / "tiny.gguf")
    with (
        debian_registry(tmp_path / "private", login=LOGIN) as registry,
        forward_proxy(names={HOST}, login="bob:hunter2") as proxy,
    ):
        oras("login", "--plain-http", "-u", "ann", "-p", "se:cret", registry.host)
        oras("push", "--plain-http", f"{registry.host}/team/m:1", "tiny.gguf")
        oras("logout", registry.host)
        host = f"{HOST}:{registry.host.rpartition(':')[2]}"
        kept = {"auth": base64.b64encode(LOGIN.encode()).decode()}
        auth.write_text(json.dumps({"auths": {f"{host}/team": kept}}))
        environ = {"HTTP_PROXY": proxy.address, "HTTPS_PROXY": proxy.address}
        environ |= {"REGISTRY_AUTH_FILE": str(auth)}
        name = f"{host}/team/m:1"
        with running_daemon(tmp_path / "home", environ=environ) as daemon:
            done = olm(daemon.environ, "pull", name)
            assert done.returncode != 0  # not listed: TLS, which it does not speak
        environ |= {"OLM_INSECURE_REGISTRIES": host}
        with running_daemon(tmp_path / "home", environ=environ) as daemon:
            out(olm(daemon.environ, "pull", name))
            assert out(olm(daemon.environ, "ls", "-q"))
            assert "hunter2" not in daemon.log
    assert f"http://{host}/v2/team/m/manifests/1" in proxy.targets("GET")


def test_a_model_of_hugging_face_is_locked_by_its_commit(tmp_path: Path) -> None:
    data = write_llama(tmp_path / "tiny.gguf").read_bytes()
    with serving_hub(Hub("user/Tiny-GGUF", {"tiny-Q8_0.gguf": data})) as hub:
        environ = {"HF_ENDPOINT": hub.address}
        name = "hf.co/user/Tiny-GGUF:Q8_0"
        with running_daemon(tmp_path / "home", environ=environ) as daemon:
            out(olm(daemon.environ, "pull", name))
            out(olm(daemon.environ, "lock", name, cwd=tmp_path))
            (shown,) = json.loads(out(olm(daemon.environ, "inspect", name)))
        hub.head = "f" * 40  # somebody committed
        with running_daemon(tmp_path / "other", environ=environ) as daemon:
            assert olm(daemon.environ, "pull", name).returncode == 3
            out(olm(daemon.environ, "pull", "--locked", cwd=tmp_path))
            (there,) = json.loads(out(olm(daemon.environ, "inspect", name)))
            assert there["id"] == shown["id"]

            out(olm(daemon.environ, "rm", name))
            lock = tmp_path / "olm.lock"
            lock.write_text(lock.read_text().replace(shown["id"], "sha256:" + "0" * 64))
            done = olm(daemon.environ, "pull", "--locked", cwd=tmp_path)
            assert done.returncode == 1
            assert "another digest" in done.stderr.decode()
            assert out(olm(daemon.environ, "ls", "-q")) == ""


def test_a_quantization_that_was_asked_for_is_locked_too(tmp_path: Path) -> None:
    usual = write_llama(tmp_path / "tiny.gguf").read_bytes()
    other = write_llama(tmp_path / "other.gguf", layers=1).read_bytes()
    files = {"tiny-Q4_K_M.gguf": usual, "tiny-Q8_0.gguf": other}
    name = "hf.co/user/Tiny-GGUF"
    with serving_hub(Hub("user/Tiny-GGUF", files)) as hub:
        environ = {"HF_ENDPOINT": hub.address}
        with running_daemon(tmp_path / "home", environ=environ) as daemon:
            out(olm(daemon.environ, "pull", "--quant", "Q8_0", name))
            out(olm(daemon.environ, "lock", name, cwd=tmp_path))
        with running_daemon(tmp_path / "other-home", environ=environ) as daemon:
            out(olm(daemon.environ, "pull", "--locked", cwd=tmp_path))
            (there,) = json.loads(out(olm(daemon.environ, "inspect", name)))
    assert there["id"] in (tmp_path / "olm.lock").read_text()


@pytest.mark.parametrize("format", ["modelpack", "ollama", "docker"])
def test_what_was_pushed_from_here_is_locked_by_the_registrys_digest(
    daemon: Daemon, format: str, tmp_path: Path
) -> None:
    weights = write_llama(tmp_path / "tiny.gguf")
    with debian_registry(tmp_path / "open") as registry:
        name = f"{registry.host}/team/m:1"
        Api(daemon).create(name, weights, system="Be terse.")
        out(olm(daemon.environ, "push", "--as", format, name))
        out(olm(daemon.environ, "lock", name, cwd=tmp_path))
        told = json.loads(Oras(tmp_path)("manifest", "fetch", "--plain-http", "--descriptor", name))
        assert told["digest"] in (tmp_path / "olm.lock").read_text()
        (shown,) = json.loads(out(olm(daemon.environ, "inspect", name)))
        assert shown["digests"] == [f"{registry.host}/team/m@{told['digest']}"]
        with running_daemon(tmp_path / "other") as other:
            out(olm(other.environ, "pull", "--locked", cwd=tmp_path))
            (there,) = json.loads(out(olm(other.environ, "inspect", name)))
        assert there["id"] == told["digest"]
        out(olm(daemon.environ, "pull", "--locked", cwd=tmp_path))

        Api(daemon).create(name, parent=name, system="Be verbose.")  # and not pushed
        out(olm(daemon.environ, "lock", name, cwd=tmp_path))
        (shown,) = json.loads(out(olm(daemon.environ, "inspect", name)))
        assert shown["id"] in (tmp_path / "olm.lock").read_text()


def test_a_registrys_model_is_locked_by_its_digest(daemon: Daemon, tmp_path: Path) -> None:
    oras = Oras(tmp_path)
    write_llama(tmp_path / "tiny.gguf")
    with debian_registry(tmp_path / "open") as registry:
        name = f"{registry.host}/team/m:1"
        oras("push", "--plain-http", name, "tiny.gguf")
        out(olm(daemon.environ, "pull", name))
        out(olm(daemon.environ, "lock", name, cwd=tmp_path))
        locked = (tmp_path / "olm.lock").read_text()
        told = json.loads(oras("manifest", "fetch", "--plain-http", "--descriptor", name))
        assert told["digest"] in locked
        out(olm(daemon.environ, "rm", name))

        write_llama(tmp_path / "tiny.gguf", width=64)  # the tag moves on
        oras("push", "--plain-http", name, "tiny.gguf")
        out(olm(daemon.environ, "pull", "--locked", cwd=tmp_path))
        (shown,) = json.loads(out(olm(daemon.environ, "inspect", name)))
        assert shown["id"] == told["digest"]
        by_digest = f"{registry.host}/team/m@{told['digest']}"
        (same,) = json.loads(out(olm(daemon.environ, "inspect", by_digest)))
        assert same["id"] == shown["id"]
        done = olm(daemon.environ, "pull", "--locked", "-q", cwd=tmp_path)
        assert (out(done), done.stderr) == (f"{name}\n", b"")

        for project, fixed in (("a", by_digest), ("b", by_digest.replace("@", ":1@"))):
            (tmp_path / project).mkdir()
            out(olm(daemon.environ, "lock", fixed, cwd=tmp_path / project))
            with running_daemon(tmp_path / f"home-{project}") as other:
                out(olm(other.environ, "pull", "--locked", cwd=tmp_path / project))
                (there,) = json.loads(out(olm(other.environ, "inspect", fixed)))
            assert there["id"] == told["digest"]

        wrong = "sha256:" + "0" * 64
        (tmp_path / "olm.lock").write_text(locked.replace(told["digest"], wrong))
        done = olm(daemon.environ, "pull", "--locked", cwd=tmp_path)
        assert done.returncode == 3
        assert wrong in done.stderr.decode()
        (shown,) = json.loads(out(olm(daemon.environ, "inspect", name)))
        assert shown["id"] == told["digest"]
        (tmp_path / "olm.lock").write_text(locked.replace(told["digest"], "sha256:abc"))
        done = olm(daemon.environ, "pull", "--locked", cwd=tmp_path)
        assert done.returncode == 1
        assert "olm.lock" in done.stderr.decode()
