"""What the daemon says of its store, made into values; see `replies` for how lenient that is."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from olmkit.engine.client import Client, replies
from olmkit.engine.errors import DaemonError
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.reference import Reference

OnEvent = Callable[[replies.Progress], None]


class Archive(NamedTuple):
    """An archive on its way."""

    size_bytes: int
    pieces: Iterator[bytes]


class Checked(NamedTuple):
    """One line of a check: something being hashed, or a fault."""

    status: str
    """`success` in the last one, which has the number of blobs as `total`."""
    digest: str
    total: int
    completed: int
    models: list[str]
    reason: str
    """Empty unless it is a fault."""


def inspect(client: Client, model: str) -> dict[str, Any]:
    """All that the store has of a model, by name, ID or digest."""
    return client.request("POST", "/api/inspect", {"model": model}, timeout_s=None)


def digest_at_registry(found: Mapping[str, Any], reference: Reference) -> Digest:
    """The digest that the registry of a name has for a model, by what `inspect` found: another one
    than the store's where it was pushed in another format."""
    pushed = found.get("pushed")
    digest = pushed.get(reference.short) if isinstance(pushed, dict) else None
    return Digest(str(digest or found["id"]))


def signatures(
    client: Client, model: str, *, insecure: bool = False, fresh: bool = False
) -> dict[str, Any]:
    """The signatures of a model, kept or at its registry; `fresh`: at its registry."""
    body = {"model": model, "insecure": insecure, "fresh": fresh}
    return client.request("POST", "/api/signatures", body, timeout_s=None)


def sign(
    client: Client, model: str, *, payload: str, signature: str, insecure: bool = False
) -> dict[str, Any]:
    """Stores a signature at the registry of a model; `model` fixes the digest."""
    body = {"model": model, "payload": payload, "signature": signature, "insecure": insecure}
    return client.request("POST", "/api/sign", body, timeout_s=None)


def usage(client: Client) -> dict[str, Any]:
    """What the store's disk space goes to."""
    return client.request("GET", "/api/usage", timeout_s=None)


def kept_prompts(client: Client) -> dict[str, Any]:
    """What is kept on disk of prompts, and of which models."""
    return client.request("GET", "/api/cache", timeout_s=None)


def forget_prompts(client: Client, model: str = "") -> dict[str, Any]:
    """Removes what is kept of a model's prompts, or of all; says what that freed."""
    return client.request("DELETE", "/api/cache", {"model": model}, timeout_s=None)


def prune(
    client: Client,
    *,
    dry_run: bool,
    everything: bool = False,
    on_event: OnEvent = lambda _: None,
) -> dict[str, Any]:
    """Removes what nothing needs, or tells what that would be."""
    body = {"dry_run": dry_run, "all": everything}
    return _result(client.stream("/api/prune", body), on_event)


def _result(lines: Iterable[dict[str, Any]], on_event: OnEvent) -> dict[str, Any]:
    """The last line of work that succeeded; those before it are its events."""
    for line in lines:
        if line.get("status") == "success":
            return line
        on_event(replies.progress(line))
    raise DaemonError("the daemon ended its work before it was complete")


def verify(client: Client, models: Sequence[str]) -> Generator[Checked, None, None]:
    """Has the blobs of the models hashed again, or all blobs."""
    status = ""
    for line in client.stream("/api/verify", {"models": list(models)}):
        names = line.get("models")
        status = str(line.get("status", ""))
        yield Checked(
            status=status,
            digest=str(line.get("digest", "")),
            total=int(line.get("total") or 0),
            completed=int(line.get("completed") or 0),
            models=[str(name) for name in names] if isinstance(names, list) else [],
            reason=str(line.get("reason", "")),
        )
    if status != "success":
        raise DaemonError("the daemon ended its work before it was complete")


def save(client: Client, models: Sequence[str]) -> Archive:
    """An archive of models; its pieces are to be read to the end."""
    reply = client.open("/api/save", {"models": list(models)})
    length = reply.headers.get("content-length", "")

    def pieces() -> Iterator[bytes]:
        with reply:
            yield from reply.pieces()

    return Archive(int(length) if length.isdecimal() else 0, pieces())


def load(
    client: Client,
    pieces: Iterable[bytes],
    *,
    size_bytes: int | None = None,
    name: str = "",
    only: str = "",
    on_event: OnEvent = lambda _: None,
) -> list[str]:
    """Sends an archive; returns the names of its models, or of the `only` one, named `name`.

    `on_event` is told of what the daemon does when it has all of the archive.
    """
    query = [f"{k}={quote(v, safe='')}" for k, v in (("name", name), ("only", only)) if v]
    path = "/api/load" + ("?" + "&".join(query) if query else "")
    with client.open(path, pieces, body_bytes=size_bytes) as reply:
        value = _result(client.lines(reply), on_event)
    models = value.get("models")
    return [str(model.get("name", "")) for model in models] if isinstance(models, list) else []
