"""What can go wrong with names, blobs, manifests and registries, as one tree.

    RegistryError
    ├ InvalidReference          .text
    ├ InvalidDigest             .text
    ├ InvalidManifest
    ├ ModelNotFound             .name
    ├ SourceError               a package or file that holds no model, or not what it declares
    ├ StoreError                .path        unreadable, not writable
    │ ├ CorruptBlob             .expected .actual
    │ └ DiskFull                .needed_bytes .free_bytes
    ├ CredentialError           Docker's config.json or a credential helper
    ├ NotTrusted                no signature that is asked for, or a policy that forbids the model
    ├ InvalidPolicy             a policy that cannot be read: nothing is fetched by it
    ├ InvalidKey                a file or text that is no key, or that its password does not open
    ├ Cancelled
    └ RemoteError               .status, is_temporary
      ├ Unreachable
      ├ Untrusted               its certificate
      ├ Unauthorized
      ├ RemoteRejected          .codes .retry_after_s   the registry's own words
      └ RemoteMisbehaved        wrong length, range or digest: its fault

`str(error)` is one sentence, lower case, no full stop, naming the thing that failed; `hint` is
what to do next.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager


class RegistryError(Exception):
    """Root of the registry's errors."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class InvalidReference(RegistryError):
    """The text is no name of a model."""

    def __init__(self, message: str, *, text: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.text = text


class InvalidDigest(RegistryError):
    """The text is no digest."""

    def __init__(self, message: str, *, text: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.text = text


class InvalidManifest(RegistryError):
    """The bytes are no manifest, or go over a limit."""


class ModelNotFound(RegistryError):
    """No model of this name in the store, or at its source."""

    def __init__(self, message: str, *, name: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.name = name


class SourceError(RegistryError):
    """A package, file or address that holds no model, or other bytes than it declares."""


class StoreError(RegistryError):
    """The store cannot be read or written."""

    def __init__(self, message: str, *, path: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.path = path


class CorruptBlob(StoreError):
    """Bytes do not hash to the digest that they are stored or expected under."""

    def __init__(
        self, message: str, *, path: str, expected: str, actual: str, hint: str | None = None
    ) -> None:
        super().__init__(message, path=path, hint=hint)
        self.expected = expected
        self.actual = actual


class DiskFull(StoreError):
    """The file system has no room for what is to be written."""

    def __init__(
        self,
        message: str,
        *,
        path: str,
        needed_bytes: int | None = None,
        free_bytes: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, path=path, hint=hint)
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


@contextmanager
def store_errors(
    path: str | os.PathLike[str], verb: str, *, needed_bytes: int | None = None
) -> Iterator[None]:
    """Turn an `OSError` of the block into one sentence about `path`: "cannot `verb` `path`: …".

    Raises:
        DiskFull: no room, or no quota, left.
        StoreError: anything else that the system refused.
    """
    try:
        yield
    except OSError as error:
        name = os.fspath(path)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(name, needed_bytes=needed_bytes) from error
        reason = (error.strerror or str(error)).lower()
        raise StoreError(f"cannot {verb} {name}: {reason}", path=name) from error


def disk_full(
    path: str | os.PathLike[str], *, needed_bytes: int | None = None, kept_free_bytes: int = 0
) -> DiskFull:
    """The error to raise when something does not fit in `path`, with what is free there."""
    name = os.fspath(path)
    free_bytes = free_bytes_at(name)
    details = [] if free_bytes is None else [f"{_megabytes(free_bytes)} are free"]
    details += [] if needed_bytes is None else [f"{_megabytes(needed_bytes)} are needed"]
    if kept_free_bytes:
        details.append(f"{_megabytes(kept_free_bytes)} are kept free by OLM_MIN_FREE")
    return DiskFull(
        f"no space left in {name}" + (": " if details else "") + ", ".join(details),
        path=name,
        needed_bytes=needed_bytes,
        free_bytes=free_bytes,
        hint="free some space, or put the store elsewhere with OLM_MODELS",
    )


def _megabytes(count_bytes: int) -> str:
    return f"{count_bytes / 1e6:.1f} MB"


def free_bytes_at(path: str | os.PathLike[str]) -> int | None:
    """Bytes that this user may still write where `path` is, or is to be; `None` for unknown."""
    name = os.path.abspath(path)
    while True:
        try:
            found = os.statvfs(name)
        except FileNotFoundError:
            name = os.path.dirname(name)
        except OSError:
            return None
        else:
            return found.f_bavail * found.f_frsize


class CredentialError(RegistryError):
    """A credentials file or helper that cannot be used; the secret itself is never in it."""


class NotTrusted(RegistryError):
    """Nobody who is asked for has signed the model, or the policy forbids it."""


class InvalidPolicy(RegistryError):
    """The policy cannot be read, so nothing is let in by it."""


class InvalidKey(RegistryError):
    """A file or text is no key that signs models, or its password does not open it."""


class Cancelled(RegistryError):
    """Nobody waits for the work any more: the client gave it up, or the daemon shuts down.

    The engine raises it too. Bytes of a transfer that arrived are kept for the next one.
    """


class RemoteError(RegistryError):
    """A failure between olm and a registry."""

    is_temporary = False
    """Whether trying again may help; nothing else decides a retry."""

    def __init__(self, message: str, *, status: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class Unreachable(RemoteError):
    """No connection, or it broke or stalled."""

    is_temporary = True


class Untrusted(RemoteError):
    """The host's certificate is not one that is trusted."""


class Unauthorized(RemoteError):
    """The registry wants credentials, or refuses those that it got."""


class RemoteRejected(RemoteError):
    """The registry refused, in its own words."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        codes: tuple[str, ...] = (),
        is_temporary: bool = False,
        retry_after_s: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, status=status, hint=hint)
        self.codes = codes
        self.is_temporary = is_temporary
        self.retry_after_s = retry_after_s


class RemoteMisbehaved(RemoteError):
    """The registry sent another length, range or digest than it promised."""

    is_temporary = True
