"""Logins in the files of Docker and Podman: which one counts, and what is broken."""

import base64
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from olmkit.engine.remotes import Remotes
from olmkit.registry.errors import CredentialError
from olmkit.registry.http.credentials import Credential, CredentialStore


def encoded(login: str) -> dict[str, str]:
    return {"auth": base64.b64encode(login.encode()).decode()}


def write(path: Path, **auths: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"auths": auths}))
    return path


def store(tmp_path: Path, **auths: Any) -> CredentialStore:
    return CredentialStore(write(tmp_path / "config.json", **auths))


def user(found: Credential | None) -> str | None:
    return found.username if found else None


@pytest.mark.parametrize(
    "key",
    [
        "ghcr.io",
        "https://ghcr.io",
        "http://ghcr.io",
        "ghcr.io/",
        "https://ghcr.io/v1/",
        "https://ghcr.io/v2/",
    ],
)
def test_every_spelling_of_a_host_is_found(key: str, tmp_path: Path) -> None:
    found = store(tmp_path, **{key: encoded("ann:se:cret")}).find("ghcr.io", "team/m")
    assert found == Credential(username="ann", secret="se:cret")
    assert "cret" not in repr(found)


@pytest.mark.parametrize("host", ["docker.io", "registry-1.docker.io"])
def test_docker_hubs_login_is_found_by_its_old_key(host: str, tmp_path: Path) -> None:
    found = store(tmp_path, **{"https://index.docker.io/v1/": encoded("ann:s")})
    assert user(found.find(host)) == "ann"
    assert found.find("ghcr.io") is None


def test_the_longest_part_of_the_repository_wins(tmp_path: Path) -> None:
    logins = store(
        tmp_path,
        **{
            "quay.io": encoded("host:s"),
            "quay.io/team": encoded("team:s"),
            "quay.io/team/one": encoded("one:s"),
        },
    )
    assert user(logins.find("quay.io", "team/one")) == "one"
    assert user(logins.find("quay.io", "team/two")) == "team"
    assert user(logins.find("quay.io", "teams/two")) == "host"
    assert user(logins.find("quay.io")) == "host"


def test_tokens_go_before_user_and_password(tmp_path: Path) -> None:
    logins = store(
        tmp_path,
        **{
            "a.io": encoded("ann:s") | {"identitytoken": "idem"},
            "b.io": {"registrytoken": "rt", "identitytoken": "idem"},
        },
    )
    identity, registry = logins.find("a.io"), logins.find("b.io")
    assert identity is not None and registry is not None
    assert (identity.secret, identity.is_identity_token) == ("idem", True)
    assert (registry.secret, registry.is_registry_token) == ("rt", True)
    assert not registry.is_identity_token


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b'{"auths": []}',
        b'{"auths": {"a.io": {"auth": "no base64"}}}',
        b'{"auths": {"a.io": {"auth": "YW5u"}}}',
        b'{"auths": {"a.io": {"registrytoken": "two\\nlines"}}}',
    ],
)
def test_what_cannot_be_understood_is_told_with_its_file(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(raw)
    with pytest.raises(CredentialError) as found:
        CredentialStore(path).find("a.io")
    assert str(path) in str(found.value)


@pytest.mark.parametrize("entry", [{}, None, [], {"auth": ""}, {"auth": None}])
def test_an_empty_entry_is_no_login(entry: Any, tmp_path: Path) -> None:
    assert store(tmp_path, **{"a.io": entry}).find("a.io") is None


@pytest.mark.parametrize("raw", [b"", b" \n", b'{"auths": null}', b"{}", b'{"auths": {}}\n{}'])
def test_files_that_hold_nothing_are_no_fault(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(raw)
    logins = CredentialStore(path)
    assert logins.find("a.io") is None
    assert not logins.erase("a.io")
    logins.save("a.io", Credential(username="ann", secret="s"))
    assert user(logins.find("a.io")) == "ann"


def test_an_auth_may_be_split_over_lines(tmp_path: Path) -> None:
    pair = base64.encodebytes(b"ann:" + b"secret" * 30).decode()
    assert pair.count("\n") > 2
    found = store(tmp_path, **{"a.io": {"auth": pair}}).find("a.io")
    assert found is not None
    assert (found.username, found.secret) == ("ann", "secret" * 30)


def test_user_and_password_may_stand_by_themselves(tmp_path: Path) -> None:
    entry = {"username": "ann", "password": "s", "email": "a@b"}
    found = store(tmp_path, **{"a.io": entry}).find("a.io")
    assert found is not None
    assert (found.username, found.secret) == ("ann", "s")


def test_an_identity_token_counts_before_the_empty_password_beside_it(tmp_path: Path) -> None:
    entry = {**encoded("00000000-0000-0000-0000-000000000000:"), "identitytoken": "it"}
    found = store(tmp_path, **{"a.io": entry}).find("a.io")
    assert found is not None
    assert (found.secret, found.is_identity_token) == ("it", True)


def test_what_others_keep_in_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"psFormat": "table", "auths": {"a.io": {"auth": "YTpi"}}}')
    path.chmod(0o640)
    logins = CredentialStore(path)
    logins.save("b.io", Credential(username="ann", secret="s"))
    assert logins.erase("a.io")
    assert not logins.erase("a.io")
    assert json.loads(path.read_text()) == {
        "psFormat": "table",
        "auths": {"b.io": encoded("ann:s")},
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def remotes(tmp_path: Path, **environ: str) -> Remotes:
    return Remotes.from_environment({"HOME": str(tmp_path), **environ})


def test_podmans_files_are_read_after_dockers(tmp_path: Path) -> None:
    runtime = write(tmp_path / "run/containers/auth.json", **{"a.io": encoded("runtime:s")})
    config = {"a.io": encoded("config:s"), "b.io": encoded("config:s")}
    write(tmp_path / ".config/containers/auth.json", **config)
    logins = remotes(tmp_path, XDG_RUNTIME_DIR=str(tmp_path / "run")).credentials
    assert user(logins.find("a.io")) == "runtime"
    assert user(logins.find("b.io")) == "config"
    assert user(remotes(tmp_path).credentials.find("a.io")) == "config"
    write(tmp_path / ".docker/config.json", **{"a.io": encoded("docker:s")})
    assert user(logins.find("a.io")) == "docker"
    assert logins.find("c.io") is None
    runtime.unlink()
    assert user(logins.find("b.io")) == "config"


def test_podmans_variable_names_its_only_file(tmp_path: Path) -> None:
    write(tmp_path / ".config/containers/auth.json", **{"a.io": encoded("config:s")})
    given = write(tmp_path / "given.json", **{"b.io/team": encoded("given:s")})
    logins = remotes(tmp_path, REGISTRY_AUTH_FILE=str(given)).credentials
    assert logins.find("a.io") is None
    assert user(logins.find("b.io", "team/m")) == "given"
    assert logins.find("b.io", "other/m") is None


def test_podmans_files_are_never_written(tmp_path: Path) -> None:
    given = write(tmp_path / "given.json", **{"b.io": encoded("given:s")})
    before = given.read_bytes()
    logins = remotes(tmp_path, REGISTRY_AUTH_FILE=str(given)).credentials
    logins.save("b.io", Credential(username="ann", secret="s"))
    assert user(logins.find("b.io")) == "ann"
    logins.erase("b.io")
    assert given.read_bytes() == before
    assert user(logins.find("b.io")) == "given"
    assert stat.S_IMODE(os.stat(tmp_path / ".docker/config.json").st_mode) == 0o600


def test_proxies_and_hosts_come_from_the_usual_variables(tmp_path: Path) -> None:
    found = remotes(
        tmp_path,
        HTTP_PROXY="http://one:3128",
        https_proxy="two:3128",
        HTTPS_PROXY="http://three:3128",
        NO_PROXY="localhost, .corp ,10.0.0.0/8,",
        OLM_INSECURE_REGISTRIES="Box:5000, other ",
    )
    assert found.proxies == {"http": "http://one:3128", "https": "http://two:3128"}
    assert found.no_proxy == ("localhost", ".corp", "10.0.0.0/8")
    assert found.plain_http_hosts == {"box:5000", "other"}


def test_a_cgi_program_takes_no_proxy_from_a_header(tmp_path: Path) -> None:
    found = remotes(tmp_path, HTTP_PROXY="http://evil:1", REQUEST_METHOD="GET")
    assert found.proxies == {}
