"""A daemon at an https address: real handshakes, with certificates of an authority of the test's.

The daemon has its own private door beside it, so clients here have another home, as those of other
users and machines have.
"""

import asyncio
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import openai
import pytest
import trustme
import uvloop

from olmkit.engine.addresses.address import Address
from olmkit.engine.addresses.certificates import ServedCertificate, TlsFiles
from olmkit.engine.addresses.tlsdoor import TlsDoor
from olmkit.engine.client import Client
from olmkit.engine.client.clienttls import ClientTls
from olmkit.engine.client.http1 import ConnectionBroken
from olmkit.engine.diagnosis.tlsstate import find_tls
from olmkit.engine.errors import ApiError, DaemonNotRunning, DaemonUntrusted
from olmkit.engine.settings import Settings
from support import models
from support.daemon import Daemon, free_port, running_daemon, start_daemon, wait_until
from support.nobody import as_nobody
from support.olm import OLM, daemons, olm, out

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """An authority, and the folder with its files."""

    ca: trustme.CA
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, *identities: str, ca: trustme.CA | None = None) -> dict[str, str]:
        """Files of a new certificate: the variables that name them."""
        issued = (ca or self.ca).issue_cert(*identities)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        # As tools that renew certificates do it: written beside, and put in place.
        key.with_suffix(".new").touch(mode=0o600)
        issued.private_key_pem.write_to_path(str(key.with_suffix(".new")))
        key.with_suffix(".new").replace(key)
        certificate.with_suffix(".new").write_bytes(issued.cert_chain_pems[0].bytes())
        certificate.with_suffix(".new").replace(certificate)
        return {"OLM_TLS_CERT": str(certificate), "OLM_TLS_KEY": str(key)}


def new_authority(folder: Path) -> Authority:
    made = Authority(ca=trustme.CA(), folder=folder)
    made.ca.cert_pem.write_to_path(str(made.file))
    return made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def daemon(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    port = free_port()
    environ = {
        "OLM_HOST": f"https://127.0.0.1:{port}",
        "OLM_STALL_TIMEOUT": "2s",
        **authority.issue("server", "127.0.0.1", "localhost"),
    }
    with running_daemon(
        tmp_path_factory.mktemp("tls") / "home", port=port, environ=environ
    ) as running:
        modelfile = f"FROM {models.smollm2()}\nPARAMETER num_ctx 512\n"
        known = running.environ | environ
        out(olm(known, "create", "smol", "-f", "-", stdin=modelfile))
        yield running


def address_of(daemon: Daemon, host: str = "127.0.0.1") -> Address:
    return Address(scheme="https", host=host, port=daemon.port)


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.file))


def secured(daemon: Daemon, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", daemon.port), timeout=60)
    return context.wrap_socket(plain, server_hostname="localhost")


def elsewhere(daemon: Daemon, tmp_path: Path) -> dict[str, str]:
    """Variables of somebody who has not got the daemon's home."""
    return {"OLM_HOST": f"https://127.0.0.1:{daemon.port}", "OLM_HOME": str(tmp_path / "other")}


def test_tls_is_spoken_in_a_version_that_is_safe(daemon: Daemon, authority: Authority) -> None:
    context = trusting(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with secured(daemon, context) as secure:
        assert secure.version() == "TLSv1.3"
        assert secure.selected_alpn_protocol() == "http/1.1"
        secure.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert secure.recv(12) == b"HTTP/1.1 200"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with secured(daemon, context) as secure:
        assert secure.version() == "TLSv1.2"


def test_a_released_client_streams_a_chat(daemon: Daemon, authority: Authority) -> None:
    http = openai.DefaultHttpxClient(verify=trusting(authority))
    with openai.OpenAI(
        base_url=f"https://localhost:{daemon.port}/v1", api_key="none", http_client=http
    ) as client:
        pieces = list(
            client.chat.completions.create(
                model="smol",
                messages=[{"role": "user", "content": "Count to ten."}],
                max_tokens=6,
                temperature=0,
                stream=True,
            )
        )
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert pieces[-1].choices[0].finish_reason == "length"


def test_a_large_body_and_a_large_answer_go_through(daemon: Daemon, authority: Authority) -> None:
    text = "word " * 200_000
    with httpx.Client(verify=trusting(authority), timeout=120) as client:
        body = {
            "model": "smol",
            "messages": [{"role": "user", "content": text}],
            "_debug_render_only": True,
            "truncate": False,
            "stream": False,
        }
        answer = client.post(f"https://127.0.0.1:{daemon.port}/api/chat", json=body)
    assert text.strip() in answer.json()["_debug_info"]["rendered_template"]


def test_a_client_that_leaves_ends_its_answer(daemon: Daemon, authority: Authority) -> None:
    url = f"https://127.0.0.1:{daemon.port}"
    endless = {"model": "smol", "prompt": "Go on.", "options": {"num_predict": -1}}
    endless["format"] = {"type": "array", "items": {"type": "integer"}, "minItems": 10_000}
    with httpx.Client(verify=trusting(authority), timeout=120) as client:

        def cancelled() -> bool:
            lines = client.get(f"{url}/metrics").text.splitlines()
            return any("olm_completions_total" in line and "cancelled" in line for line in lines)

        assert not cancelled()
        with client.stream("POST", f"{url}/api/generate", json=endless) as answer:
            next(answer.iter_bytes())
        wait_until(cancelled, timeout_s=60, what="the end of the answer")


@pytest.mark.parametrize(
    "request_", [b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n", b"hello?\r\n"]
)
def test_who_speaks_plainly_is_told_so(daemon: Daemon, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=60) as plain:
        plain.sendall(request_)
        plain.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: plain.recv(65536), b""))
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["code"] == "tls_required"
    assert "https://" in json.loads(body)["hint"]


def test_a_long_request_without_tls_hears_the_answer_too(daemon: Daemon) -> None:
    answer = httpx.post(f"http://127.0.0.1:{daemon.port}/api/chat", content=b"x" * 8_000_000)
    assert answer.json()["code"] == "tls_required"


def test_our_own_client_says_what_is_wrong_with_the_address(daemon: Daemon) -> None:
    plain = Client(Address(host="127.0.0.1", port=daemon.port))
    with pytest.raises(ApiError, match="without TLS") as caught:
        plain.version()
    assert "https://" in str(caught.value.hint)


def test_a_plain_daemon_is_told_from_one_with_tls(tmp_path: Path) -> None:
    with running_daemon(tmp_path / "plain") as plain:
        with pytest.raises(DaemonUntrusted, match="speaks no TLS") as caught:
            Client(address_of(plain)).version()
        assert f"http://127.0.0.1:{plain.port}" in str(caught.value.hint)


def test_a_certificate_is_checked_and_nothing_turns_that_off(
    daemon: Daemon, authority: Authority
) -> None:
    with pytest.raises(
        DaemonUntrusted, match="is not trusted: unable to get local issuer"
    ) as caught:
        Client(address_of(daemon)).version()
    assert "OLM_CA_BUNDLE" in str(caught.value.hint)
    trusted = ClientTls(ca_bundle=str(authority.file))
    assert Client(address_of(daemon), tls=trusted).version()
    assert Client(address_of(daemon, "localhost"), tls=trusted).version()
    with pytest.raises(DaemonUntrusted, match="cannot trust /nowhere: no such file"):
        Client(address_of(daemon), tls=ClientTls(ca_bundle="/nowhere")).version()


def test_commands_trust_who_is_named_and_say_how_to(
    daemon: Daemon, authority: Authority, tmp_path: Path
) -> None:
    environ = elsewhere(daemon, tmp_path)
    done = olm(environ, "ls")
    assert done.returncode == 5
    assert b"is not trusted" in done.stderr
    assert b"OLM_CA_BUNDLE" in done.stderr
    for variable in ("OLM_CA_BUNDLE", "SSL_CERT_FILE"):
        assert "smol" in out(olm(environ | {variable: str(authority.file)}, "ls"))
    shown = out(olm(environ | {"OLM_CA_BUNDLE": str(authority.file)}, "version"))
    assert f"(https://127.0.0.1:{daemon.port})" in shown


def test_curl_talks_to_it(daemon: Daemon, authority: Authority) -> None:
    url = f"https://localhost:{daemon.port}/api/version"
    said = subprocess.check_output(("curl", "-sS", "--cacert", str(authority.file), url))
    assert "version" in json.loads(said)


def test_agents_are_told_the_address_and_whom_to_trust(
    daemon: Daemon, authority: Authority, tmp_path: Path
) -> None:
    environ = elsewhere(daemon, tmp_path) | {"OLM_CA_BUNDLE": str(authority.file)}
    environ |= {"HOME": str(tmp_path / "user")}
    out(olm(environ, "launch", "claude", "--model", "smol", "--config-only"))
    settings = json.loads((tmp_path / "user/.claude/settings.json").read_text())
    assert settings["env"]["ANTHROPIC_BASE_URL"] == f"https://127.0.0.1:{daemon.port}"
    assert settings["env"]["NODE_EXTRA_CA_CERTS"] == str(authority.file)


def test_the_private_door_of_a_daemon_with_tls_needs_none(daemon: Daemon) -> None:
    door = daemon.home / "run" / f"{daemon.netloc}.sock"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(door))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_the_bounds_of_connections_hold_behind_tls(daemon: Daemon, authority: Authority) -> None:
    def answer(request: bytes) -> bytes:
        with secured(daemon, trusting(authority)) as secure:
            secure.sendall(request)
            return b"".join(iter(lambda: secure.recv(65536), b""))

    assert b" 431 " in answer(b"GET / HTTP/1.1\r\n" + b"X: aaaaa\r\n" * 7_000)
    assert b" 408 " in answer(b"GET / HTT")


def test_who_never_ends_a_handshake_is_let_go(daemon: Daemon) -> None:
    for beginning in (b"", b"\x16\x03\x01"):
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=60) as silent:
            silent.sendall(beginning)
            assert silent.recv(100) == b""


def test_too_many_handshakes_end_the_oldest_and_nobody_else(authority: Authority) -> None:
    names = authority.issue("door", "localhost")
    files = TlsFiles(certificate=Path(names["OLM_TLS_CERT"]), key=Path(names["OLM_TLS_KEY"]))

    def shake_hands(address: tuple[str, int]) -> None:
        with socket.create_connection(address, timeout=60) as plain:
            trusting(authority).wrap_socket(plain, server_hostname="localhost").close()

    async def crowd() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
            listener.setblocking(False)
            certificate = ServedCertificate(files)
            door = TlsDoor(
                listener, certificate, asyncio.Protocol, greeting_s=600, most_greetings=2
            )
            door.open()
            address = listener.getsockname()
            silent = [socket.create_connection(address, timeout=60) for _ in range(3)]
            for each in silent:
                stack.enter_context(each)
            assert await asyncio.to_thread(silent[0].recv, 1) == b""
            await asyncio.to_thread(shake_hands, address)
            assert await asyncio.to_thread(silent[1].recv, 1) == b""
            door.close()
            assert await asyncio.to_thread(silent[2].recv, 1) == b""

    uvloop.run(crowd())


def test_a_handshake_of_garbage_costs_nobody_else(daemon: Daemon, authority: Authority) -> None:
    with socket.create_connection(("127.0.0.1", daemon.port), timeout=60) as rude:
        rude.sendall(b"\x16" * 1000)
        rude.recv(100)
        trusted = ClientTls(ca_bundle=str(authority.file))
        assert Client(address_of(daemon), tls=trusted).version()


def test_a_renewed_certificate_is_shown_from_the_next_connection_on(
    daemon: Daemon, authority: Authority
) -> None:
    def shown() -> Any:
        with secured(daemon, trusting(authority)) as secure:
            found = secure.getpeercert()
            assert found is not None
            return found["serialNumber"]

    before = shown()
    authority.issue("server", "127.0.0.1", "localhost")
    assert shown() != before
    assert "another certificate" in daemon.log


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that other users may search, unlike those above `tmp_path`."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_clients_need_a_certificate_where_one_is_asked_for(tmp_path: Path, public: Path) -> None:
    authority, others = new_authority(public), trustme.CA()
    port = free_port()
    environ = {
        "OLM_HOST": f"https://0.0.0.0:{port}",
        "OLM_TLS_CLIENT_CA": str(authority.file),
        **authority.issue("server", "127.0.0.1"),
    }
    mine, foreign = authority.issue("me", "me"), authority.issue("them", "them", ca=others)

    def client(variables: dict[str, str], *, host: str = "127.0.0.1") -> Client:
        tls = ClientTls(
            ca_bundle=str(authority.file),
            certificate=Path(variables["OLM_TLS_CERT"]) if variables else None,
            key=Path(variables["OLM_TLS_KEY"]) if variables else None,
        )
        return Client(Address(scheme="https", host=host, port=port), tls=tls)

    # Other machines reach it, and it has no key: the certificate is what it asks for.
    with running_daemon(tmp_path / "home", port=port, environ=environ):
        assert client(mine).version()
        for strange in ({}, foreign):
            with pytest.raises(ConnectionBroken) as caught:
                client(strange).version()
            assert "asks for a certificate" in str(caught.value.hint)
        with pytest.raises(DaemonUntrusted, match=r"not trusted: .*'localhost'"):
            client(mine, host="localhost").version()
        key = Path(mine["OLM_TLS_KEY"])
        key.chmod(0)
        with as_nobody(), pytest.raises(ConnectionBroken) as caught:
            client(mine).version()
        assert f"{key} cannot be read: permission denied" in str(caught.value.hint)


def test_a_key_that_a_user_may_not_read_is_not_missed_where_none_is_asked_for(
    daemon: Daemon, authority: Authority, public: Path
) -> None:
    shutil.copy(authority.file, public / "ca.pem")
    files = Authority(ca=authority.ca, folder=public).issue("me", "me")
    certificate, key = Path(files["OLM_TLS_CERT"]), Path(files["OLM_TLS_KEY"])
    tls = ClientTls(ca_bundle=str(public / "ca.pem"), certificate=certificate, key=key)
    client = Client(address_of(daemon), tls=tls)
    version = client.version()
    for shut in (key, certificate):
        shut.chmod(0)
        with as_nobody():
            assert client.version() == version


@pytest.mark.parametrize("is_exposed", [True, False])
def test_a_daemon_that_cannot_show_a_certificate_does_not_start(
    tmp_path: Path, is_exposed: bool
) -> None:
    host = "0.0.0.0" if is_exposed else "127.0.0.1"
    environ = {"OLM_HOST": f"https://{host}:{free_port()}", "OLM_INSECURE": "1"}
    daemon = start_daemon(tmp_path / "home", environ=environ)
    assert daemon.process.wait(60) != 0
    assert "needs a certificate" in daemon.log
    assert "OLM_TLS_CERT" in daemon.log


def test_a_command_starts_a_daemon_with_tls(authority: Authority, tmp_path: Path) -> None:
    environ = {
        "OLM_HOST": f"https://127.0.0.1:{free_port()}",
        "OLM_HOME": str(tmp_path / "home"),
        **authority.issue("started", "127.0.0.1"),
    }
    # Names of files are as the shell has them, wherever the daemon is started.
    relative = {
        name: os.path.relpath(file, tmp_path) for name, file in environ.items() if "TLS" in name
    }
    try:
        out(olm(environ | relative, "ls", cwd=tmp_path))
        assert len(daemons(tmp_path / "home")) == 1
        trusted = ClientTls(ca_bundle=str(authority.file))
        port = int(environ["OLM_HOST"].rpartition(":")[2])
        assert Client(Address(scheme="https", port=port), tls=trusted).models() == []
    finally:
        out(olm(environ, "serve", "--stop"))


def test_a_proxy_of_this_machine_is_not_taken_for_a_daemon_to_start(tmp_path: Path) -> None:
    environ = {"OLM_HOST": f"https://127.0.0.1:{free_port()}", "OLM_HOME": str(tmp_path / "home")}
    done = olm(environ, "ls")
    assert done.returncode == 5
    assert b"cannot connect to the daemon at https://" in done.stderr
    assert daemons(tmp_path / "home") == []


def test_info_and_doctor_tell_of_the_certificate(authority: Authority, tmp_path: Path) -> None:
    environ = {
        "OLM_HOST": f"https://127.0.0.1:{free_port()}",
        "OLM_HOME": str(tmp_path / "home"),
        **authority.issue("doctor", "127.0.0.1", "models.example"),
    }
    found = find_tls(Settings.from_environment(environ))
    assert found is not None
    assert (found.failure, found.names) == ("", ("127.0.0.1", "models.example"))
    rows = [" ".join(line.split()) for line in out(olm(environ, "info")).splitlines()]
    assert (
        f"certificate {found.path} 127.0.0.1, models.example until {found.expires_at[:10]}" in rows
    )
    Path(environ["OLM_TLS_KEY"]).chmod(0o644)
    done = olm(environ, "doctor", "--json")
    checks = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    assert checks["certificate"]["verdict"] == "failed"
    assert "others may read the key" in checks["certificate"]["text"]


def test_a_service_is_given_the_files_by_their_whole_paths(
    authority: Authority, tmp_path: Path
) -> None:
    environ = {
        "OLM_HOST": "https://127.0.0.1:18433",
        "OLM_HOME": str(tmp_path / "home"),
        **authority.issue("service", "127.0.0.1"),
    }
    given = environ | {"OLM_TLS_KEY": os.path.relpath(environ["OLM_TLS_KEY"], tmp_path)}
    text = out(olm(given, "export", "m", "--to", "systemd", "--port", "18434", cwd=tmp_path))
    assert "OLM_HOST=https://127.0.0.1:18434" in text
    assert f"OLM_TLS_CERT={environ['OLM_TLS_CERT']}" in text
    assert f"OLM_TLS_KEY={environ['OLM_TLS_KEY']}" in text
    assert f"ExecStart={OLM} serve" in text


def test_nobody_listens_at_an_https_address_is_said_as_elsewhere() -> None:
    with pytest.raises(DaemonNotRunning, match="cannot connect to the daemon at https://"):
        Client(Address(scheme="https", port=free_port())).version()
