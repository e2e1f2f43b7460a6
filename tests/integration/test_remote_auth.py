"""Registries that want credentials: basic, tokens, split hosts, TLS by a private authority."""

import ssl
import threading
import time
from pathlib import Path

import pytest
import trustme

from olmkit.registry.errors import RemoteError, Unauthorized, Unreachable, Untrusted
from olmkit.registry.http.credentials import Credential
from olmkit.registry.http.remote import RemoteRepository, check_login
from olmkit.registry.http.transferlimits import TransferLimits
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.push import transfer
from olmkit.registry.sources import PullOptions, pull
from olmkit.registry.store.store import Store
from support.daemon import free_port
from support.debian_registry import debian_registry
from support.registry import Fault, Registry, serving
from support.stores import put_model
from support.token_server import token_server

LOGIN = "ann:se:cret"


def access(username: str = "ann", secret: str = "se:cret") -> RemoteAccess:
    credential = Credential(username=username, secret=secret)
    return RemoteAccess(find_credential=lambda host, repository: credential)


def push(host: str, root: Path, how: RemoteAccess, name: str = "team/m") -> Store:
    store = Store(root / "pushing")
    full = f"{host}/{name}:1"
    put_model(store, full, b"GGUF" + bytes(100_000))
    transfer.push_model(
        store.load(Reference.parse(full)),
        store,
        how,
        on_event=lambda event: None,
        cancelled=threading.Event(),
        options=transfer.PushOptions(format="ollama"),
    )
    return store


def pull_back(host: str, root: Path, how: RemoteAccess, *, insecure: bool = False) -> bytes:
    store = Store(root / "pulling")
    pulled = pull(
        Reference.parse(f"{host}/team/m:1"),
        store,
        on_event=lambda event: None,
        cancelled=threading.Event(),
        describe=lambda path: ModelConfig(),
        options=PullOptions(access=how, insecure=insecure),
    )
    return store.blobs.path(pulled.manifest.layers[0].digest).read_bytes()


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_push_and_pull_with_a_login(scheme: str, tmp_path: Path) -> None:
    with serving(Registry(login=LOGIN, scheme=scheme)) as registry:
        push(registry.host, tmp_path, access())
        assert pull_back(registry.host, tmp_path, access()) == b"GGUF" + bytes(100_000)


@pytest.mark.parametrize("scheme", ["basic", "bearer"])
def test_wrong_credentials_are_refused_and_not_told(scheme: str, tmp_path: Path) -> None:
    with serving(Registry(login=LOGIN, scheme=scheme)) as registry:
        with pytest.raises(Unauthorized) as found:
            push(registry.host, tmp_path, access(secret="hunter2"))
        assert "hunter2" not in str(found.value) + str(found.value.hint) + repr(found.value)


def test_one_token_is_fetched_for_many_threads(tmp_path: Path) -> None:
    with serving(Registry(login=LOGIN)) as registry:
        reference = Reference.parse(f"{registry.host}/team/m")
        digest = registry.put_blob(b"x", "team/m")
        with RemoteRepository(reference, access()) as repository:
            threads = [
                threading.Thread(target=repository.has_blob, args=(digest,)) for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(registry.paths("GET", "/token")) == 1


def test_a_token_that_ends_in_the_midst_is_renewed(tmp_path: Path) -> None:
    with serving(Registry(login=LOGIN)) as registry:
        reference = Reference.parse(f"{registry.host}/team/m")
        digest = registry.put_blob(b"x", "team/m")
        with RemoteRepository(reference, access()) as repository:
            assert repository.has_blob(digest)  # type: ignore[arg-type]
            registry.tokens.clear()
            assert repository.has_blob(digest)  # type: ignore[arg-type]
        assert len(registry.paths("GET", "/token")) == 2


def test_a_body_is_sent_again_after_a_401_in_the_midst_of_a_push(tmp_path: Path) -> None:
    with serving(Registry(login=LOGIN)) as registry:
        challenge = f'Bearer realm="http://{registry.host}/token"'
        registry.faults.append(
            Fault("status", method="PUT", status=401, headers={"WWW-Authenticate": challenge})
        )
        push(registry.host, tmp_path, access())


@pytest.mark.parametrize("status", [None, 404, 405])
def test_an_identity_token_works_with_and_without_oauth(status: int | None, tmp_path: Path) -> None:
    token = Credential(username="ann", secret="se:cret", is_identity_token=True)
    how = RemoteAccess(find_credential=lambda host, repository: token)
    with serving(Registry(login=LOGIN, token_refresh_status=status)) as registry:
        push(registry.host, tmp_path, how)
        assert registry.paths("POST", "/token")


@pytest.mark.parametrize("scheme", ["bearer", "basic"])
def test_a_registry_token_is_sent_as_it_is(scheme: str, tmp_path: Path) -> None:
    """Docker's `registrytoken`: whatever the registry asks for, no token server is."""
    token = Credential(username="", secret="handed-over", is_registry_token=True)
    how = RemoteAccess(find_credential=lambda host, repository: token)
    with serving(Registry(login=LOGIN)) as registry:
        scopes = ["repository:team/m:pull,push"]
        registry.tokens["handed-over"] = (time.monotonic() + 60, scopes)
        push(registry.host, tmp_path, how)
        assert pull_back(registry.host, tmp_path, how)
        assert not registry.paths("GET", "/token")
        registry.tokens.clear()
        registry.scheme = scheme
        with pytest.raises(Unauthorized) as found:
            push(registry.host, tmp_path / "again", how)
        assert "handed-over" not in f"{found.value} {found.value.hint} {found.value!r}"


def test_a_foreign_token_server_gets_no_credentials(tmp_path: Path) -> None:
    with serving() as stranger, serving() as registry:
        challenge = f'Bearer realm="http://localhost:{stranger.port}/v2/token"'
        registry.faults.append(
            Fault("status", status=401, times=99, headers={"WWW-Authenticate": challenge})
        )
        with pytest.raises(Exception, match="token server"):
            pull_back(registry.host, tmp_path, access())
        assert stranger.seen
        assert not any("authorization" in seen.headers for seen in stranger.seen)


def test_a_redirect_to_another_port_gets_no_credentials(tmp_path: Path) -> None:
    with serving(Registry(login=LOGIN, scheme="basic", sign_life_s=60)) as registry:
        push(registry.host, tmp_path, access())
        pull_back(registry.host, tmp_path, access())
        assert any(seen.origin == "cdn" for seen in registry.seen)


def test_a_login_is_checked() -> None:
    with serving(Registry(login=LOGIN)) as registry:
        check_login(registry.host, Credential(username="ann", secret="se:cret"), RemoteAccess())
        with pytest.raises(Unauthorized):
            check_login(registry.host, Credential(username="ann", secret="no"), RemoteAccess())


def test_tls_by_a_private_authority(tmp_path: Path) -> None:
    ca = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    bundle = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(bundle))
    with serving(tls=server) as registry:
        push(registry.host, tmp_path, RemoteAccess(ca_bundle=str(bundle)))
        with pytest.raises(Untrusted, match=r"the certificate of 127.0.0.1:\d+ is not trusted"):
            pull_back(registry.host, tmp_path, RemoteAccess())
        pull_back(registry.host, tmp_path, RemoteAccess(), insecure=True)


@pytest.mark.parametrize("content", [None, b"no certificates"])
def test_a_bundle_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(RemoteError, match=r"cannot trust .*ca\.pem: [a-z]"):
        RemoteAccess(ca_bundle=str(bundle)).client()


def test_debians_registry_plain(tmp_path: Path) -> None:
    with debian_registry(tmp_path / "server") as registry:
        store = push(registry.host, tmp_path, RemoteAccess())
        model = store.list()[0]
        assert model.manifest.layers[0].digest in registry.blobs
        assert registry.blob(model.manifest_digest) == model.manifest.raw
        assert pull_back(registry.host, tmp_path, RemoteAccess()) == b"GGUF" + bytes(100_000)


def test_debians_registry_mounts_and_takes_chunks(tmp_path: Path) -> None:
    how = RemoteAccess(limits=TransferLimits(chunk_bytes=30_000))
    with debian_registry(tmp_path / "server") as registry:
        push(registry.host, tmp_path, how)
        push(registry.host, tmp_path, how, "team/other")
        assert pull_back(registry.host, tmp_path, RemoteAccess()) == b"GGUF" + bytes(100_000)


def test_debians_registry_with_htpasswd(tmp_path: Path) -> None:
    with debian_registry(tmp_path / "server", login="ann:se:cret") as registry:
        with pytest.raises(Unauthorized):
            push(registry.host, tmp_path, RemoteAccess())
        push(registry.host, tmp_path, access())
        assert pull_back(registry.host, tmp_path, access()) == b"GGUF" + bytes(100_000)


def test_debians_registry_over_tls(tmp_path: Path) -> None:
    with debian_registry(tmp_path / "server", ca=trustme.CA()) as registry:
        how = RemoteAccess(ca_bundle=registry.ca_bundle)
        push(registry.host, tmp_path, how)
        assert pull_back(registry.host, tmp_path, how) == b"GGUF" + bytes(100_000)


def test_debians_registry_behind_a_token_server(tmp_path: Path) -> None:
    with (
        token_server(tmp_path / "tokens", login=LOGIN) as tokens,
        debian_registry(
            tmp_path / "debian",
            token_realm=tokens.realm,
            token_certificate=tokens.certificate,
        ) as registry,
    ):
        for how in (RemoteAccess(), access(secret="hunter2")):
            with pytest.raises(Unauthorized) as found:
                push(registry.host, tmp_path, how)
            assert "hunter2" not in str(found.value) + str(found.value.hint)
        assert registry.blobs == []
        tokens.asked.clear()
        push(registry.host, tmp_path, access())
        assert len(tokens.asked) == 1  # one token does for the whole push
        assert "repository:team/m:pull,push" in tokens.asked[0]["scope"]
        assert pull_back(registry.host, tmp_path, access()) == b"GGUF" + bytes(100_000)


def test_a_mount_behind_a_token_server_asks_for_both_repositories(tmp_path: Path) -> None:
    with (
        token_server(tmp_path / "tokens", login=LOGIN) as tokens,
        debian_registry(
            tmp_path / "debian",
            token_realm=tokens.realm,
            token_certificate=tokens.certificate,
        ) as registry,
    ):
        push(registry.host, tmp_path, access())
        tokens.asked.clear()
        push(registry.host, tmp_path, access(), "team/again")
        assert "repository:team/m:pull" in tokens.asked[0]["scope"]


def test_a_token_that_the_registry_no_longer_takes_is_renewed(tmp_path: Path) -> None:
    with (
        token_server(tmp_path / "tokens", life_s=1) as tokens,
        debian_registry(
            tmp_path / "debian",
            token_realm=tokens.realm,
            token_certificate=tokens.certificate,
        ) as registry,
    ):
        push(registry.host, tmp_path, RemoteAccess())
        reference = Reference.parse(f"{registry.host}/team/m")
        with RemoteRepository(reference, RemoteAccess()) as repository:
            assert repository.get_manifest("1").digest
            count = len(tokens.asked)
            time.sleep(1.2)
            assert repository.get_manifest("1").digest
            assert len(tokens.asked) == count + 1


def test_a_host_that_cannot_be_reached_is_told_with_its_port(tmp_path: Path) -> None:
    host = f"127.0.0.1:{free_port()}"
    with pytest.raises(Unreachable, match=f"cannot reach {host}: Connection refused"):
        pull_back(host, tmp_path, RemoteAccess())
