"""Debian's `docker-registry` (distribution 2.8) as a process of its own.

    with debian_registry(tmp_path) as registry:
        registry.host    # 127.0.0.1:PORT

Found on the PATH, else taken out of Debian's package, which apt downloads once into the checkout's
cache.
"""

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from support.daemon import free_port

CACHE = Path(__file__).resolve().parents[2] / ".cache" / "debian"
READY_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class DebianRegistry:
    """A running registry."""

    host: str
    root: Path
    ca_bundle: str | None = None

    @property
    def blobs(self) -> list[str]:
        """The digests of all blobs it has."""
        found = self.root.glob("docker/registry/v2/blobs/sha256/*/*")
        return sorted(f"sha256:{path.name}" for path in found)

    def blob(self, digest: str) -> bytes:
        hexadecimal = digest.removeprefix("sha256:")
        folder = self.root / "docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal
        return (folder / "data").read_bytes()


def program(name: str, package: str) -> str:
    """The path of a program of a Debian package; a failed test where it cannot be had."""
    found = shutil.which(name)
    if found is not None:
        return found
    unpacked = CACHE / package / "usr" / "bin" / name
    if not unpacked.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["apt-get", "download", package], cwd=CACHE, capture_output=True, check=False
        )
        archives = sorted(CACHE.glob(f"{package}_*.deb"))
        if done.returncode or not archives:
            pytest.fail(f"apt has no {package}; try apt-get update")
        subprocess.run(["dpkg", "-x", str(archives[-1]), str(CACHE / package)], check=True)
    return str(unpacked)


@contextmanager
def debian_registry(
    folder: Path,
    *,
    login: str | None = None,
    ca: trustme.CA | None = None,
    token_realm: str | None = None,
    token_certificate: Path | None = None,
) -> Iterator[DebianRegistry]:
    """The registry with its files in `folder`; with a `login`, by htpasswd."""
    port, root = free_port(), folder / "registry"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "version: 0.1",
        "log: {level: error, accesslog: {disabled: true}}",
        f"storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}",
        "http:",
        f"  addr: 127.0.0.1:{port}",
    ]
    ca_bundle = None
    if ca is not None:
        certificate = ca.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
        with open(folder / "certificate.pem", "wb") as file:
            for blob in certificate.cert_chain_pems:
                file.write(blob.bytes())
        ca_bundle = str(folder / "ca.pem")
        ca.cert_pem.write_to_path(ca_bundle)
        lines.append(f"  tls: {{certificate: {folder}/certificate.pem, key: {folder}/key.pem}}")
    if login is not None:
        (folder / "htpasswd").write_text(htpasswd(login))
        lines.append(f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}")
    if token_realm is not None:
        lines.append(
            f"auth: {{token: {{realm: '{token_realm}', service: test, issuer: tests, "
            f"rootcertbundle: {token_certificate}}}}}"
        )
    (folder / "config.yml").write_text("\n".join(lines) + "\n")
    command = [program("docker-registry", "docker-registry"), "serve", str(folder / "config.yml")]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        scheme = "http" if ca is None else "https"
        _wait(process, f"{scheme}://127.0.0.1:{port}/v2/", folder / "log")
        yield DebianRegistry(f"127.0.0.1:{port}", root, ca_bundle)
    finally:
        process.terminate()
        process.wait(10)


def htpasswd(login: str) -> str:
    """A line with the password hashed by bcrypt, the only form the registry takes."""
    user, _, password = login.partition(":")
    salt = "$2y$04$" + "olm" * 7 + "u"
    done = subprocess.run(
        ["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, salt],  # libcrypt has it
        capture_output=True,
        check=True,
        text=True,
    )
    return f"{user}:{done.stdout}\n"


def _wait(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while True:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            return  # 401
        except OSError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                return
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.02)
