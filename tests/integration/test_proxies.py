"""Registries that are reached through a proxy, and what that proxy gets to see."""

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from olmkit.registry.errors import RemoteError
from olmkit.registry.http.credentials import Credential
from olmkit.registry.http.proxies import is_direct
from olmkit.registry.http.web import RemoteAccess
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.oci.reference import Reference
from olmkit.registry.push import transfer
from olmkit.registry.sources import PullOptions, pull
from olmkit.registry.store.store import Store
from support.forward_proxy import ForwardProxy, forward_proxy
from support.pulling import QUICK
from support.registry import Registry, serving
from support.stores import put_model

HOST = "registry.test"
"""No resolver knows it (RFC 6761): whoever reaches it went through the proxy."""
LOGIN = "ann:se:cret"
PROXY_LOGIN = "bob:hunter2"
WEIGHTS = b"GGUF" + bytes(100_000)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Registry]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    with serving(Registry(login=LOGIN, scheme="basic"), tls=context) as registry:
        yield registry


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    with forward_proxy(names={HOST}, login=PROXY_LOGIN) as proxy:
        yield proxy


def access(proxy: ForwardProxy, tmp_path: Path, authority: trustme.CA | None) -> RemoteAccess:
    ca_bundle = None
    if authority is not None:
        ca_bundle = str(tmp_path / "ca.pem")
        authority.cert_pem.write_to_path(ca_bundle)
    username, _, secret = LOGIN.partition(":")
    return RemoteAccess(
        proxies={"https": proxy.address, "http": proxy.address},
        ca_bundle=ca_bundle,
        find_credential=lambda host, repository: Credential(username=username, secret=secret),
    )


def push_and_pull(name: str, root: Path, how: RemoteAccess, *, insecure: bool = False) -> bytes:
    store, reference = Store(root / "pushing"), Reference.parse(name)
    put_model(store, name, WEIGHTS)
    transfer.push_model(
        store.load(reference),
        store,
        how,
        on_event=lambda event: None,
        cancelled=threading.Event(),
        options=transfer.PushOptions(format="ollama", insecure=insecure),
    )
    other = Store(root / "pulling")
    pulled = pull(
        reference,
        other,
        on_event=lambda event: None,
        cancelled=threading.Event(),
        describe=lambda path: ModelConfig(),
        options=PullOptions(access=how, insecure=insecure),
    )
    return other.blobs.path(pulled.manifest.layers[0].digest).read_bytes()


def test_tls_goes_through_tunnels_and_no_secret_changes_hands(
    secure: Registry, proxy: ForwardProxy, authority: trustme.CA, tmp_path: Path
) -> None:
    name = f"{HOST}:{secure.port}/team/m:1"
    assert push_and_pull(name, tmp_path, access(proxy, tmp_path, authority)) == WEIGHTS
    assert {asked.method for asked in proxy.seen} == {"CONNECT"}
    assert proxy.targets("CONNECT") == {f"{HOST}:{secure.port}"}
    assert not [asked for asked in proxy.seen if "authorization" in asked.headers]
    names = {name.lower() for seen in secure.seen for name in seen.headers}
    assert "authorization" in names
    assert "proxy-authorization" not in names


def test_a_registry_without_a_valid_certificate_is_reached_through_the_proxy_too(
    secure: Registry, proxy: ForwardProxy, tmp_path: Path
) -> None:
    name = f"{HOST}:{secure.port}/team/m:1"
    assert push_and_pull(name, tmp_path, access(proxy, tmp_path, None), insecure=True)
    assert proxy.targets("CONNECT") == {f"{HOST}:{secure.port}"}


def test_plain_http_is_passed_on(proxy: ForwardProxy, tmp_path: Path) -> None:
    with serving() as registry:
        host = f"{HOST}:{registry.port}"
        how = RemoteAccess(proxies={"all": proxy.address}, plain_http_hosts=frozenset({host}))
        assert push_and_pull(f"{host}/team/m:1", tmp_path, how) == WEIGHTS
        assert f"http://{host}/v2/team/m/manifests/1" in proxy.targets("GET")
        assert not [seen for seen in registry.seen if "Proxy-Authorization" in seen.headers]


def test_a_redirect_to_another_host_carries_no_login_through_the_proxy(
    proxy: ForwardProxy, tmp_path: Path
) -> None:
    with serving(Registry(login=LOGIN, scheme="basic", sign_life_s=60)) as registry:
        host = f"{HOST}:{registry.port}"
        how = access(proxy, tmp_path, None)
        how = RemoteAccess(
            proxies=how.proxies,
            find_credential=how.find_credential,
            plain_http_hosts=frozenset({host}),
        )
        assert push_and_pull(f"{host}/team/m:1", tmp_path, how) == WEIGHTS
        elsewhere = [seen for seen in registry.seen if seen.origin == "cdn"]
        assert elsewhere
        assert not [seen for seen in elsewhere if "Authorization" in seen.headers]


def test_this_machine_is_never_reached_through_a_proxy(proxy: ForwardProxy, tmp_path: Path) -> None:
    with serving() as registry:
        how = RemoteAccess(proxies={"all": proxy.address})
        push_and_pull(f"{registry.host}/team/m:1", tmp_path, how)
    assert proxy.seen == []


def refused(how: RemoteAccess, tmp_path: Path) -> str:
    with pytest.raises(RemoteError) as found:
        push_and_pull(f"{HOST}/team/m:1", tmp_path, how)
    return f"{found.value} {found.value.hint} {found.value!r} {how!r}"


def test_a_proxy_that_refuses_is_told_without_its_password(
    proxy: ForwardProxy, tmp_path: Path
) -> None:
    wrong = proxy.address.replace("hunter2", "hunter3")
    text = refused(RemoteAccess(proxies={"https": wrong}, limits=QUICK), tmp_path)
    assert "407" in text
    assert "proxy" in text.lower()
    assert "hunter" not in text


def test_a_proxy_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    how = RemoteAccess(proxies={"https": "http://bob:hunter2@127.0.0.1:1"}, limits=QUICK)
    assert "hunter" not in refused(how, tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        "socks5://bob:hunter2@127.0.0.1:1080",
        "http://bob:hunter2/hunter@127.0.0.1:80",
        "http://bob:hunter2@127.0.0.1:port",
        "http://bob:hunter2@",
        "hunter2",
        "://hunter2",
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(
    address: str, tmp_path: Path
) -> None:
    text = refused(RemoteAccess(proxies={"https": address}), tmp_path)
    assert "proxy for https" in text
    assert "hunter" not in text
    assert "bob" not in text


@pytest.mark.parametrize(
    ("no_proxy", "url", "expected"),
    [
        ("*", "https://ghcr.io/", True),
        ("ghcr.io", "https://ghcr.io/", True),
        ("GHCR.IO", "https://ghcr.io/", True),
        ("ghcr.io", "https://sub.ghcr.io/", True),
        (".ghcr.io", "https://sub.ghcr.io/", True),
        ("*.ghcr.io", "https://sub.ghcr.io/", True),
        ("ghcr.io", "https://notghcr.io/", False),
        ("ghcr.io:443", "https://ghcr.io/", True),
        ("ghcr.io:5000", "https://ghcr.io/", False),
        ("10.0.0.0/8", "https://10.1.2.3/", True),
        ("10.0.0.0/8", "https://11.1.2.3/", False),
        ("10.1.2.3", "https://10.1.2.3:5000/", True),
        ("10.1.2.3:5000", "https://10.1.2.3:5000/", True),
        ("fd00::/8", "https://[fd00::1]/", True),
        ("fd00::1", "https://[fd00::1]/", True),
        ("[fd00::1]:5000", "https://[fd00::1]:5000/", True),
        ("[fd00::1]:5000", "https://[fd00::1]/", False),
        ("", "https://ghcr.io/", False),
        (".", "https://ghcr.io/", False),
        ("", "https://127.0.0.2/", True),
        ("", "https://[::1]/", True),
        ("", "http://box.localhost/", True),
    ],
)
def test_no_proxy_names_hosts_networks_and_ports(no_proxy: str, url: str, expected: bool) -> None:
    assert is_direct(httpx.URL(url), [no_proxy]) is expected
