"""Certificates of the daemon: what is refused, with which words, and what is taken up later."""

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from olmkit.engine.addresses.address import parse_address
from olmkit.engine.addresses.certificates import (
    ServedCertificate,
    TlsFiles,
    read_certificate,
    served_certificate,
)
from olmkit.engine.errors import DaemonError
from olmkit.engine.settings import Settings

AUTHORITY = trustme.CA()
NOW = datetime.now(UTC)


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return written(tmp_path, AUTHORITY.issue_cert("models.example", "10.0.0.1"))


def written(folder: Path, issued: trustme.LeafCert) -> TlsFiles:
    """The certificate and its key, in two files."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.touch(mode=0o600)
    key.write_bytes(issued.private_key_pem.bytes())
    return TlsFiles(certificate=certificate, key=key)


def refused(files: TlsFiles) -> str:
    """What is said of files that cannot be used."""
    with pytest.raises(DaemonError) as caught:
        ServedCertificate(files)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return str(caught.value)


def test_a_certificate_and_its_key_are_taken(files: TlsFiles) -> None:
    context = ServedCertificate(files).context()
    assert context.minimum_version.name == "TLSv1_2"
    found = read_certificate(files.certificate)
    assert found.names == ("models.example", "10.0.0.1")
    assert found.begins_at < NOW < found.expires_at


def test_both_may_be_in_one_file(files: TlsFiles) -> None:
    one = files.certificate.with_name("both.pem")
    one.touch(mode=0o600)
    one.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
    ServedCertificate(TlsFiles(certificate=one, key=one))


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_a_file_that_is_missing_is_named(files: TlsFiles, which: str) -> None:
    path: Path = getattr(files, which)
    path.unlink()
    assert refused(files) == f"cannot read {path}: no such file or directory"
    path.mkdir()
    assert refused(files) == f"{path} is no file"


@pytest.mark.parametrize("which", ["certificate", "key"])
def test_a_file_that_is_something_else_is_named(files: TlsFiles, which: str) -> None:
    path: Path = getattr(files, which)
    path.write_text("hello")
    assert str(path) in refused(files)
    assert "in PEM" in refused(files)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_is_refused(files: TlsFiles, mode: int) -> None:
    files.key.chmod(mode)
    assert refused(files) == f"others may read the key {files.key} (mode {mode:04o})"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_key_of_another_user_is_refused(files: TlsFiles) -> None:
    os.chown(files.key, 12345, -1)
    assert refused(files) == f"the key {files.key} belongs to another user"


def test_a_key_of_another_certificate_is_refused(files: TlsFiles, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    key = written(other, AUTHORITY.issue_cert("other.example")).key
    said = refused(TlsFiles(certificate=files.certificate, key=key))
    assert said == f"the key {key} is not that of the certificate {files.certificate}"


def test_nobody_is_asked_for_the_password_of_a_key(files: TlsFiles) -> None:
    encrypted = files.key.with_name("encrypted.pem")
    command = ["openssl", "pkey", "-aes256", "-passout", "pass:x", "-in", str(files.key)]
    encrypted.touch(mode=0o600)
    subprocess.run([*command, "-out", str(encrypted)], check=True, capture_output=True)
    assert "has a password" in refused(TlsFiles(certificate=files.certificate, key=encrypted))


def test_a_certificate_in_der_is_told_how_to_become_pem(files: TlsFiles) -> None:
    der = files.certificate.with_name("cert.der")
    command = ["openssl", "x509", "-in", str(files.certificate), "-outform", "der"]
    der.write_bytes(subprocess.check_output(command))
    with pytest.raises(DaemonError, match="holds no certificate in PEM") as caught:
        read_certificate(der)
    made = subprocess.check_output(str(caught.value.hint).split("`")[1].split())
    assert made == files.certificate.read_bytes()


def test_a_certificate_out_of_its_time_is_refused(tmp_path: Path) -> None:
    old = AUTHORITY.issue_cert("a.example", not_after=NOW - timedelta(days=1))
    assert "expired on" in refused(written(tmp_path, old))
    new = AUTHORITY.issue_cert("a.example", not_before=NOW + timedelta(days=2))
    assert "is not valid before" in refused(written(tmp_path, new))


def test_authorities_of_clients_that_are_none_are_refused(files: TlsFiles) -> None:
    none = files.key.with_name("ca.pem")
    none.write_text("hello")
    given = TlsFiles(certificate=files.certificate, key=files.key, client_ca=none)
    assert f"cannot use the authorities of {none}" in refused(given)


def test_a_key_is_taken_up_once_others_may_not_read_it(files: TlsFiles) -> None:
    served = ServedCertificate(files)
    before = served.context()
    renewed = files.key.parent / "renewed"
    renewed.mkdir()
    new = written(renewed, AUTHORITY.issue_cert("models.example"))
    new.key.chmod(0o644)
    new.key.replace(files.key)
    new.certificate.replace(files.certificate)
    assert served.context() is before
    files.key.chmod(0o600)
    assert served.context() is not before


def test_files_that_change_are_taken_up_once_they_fit(files: TlsFiles) -> None:
    served = ServedCertificate(files)
    before = served.context()
    assert served.context() is before
    renewed = files.key.parent / "renewed"
    renewed.mkdir()
    new = written(renewed, AUTHORITY.issue_cert("models.example"))
    new.certificate.replace(files.certificate)
    assert served.context() is before  # the key is still that of the old one
    new.key.replace(files.key)
    after = served.context()
    assert after is not before
    files.key.unlink()
    assert served.context() is after


def test_a_certificate_that_nobody_would_be_shown_is_refused(files: TlsFiles) -> None:
    settings = Settings(tls_certificate=files.certificate, tls_key=files.key)
    assert served_certificate(settings) is None  # what loopback carries crosses no network
    exposed = Settings(
        address=parse_address("0.0.0.0:1"), tls_certificate=files.certificate, tls_key=files.key
    )
    with pytest.raises(DaemonError, match="is served without TLS") as caught:
        served_certificate(exposed)
    assert "OLM_HOST=https://0.0.0.0:1" in str(caught.value.hint)


def test_an_https_address_needs_a_certificate() -> None:
    with pytest.raises(DaemonError, match="needs a certificate"):
        served_certificate(Settings(address=parse_address("https://127.0.0.1:1")))


def test_a_certificate_for_clients_stands_in_for_keys(files: TlsFiles) -> None:
    address = parse_address("https://0.0.0.0:1")
    assert Settings(address=address).is_exposed
    assert not Settings(address=address, tls_client_ca=files.certificate).is_exposed
    plain = parse_address("http://0.0.0.0:1")
    assert Settings(address=plain, tls_client_ca=files.certificate).is_exposed
