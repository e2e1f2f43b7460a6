"""The HTTP APIs of the daemon. The ASGI toolkit is imported only here."""
