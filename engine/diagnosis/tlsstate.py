"""The certificate that a daemon of this machine shows, or would show."""

from dataclasses import dataclass
from datetime import UTC, datetime

from olmkit.engine.errors import DaemonError
from olmkit.engine.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsState:
    """One certificate and its key, or why they cannot be used."""

    path: str
    names: tuple[str, ...] = ()
    """Host names and addresses that it is for."""
    expires_at: str = ""
    """In ISO 8601; empty: not known."""
    ends_soon: bool = False
    failure: str = ""
    """Sentence; empty: they can be used."""
    hint: str = ""


def find_tls(settings: Settings) -> TlsState | None:
    """The state of the files now; None: the address is not https, or another machine's."""
    address = settings.address
    is_here = address.is_local or settings.tls_certificate is not None
    if address.scheme != "https" or not is_here:
        return None
    from olmkit.engine.addresses.certificates import (
        check_validity,
        load_context,
        read_certificate,
        tls_files,
    )

    path = str(settings.tls_certificate or "")
    try:
        files = tls_files(settings)
        certificate, now = read_certificate(files.certificate), datetime.now(UTC)
        check_validity(certificate, files.certificate, now)
        load_context(files)
    except DaemonError as error:
        return TlsState(path=path, failure=str(error), hint=error.hint or "")
    return TlsState(
        path=path,
        names=certificate.names,
        expires_at=certificate.expires_at.isoformat(),
        ends_soon=certificate.ends_soon(now),
    )
