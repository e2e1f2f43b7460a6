"""Questions to a daemon's API, and models put into its store the ways clients do it."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.daemon import Daemon


@dataclass(frozen=True)
class Answer:
    """One reply, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        """The objects of an NDJSON reply."""
        assert self.headers["content-type"] == "application/x-ndjson"
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def error(self) -> str:
        """The text of an error in JSON."""
        assert self.status >= 400
        assert self.headers["content-type"].startswith("application/json")
        return str(self.json["error"])


class Api:
    """A client of one daemon that takes every reply as it is."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 120,
    ) -> Answer:
        """One request; `body` goes as JSON unless it is bytes."""
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=timeout_s)
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            connection.request(method, path, data, dict(headers or {}))
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return self.ask("POST", path, body, **options)

    def import_file(self, path: Path) -> str:
        """Hand a local file over by a hard link; its digest."""
        incoming = Path(self.get("/api/status").json["olm"]["incoming"])
        name = secrets.token_hex(16)
        try:
            os.link(path, incoming / name)
        except OSError:  # another file system
            (incoming / name).write_bytes(path.read_bytes())
        lines = self.post("/api/import", {"file": name}).lines
        assert lines[-1]["status"] == "success", lines[-1]
        assert not (incoming / name).exists()
        return str(lines[-1]["digest"])

    def create(
        self, name: str, path: Path | None = None, *, parent: str | None = None, **members: Any
    ) -> list[Any]:
        """Make a model of a file or of another model; the lines of the reply."""
        if parent is not None:
            members["from"] = parent
        if path is not None:
            members["files"] = {path.name: self.import_file(path)}
        lines = self.post("/api/create", {"model": name, **members}).lines
        assert lines[-1] == {"status": "success"}, lines[-1]
        return lines

    def running(self) -> list[str]:
        """Names of the loaded models."""
        return [model["name"] for model in self.get("/api/ps").json["models"]]

    def cancelled(self) -> int:
        """How many answers were ended because their clients had left."""
        lines = self.get("/metrics").body.decode().splitlines()
        ended = (line for line in lines if line.startswith("olm_completions_total{"))
        return sum(int(float(line.split()[-1])) for line in ended if 'end="cancelled"' in line)
