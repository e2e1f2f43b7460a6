"""The certificate of the daemon: its files checked, and read again when they change.

A key that others may read is refused, as OpenSSH and PostgreSQL refuse it; root's may be read by
its group, through which a daemon of another user gets it.
Source: https://www.postgresql.org/docs/current/ssl-tcp.html
"""

import logging
import os
import ssl
import stat
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from olmkit.engine.errors import DaemonError
from olmkit.engine.settings import Settings
from olmkit.registry.http.trust import reason_of

if TYPE_CHECKING:
    from cryptography import x509  # nine megabytes, which only TLS has need of

MAX_PEM_BYTES: Final = 1 << 20
SOON: Final = timedelta(days=14)
"""Time in which a certificate should be replaced."""
_WHERE: Final = "OLM_TLS_CERT names the file of the certificate, OLM_TLS_KEY that of its key"

Stamp = tuple[int, int, int, int]
"""Inode, size, and when content and metadata changed."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """Where the certificate of this side is, and whom the other side must be signed by."""

    certificate: Path
    key: Path
    """The certificate's own file where both are in one."""
    client_ca: Path | None = None
    """Authorities of clients; None: clients need no certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate says of itself."""

    names: tuple[str, ...]
    """Host names and addresses that it is for."""
    begins_at: datetime
    expires_at: datetime

    def ends_soon(self, now: datetime) -> bool:
        """Whether it should be replaced by now."""
        return self.expires_at - now < SOON


def tls_files(settings: Settings) -> TlsFiles:
    """The files for a daemon at an https address.

    Raises:
        DaemonError: no certificate is set.
    """
    if settings.tls_certificate is None:
        raise DaemonError(
            f"{settings.address.url} needs a certificate",
            hint=_WHERE,
        )
    return TlsFiles(
        certificate=settings.tls_certificate,
        key=settings.tls_key or settings.tls_certificate,
        client_ca=settings.tls_client_ca,
    )


def read_certificate(path: Path) -> Certificate:
    """The first certificate of a file, the one that is shown for this side.

    Raises:
        DaemonError: the file cannot be read, or holds none in PEM.
    """
    from cryptography import x509

    try:
        # Only the first: others are of the authorities between it and the root.
        found = x509.load_pem_x509_certificates(_read_pem(path)[0])[0]
        names = _names(found)
    except ValueError as error:
        raise DaemonError(
            f"{path} holds no certificate in PEM",
            hint=f"`openssl x509 -inform der -in {path}` writes one that is in DER as PEM",
        ) from error
    return Certificate(
        names=names, begins_at=found.not_valid_before_utc, expires_at=found.not_valid_after_utc
    )


def _names(certificate: "x509.Certificate") -> tuple[str, ...]:
    """Clients look at these alone (RFC 9525, section 6)."""
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return ()
    kinds = (x509.DNSName, x509.IPAddress)
    return tuple(str(name.value) for name in found.value if isinstance(name, kinds))


def check_validity(certificate: Certificate, path: Path, now: datetime) -> None:
    """Raises: DaemonError, the certificate is too old or too new for clients to take it now."""
    if certificate.expires_at < now:
        raise DaemonError(
            f"the certificate {path} expired on {certificate.expires_at:%Y-%m-%d}",
            hint="put a new one in its place",
        )
    if certificate.begins_at > now:
        raise DaemonError(
            f"the certificate {path} is not valid before {certificate.begins_at:%Y-%m-%d}",
            hint="see that the clock of this machine is right",
        )


def load_context(files: TlsFiles) -> ssl.SSLContext:
    """A context for the daemon's side, of TLS 1.2 and later.

    Raises:
        DaemonError: a file cannot be used; names it.
    """
    _check_key(files.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key, password=_refuse_to_ask)
    except (OSError, ValueError) as error:
        if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
            raise DaemonError(
                f"the key {files.key} is not that of the certificate {files.certificate}",
                hint=_WHERE,
            ) from error
        raise DaemonError(
            f"cannot use the key {files.key} with {files.certificate}: {reason_of(error)}",
            hint=_WHERE,
        ) from error
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(cafile=files.client_ca)
        except (OSError, ValueError) as error:
            raise DaemonError(
                f"cannot use the authorities of {files.client_ca}: {reason_of(error)}",
                hint="OLM_TLS_CLIENT_CA names a file of certificates in PEM",
            ) from error
    return context


class ServedCertificate:
    """The certificate that a daemon shows now; one that replaces it is taken up."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises: DaemonError, the files cannot be used, or the certificate is not valid now."""
        self._files = files
        self._stamps = _stamps(files)
        found = read_certificate(files.certificate)
        check_validity(found, files.certificate, datetime.now(UTC))
        self._context = load_context(files)
        _tell("certificate", found)

    def context(self) -> ssl.SSLContext:
        """For the next connection. Files that changed and cannot be used leave what there was."""
        stamps = _stamps(self._files)
        if stamps != self._stamps:
            self._stamps = stamps
            try:
                found = read_certificate(self._files.certificate)
                self._context = load_context(self._files)
                _tell("another certificate", found)
            except DaemonError as error:
                # The second file of a pair may be about to be written.
                log.warning("the certificate of before is kept", extra={"reason": str(error)})
        return self._context


def served_certificate(settings: Settings) -> ServedCertificate | None:
    """What a daemon shows at the settings' address; None: nothing, for it is not https.

    Raises:
        DaemonError: the files cannot be used; or somebody set a certificate, and expects TLS where
            requests would cross a network without it.
    """
    address = settings.address
    if address.scheme == "https":
        return ServedCertificate(tls_files(settings))
    if settings.tls_certificate is not None and not address.is_loopback:
        raise DaemonError(
            f"OLM_TLS_CERT is set, but {address.url} is served without TLS",
            hint=f"set OLM_HOST=https://{address.netloc}, or unset OLM_TLS_CERT",
        )
    return None


def _tell(message: str, certificate: Certificate) -> None:
    ends_soon = certificate.ends_soon(datetime.now(UTC))
    log.log(
        logging.WARNING if ends_soon else logging.INFO,
        f"{message}, which expires soon" if ends_soon else message,
        extra={
            "names": ",".join(certificate.names),
            "expires": certificate.expires_at.isoformat(),
        },
    )


def _stamps(files: TlsFiles) -> tuple[Stamp | None, ...]:
    """What changes with the content, the owner and the mode of the files; None for one that is
    not there."""
    paths = [path for path in (files.certificate, files.key, files.client_ca) if path is not None]
    return tuple(map(_stamp, paths))


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read_pem(path: Path) -> tuple[bytes, os.stat_result]:
    """The text of a file, and whose it is. Raises: DaemonError."""
    try:
        if not path.is_file():  # a pipe would not end
            path.stat()
            raise DaemonError(f"{path} is no file", hint=_WHERE)
        with path.open("rb") as file:
            return file.read(MAX_PEM_BYTES), os.fstat(file.fileno())
    except OSError as error:
        raise DaemonError(f"cannot read {path}: {reason_of(error)}", hint=_WHERE) from error


def _check_key(path: Path) -> None:
    """Raises: DaemonError, it is no key, or not a secret one."""
    text, found = _read_pem(path)
    if found.st_uid not in (0, os.geteuid()):
        raise DaemonError(
            f"the key {path} belongs to another user", hint="give it to this user, or to root"
        )
    forbidden = 0o077 if found.st_uid == os.geteuid() else 0o027
    if stat.S_IMODE(found.st_mode) & forbidden:
        raise DaemonError(
            f"others may read the key {path} (mode {stat.S_IMODE(found.st_mode):04o})",
            hint=f"`chmod 600 {path}`",
        )
    if b"PRIVATE KEY-----" not in text:
        raise DaemonError(f"{path} holds no private key in PEM", hint=_WHERE)


def _refuse_to_ask() -> str:
    raise DaemonError(
        "the key has a password, and nobody is there to be asked for it",
        hint="`openssl pkey -in KEY -out FILE` writes one without",
    )
