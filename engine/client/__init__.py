"""A client of the daemon: finds it, starts it where it may, speaks its API.

Light enough for a command that lives for 60 ms: sockets and `json`, nothing else. Requests are
synchronous; closing a stream, or an exception in the midst of it, cancels the work.
"""

import contextlib
import json
import os
import socket
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from olmkit import __version__
from olmkit.engine.addresses.address import Address
from olmkit.engine.addresses.localsocket import foreign_listener, socket_path
from olmkit.engine.client import http1, replies
from olmkit.engine.client.clienttls import ClientTls
from olmkit.engine.client.replies import (
    Chunk,
    DaemonStatus,
    ListedModel,
    ModelDetails,
    Progress,
    RunningModel,
)
from olmkit.engine.errors import AddressInUse, ApiError, DaemonError, DaemonNotRunning
from olmkit.engine.settings import Settings

LIGHT_TIMEOUT_S: Final = 30.0
"""Wait for requests that the daemon answers without loading anything."""
Body = Mapping[str, object]


def connect(
    settings: Settings, *, start: bool = True, on_start: Callable[[], None] | None = None
) -> "Client":
    """A client of the daemon at the settings' address; nothing is sent yet.

    With `start`, a daemon of this machine that does not run is started by the first request;
    `on_start` is called then.
    """
    starter = None
    # At an https address without a certificate a proxy of this machine was meant.
    can_serve = settings.address.scheme != "https" or settings.tls_certificate is not None
    if start and settings.address.is_local and can_serve:

        def starter() -> None:
            from olmkit.engine.client.launch import start_daemon

            if on_start is not None:
                on_start()
            start_daemon(settings)

    tls = ClientTls.of(settings)
    if not settings.address.is_local:
        return Client(settings.address, api_key=settings.api_key, tls=tls)
    return Client(
        settings.address,
        api_key=settings.api_key,
        tls=tls,
        starter=starter,
        own_socket=socket_path(settings.home, settings.address),
        may_be_foreign=settings.source_of("address") != "default",
    )


class Client:
    """Speaks with the daemon at one address. Every method raises `DaemonError`s.

    `ApiError` is the daemon's own refusal; `DaemonNotRunning`, that nothing listens.
    """

    def __init__(
        self,
        address: Address,
        *,
        starter: Callable[[], None] | None = None,
        own_socket: Path | None = None,
        may_be_foreign: bool = True,
        api_key: str | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        """`own_socket`: tried first, and needs no key. `may_be_foreign`: another user's daemon will
        do. `api_key`: sent with every request. `tls`: for an https address."""
        self.address = address
        self._starter = starter
        self._own_socket = own_socket
        self._may_be_foreign = may_be_foreign
        self._api_key = api_key
        self._tls = tls

    # --- models in the store

    def models(self) -> list[ListedModel]:
        """The stored models, newest first."""
        return replies.listed_models(self.request("GET", "/api/tags"))

    def show(
        self, model: str, *, verbose: bool = False, overlay: Body | None = None
    ) -> ModelDetails:
        """What is known of a model; `overlay` (`system`, `options`) goes into its Modelfile."""
        return replies.model_details(self.details(model, verbose=verbose, overlay=overlay))

    def details(
        self, model: str, *, verbose: bool = False, overlay: Body | None = None
    ) -> dict[str, Any]:
        """The same as the API says it."""
        body = {"model": model, "verbose": verbose, **(overlay or {})}
        return self.request("POST", "/api/show", body)

    def copy(self, source: str, destination: str) -> None:
        """Gives a model one more name."""
        self.request("POST", "/api/copy", {"source": source, "destination": destination})

    def delete(self, model: str, *, force: bool = False) -> None:
        """Removes a name, or with `force` all names of an ID, and what no other name uses."""
        self.request("DELETE", "/api/delete", {"model": model, "force": force})

    def pull(
        self,
        model: str,
        *,
        insecure: bool = False,
        quantization: str = "",
        revision: str = "",
        signed_by: Sequence[str] = (),
        signed_as: Sequence[str] = (),
    ) -> Generator[Progress, None, None]:
        """Fetches a model; each event as it happens. One of the keys must have signed it, if there
        are any, as one of the names `signed_as` or its own."""
        body: dict[str, object] = {"model": model, "insecure": insecure}
        if quantization:
            body["quantization"] = quantization
        if revision:
            body["revision"] = revision
        if signed_by:
            body |= {"signed_by": list(signed_by), "signed_as": list(signed_as)}
        return self._progress("/api/pull", body)

    def push(
        self,
        model: str,
        *,
        insecure: bool = False,
        format: str = "",
        all_quantizations: bool = False,
        compress: bool = False,
    ) -> Generator[Progress, None, None]:
        """Sends a model to its registry; each event as it happens."""
        body: dict[str, object] = {"model": model, "insecure": insecure}
        if format:
            body["format"] = format
        if all_quantizations:
            body["all_quantizations"] = True
        if compress:
            body["compress"] = True
        return self._progress("/api/push", body)

    def create(self, body: Body) -> Generator[Progress, None, None]:
        """Builds a model from a request in the API's form."""
        return self._progress("/api/create", body)

    # --- running

    def running(self) -> list[RunningModel]:
        """The loaded models, latest expiry first."""
        return replies.running_models(self.request("GET", "/api/ps"))

    def generate(self, body: Body, *, tells_wait: bool = False) -> Generator[Chunk, None, None]:
        """One answer; the last chunk has the timings. `tells_wait`: chunks before the answer say
        what it waits for."""
        return self._answer("/api/generate", body, tells_wait=tells_wait)

    def chat(self, body: Body, *, tells_wait: bool = False) -> Generator[Chunk, None, None]:
        """The next turn of a conversation; the rest is as for `generate`."""
        return self._answer("/api/chat", body, tells_wait=tells_wait)

    def unload(self, model: str) -> None:
        """Takes a model out of memory as soon as nobody uses it."""
        body = {"model": model, "keep_alive": 0, "stream": False}
        self.request("POST", "/api/generate", body)

    def embed(self, body: Body) -> list[float]:
        """The vector of the first input."""
        return replies.first_embedding(self.request("POST", "/api/embed", body, timeout_s=None))

    def render(self, body: Body) -> str:
        """The prompt that a chat request would give the model, which is not loaded."""
        body = {**body, "_debug_render_only": True, "stream": False}
        return replies.rendered_prompt(self.request("POST", "/api/chat", body))

    def tokenize(self, model: str, prompt: str) -> list[int]:
        """The tokens that a prompt becomes, with what the model adds, such as BOS."""
        body = {"model": model, "prompt": prompt}
        return replies.tokens(self.request("POST", "/api/tokenize", body, timeout_s=None))

    def plan(self, body: Body) -> Mapping[str, Any]:
        """Where a model would go; see `POST /api/plan`."""
        return self.request("POST", "/api/plan", body, timeout_s=None)

    def parse(self, body: Mapping[str, object]) -> Mapping[str, object]:
        """The message that the API would return for a raw output."""
        return replies.parsed_message(self.request("POST", "/api/parse", body))

    # --- the daemon and its blobs

    def version(self) -> str:
        """The daemon's version; of another program that speaks the API, that one's."""
        return replies.served_version(self.request("GET", "/api/version"))

    def status(self) -> DaemonStatus:
        """What the daemon says of itself; empty from one that says nothing."""
        try:
            return replies.daemon_status(self.request("GET", "/api/status"))
        except ApiError:
            return DaemonStatus()

    def missing_from(self, digest: str) -> int | None:
        """Where an upload of the blob begins; None when the daemon has all of it."""
        with self._send("HEAD", f"/api/blobs/{digest}", timeout_s=LIGHT_TIMEOUT_S) as reply:
            if reply.status == 200:
                return None
            held = reply.headers.get("olm-upload-offset", "")
            return int(held) if held.isdecimal() else 0

    def upload_blob(
        self, digest: str, pieces: Iterable[bytes], size_bytes: int, *, offset_bytes: int = 0
    ) -> None:
        """Sends the bytes of a blob from an offset on; the daemon checks the digest of all.

        What a daemon of olm got before the connection broke, it keeps: see `missing_from`.
        """
        headers = {}
        if size_bytes:
            headers["Content-Range"] = f"bytes {offset_bytes}-{size_bytes - 1}/{size_bytes}"
        with self._send(
            "POST",
            f"/api/blobs/{digest}",
            body=pieces,
            body_bytes=size_bytes - offset_bytes,
            headers=headers,
        ) as reply:
            self._checked(reply)

    def import_file(self, file: str, name: str) -> Generator[tuple[Progress, str], None, None]:
        """Lets the daemon take a file out of its `incoming` directory.

        `name` is what its messages call the file. Yields each event, and with the last one the
        digest that the file got.
        """
        for line in self.stream("/api/import", {"file": file, "name": name, "stream": True}):
            event = replies.progress(line)
            yield event, event.digest if event.status == "success" else ""

    # --- requests

    def request(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        *,
        timeout_s: float | None = LIGHT_TIMEOUT_S,
    ) -> dict[str, Any]:
        """One request with a JSON reply; an empty reply reads as `{}`."""
        with self._send(method, path, body=_encoded(body), timeout_s=timeout_s) as reply:
            raw = self._checked(reply)
        if not raw.strip():
            return {}
        try:
            return replies.parse_object(raw)
        except DaemonError as error:
            raise self._foreign(reply) or error from error

    def stream(self, path: str, body: Body) -> Generator[dict[str, Any], None, None]:
        """The objects of a reply in NDJSON, as they arrive.

        Raises:
            ApiError: also in the midst, when the daemon reports a failure there.
        """
        with self._send("POST", path, body=_encoded(body)) as reply:
            if reply.status >= 400:
                self._checked(reply)
            yield from self.lines(reply)

    def open_get(self, path: str) -> http1.Reply:
        """The reply to a GET that went well so far, its body still to be read."""
        reply = self._send("GET", path)
        if reply.status >= 400:
            with reply:
                self._checked(reply)
        return reply

    def lines(self, reply: http1.Reply) -> Generator[dict[str, Any], None, None]:
        """The objects of a reply that is open; raises as `stream`."""
        for line in reply.lines():
            value = replies.parse_object(line)
            if error := replies.api_error(value, reply.status):
                raise error
            yield value

    def open(
        self,
        path: str,
        body: Body | Iterable[bytes],
        *,
        body_bytes: int | None = None,
        timeout_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> http1.Reply:
        """The reply to a POST that went well so far, its body still to be read.

        A body in pieces goes as it is; `body_bytes` is its length where that is known. `timeout_s`
        bounds each wait for the daemon.
        """
        data = _encoded(body) if isinstance(body, Mapping) else body
        reply = self._send(
            "POST", path, body=data, body_bytes=body_bytes, headers=headers, timeout_s=timeout_s
        )
        if reply.status >= 400:
            with reply:
                self._checked(reply)
        return reply

    def _answer(self, path: str, body: Body, *, tells_wait: bool) -> Generator[Chunk, None, None]:
        chunk = None
        headers = {"X-Olm-Progress": "true"} if tells_wait else None
        with self.open(path, {**body, "stream": True}, headers=headers) as reply:
            ignored = reply.headers.get("x-olm-schema-ignored", "")
            for value in self.lines(reply):
                chunk = replies.chunk(value, schema_ignored=ignored)
                yield chunk
        if chunk is None or chunk.timings is None:
            raise DaemonError("the daemon ended the answer before it was complete")

    def _progress(self, path: str, body: Body) -> Generator[Progress, None, None]:
        event = None
        for value in self.stream(path, {**body, "stream": True}):
            event = replies.progress(value)
            yield event
        if event is None or event.status != "success":
            raise DaemonError("the daemon ended its work before it was complete")

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | Iterable[bytes] = b"",
        body_bytes: int | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> http1.Reply:
        connection = self._connect()
        all_headers = {
            "User-Agent": f"olm/{__version__} ({os.uname().machine} {os.uname().sysname.lower()})",
            "Accept": "application/x-ndjson, application/json",
            "Content-Type": "application/json",
            **(headers or {}),
        }
        if self._api_key and not connection.is_private:
            all_headers["Authorization"] = f"Bearer {self._api_key}"
        try:
            return http1.send(
                connection,
                method,
                path,
                headers=all_headers,
                body=body,
                body_bytes=body_bytes,
                timeout_s=timeout_s,
            )
        except (http1.NotHttp, http1.NoAnswer) as error:
            raise self._foreign(None) or error from error

    def _connect(self) -> http1.Connection:
        try:
            return self._dial()
        except DaemonNotRunning as error:
            if self._starter is None or not isinstance(
                error.__cause__, ConnectionRefusedError | FileNotFoundError
            ):
                raise with_advice(error, self.address) from error
        self._starter()
        return self._dial()

    def _dial(self) -> http1.Connection:
        connection = http1.connect(self.address, self._own_socket, tls=self._tls)
        is_tcp = connection.socket.family != socket.AF_UNIX
        if is_tcp and not self._may_be_foreign:
            user = foreign_listener(self.address.port)
            if user is not None:
                connection.socket.close()
                raise DaemonError(
                    f"the daemon at {self.address.url} belongs to another user (id {user})",
                    hint=f"OLM_HOST={self.address.netloc} uses it all the same; another port "
                    "starts one of your own",
                )
        return connection

    def _checked(self, reply: http1.Reply) -> bytes:
        """The body of a reply, if it is no error."""
        raw = reply.read()
        if reply.status < 400:
            return raw
        error = None
        with contextlib.suppress(DaemonError):
            error = replies.api_error(replies.parse_object(raw), reply.status)
        if error is not None:
            raise error
        text = raw[:500].decode("utf-8", "replace").strip()
        foreign = None if text == "404 page not found" else self._foreign(reply)
        raise foreign or ApiError(
            text or f"the daemon answered with status {reply.status}", status=reply.status
        )

    def _foreign(self, reply: http1.Reply | None) -> AddressInUse | None:
        """The error to raise if another program than a daemon holds a port of this machine."""
        if reply is not None and reply.headers.get("server", "").startswith("olm/"):
            return None
        if not self.address.is_local:
            return None
        from olmkit.engine.client.launch import port_holder

        holder = port_holder(self.address.port)
        if holder is not None and "olm" in holder.split(" (")[0]:
            return None
        by = f" by {holder}" if holder else ""
        return AddressInUse(
            f"{self.address.netloc} is held{by}, which is no model server",
            address=self.address.netloc,
            holder=holder,
            hint="stop that program, or set OLM_HOST to another address",
        )


def with_advice(error: DaemonNotRunning, address: Address) -> DaemonNotRunning:
    """The error with a hint that fits where the daemon should be."""
    hint = (
        "start it with `olm serve`"
        if address.is_local
        else "OLM_HOST names that address; unset it to use a daemon on this machine"
    )
    return DaemonNotRunning(str(error), address=error.address, hint=hint)


def _encoded(body: Body | None) -> bytes:
    # Words of the command line need not be UTF-8.
    return b"" if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
