"""TLS with the daemon, as its clients speak it: who is trusted, and the certificate to show.

A certificate that cannot be checked ends the connection; nothing turns that off.
"""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from olmkit.engine.addresses.address import Address
from olmkit.engine.errors import DaemonUntrusted
from olmkit.engine.settings import Settings

if TYPE_CHECKING:
    import ssl

_NO_TLS: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"}
)
"""What OpenSSL says of an answer that is no TLS."""
_WANTS_CERTIFICATE: Final = frozenset(
    {"TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE"}
)
"""What a server says to a client without a certificate, in TLS 1.3 and 1.2."""
_CERTIFICATE_HINT: Final = (
    "if it asks for a certificate, OLM_TLS_CERT and OLM_TLS_KEY name the files of one that it takes"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """What a client needs for an https address."""

    ca_bundle: str | None = None
    """File of authorities to trust besides the system's."""
    certificate: Path | None = None
    """Shown to a daemon that asks for one."""
    key: Path | None = None
    """None: it is in the certificate's file.

    Where this user may not read one of both, none is shown: most daemons ask for none, and the
    variables may be meant for the daemon of another user.
    """

    @classmethod
    def of(cls, settings: Settings) -> "ClientTls":
        """What the settings say."""
        return cls(
            ca_bundle=settings.remotes.ca_bundle,
            certificate=settings.tls_certificate,
            key=settings.tls_key,
        )

    @property
    def shut_file(self) -> Path | None:
        """The file of certificate or key that this user may not read."""
        for path in (self.certificate, self.key):
            try:
                if path is not None:
                    open(path, "rb").close()
            except PermissionError:
                return path
            except OSError:
                continue
        return None

    @property
    def hint(self) -> str:
        """What to do where the daemon may have missed a certificate.

        Also for a connection that ends without an answer: asyncio closes before OpenSSL's alert
        is sent.
        """
        if path := self.shut_file:
            return f"no certificate was shown, for {path} cannot be read: permission denied"
        return _CERTIFICATE_HINT


def secured(plain: socket.socket, address: Address, tls: ClientTls) -> "ssl.SSLSocket":
    """The connection with TLS, once the daemon's certificate is known to be good for its name.

    Raises:
        DaemonUntrusted: it is not, or there is no TLS.
        OSError: the connection broke.
    """
    import ssl

    context = _context(tls)
    try:
        return context.wrap_socket(plain, server_hostname=address.connect_host)
    except ssl.SSLCertVerificationError as error:
        from olmkit.registry.http.trust import reason_of

        raise DaemonUntrusted(
            f"the certificate of {address.connect_url} is not trusted: {reason_of(error)}",
            hint="OLM_CA_BUNDLE names a file of certificates to trust besides the system's",
        ) from error
    except ssl.SSLError as error:
        raise refusal(error, address, tls) from error


def refusal(error: "ssl.SSLError", address: Address, tls: ClientTls) -> DaemonUntrusted:
    """Why the two sides do not agree on TLS."""
    from olmkit.registry.http.trust import reason_of

    if error.reason in _NO_TLS:
        return DaemonUntrusted(
            f"the program at {address.connect_url} speaks no TLS",
            hint=f"if that is right, set OLM_HOST=http://{address.connect_netloc}",
        )
    if error.reason in _WANTS_CERTIFICATE:
        return DaemonUntrusted(
            f"the daemon at {address.connect_url} asks for a certificate", hint=tls.hint
        )
    return DaemonUntrusted(f"no TLS with {address.connect_url}: {reason_of(error)}", hint=tls.hint)


def _context(tls: ClientTls) -> "ssl.SSLContext":
    from olmkit.registry.http.trust import reason_of, trusting_context

    try:
        context = trusting_context(tls.ca_bundle)
    except (OSError, ValueError) as error:
        place = tls.ca_bundle or "the system's certificates"
        raise DaemonUntrusted(f"cannot trust {place}: {reason_of(error)}") from error
    context.set_alpn_protocols(["http/1.1"])
    if tls.certificate is not None and tls.shut_file is None:
        try:
            context.load_cert_chain(tls.certificate, tls.key, password=_refuse_to_ask)
        except (OSError, ValueError) as error:
            raise DaemonUntrusted(
                f"cannot use the certificate {tls.certificate}: {reason_of(error)}"
            ) from error
    return context


def _refuse_to_ask() -> str:
    raise DaemonUntrusted("the key of OLM_TLS_CERT has a password, which olm does not ask for")
