"""Whom this machine trusts to sign certificates: the system's authorities, and the user's own.

Light: commands that speak TLS with their daemon import it too.
"""

import ssl


def trusting_context(ca_bundle: str | None = None) -> ssl.SSLContext:
    """A context for clients that checks names and certificates; `ca_bundle`: a file of
    authorities to trust besides the system's.

    Raises:
        OSError, ValueError: the file cannot be read, or holds no certificates.
    """
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"] and not ssl.get_default_verify_paths().capath:
        import certifi

        context.load_verify_locations(cafile=certifi.where())
    if ca_bundle:
        context.load_verify_locations(cafile=ca_bundle)
    return context


def reason_of(error: OSError | ValueError) -> str:
    """Why a file or a handshake failed, in words of lower case."""
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_message:
        said = error.verify_message.rstrip(".")
        return said if said.startswith("IP ") else said[0].lower() + said[1:]
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return (getattr(error, "strerror", None) or str(error)).lower()
