"""Files of web servers as those are: without HEAD, without length, in chunks, busy at first."""

import threading
from pathlib import Path

import pytest

from olmkit.registry.errors import Cancelled, RemoteError, RemoteRejected
from olmkit.registry.http import patience
from olmkit.registry.oci.digest import Digest
from olmkit.registry.oci.modelconfig import ModelConfig
from olmkit.registry.sources import PullOptions, url
from olmkit.registry.store.store import Store, StoredModel
from support.rawserver import CLOSE, Step, raw_server

DATA = b"GGUF" + bytes(range(256)) * 4000
BUSY = b"HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"
FIRST = b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-0/%d\r\nContent-Length: 1\r\n\r\nG" % len(
    DATA
)
REST = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(DATA), DATA)
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + DATA
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
    b"%x\r\n%b\r\n" % (len(block), block)
    for block in (DATA[start : start + 100_000] for start in range(0, len(DATA), 100_000))
)


def pull(address: str, root: Path, *, cancelled: threading.Event | None = None) -> StoredModel:
    return url.pull(
        address,
        Store(root),
        on_event=lambda event: None,
        cancelled=cancelled or threading.Event(),
        describe=lambda path: ModelConfig(model_format="gguf"),
        options=PullOptions(),
    )


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([[FIRST], [REST]], id="length_in_the_range"),
        pytest.param([[REST], [REST]], id="no_ranges"),
        pytest.param([[UNTIL_CLOSED, CLOSE], [UNTIL_CLOSED, CLOSE]], id="no_length"),
        pytest.param([[CHUNKED + b"0\r\n\r\n"], [CHUNKED + b"0\r\n\r\n"]], id="chunks"),
        pytest.param([[BUSY], [BUSY], [FIRST], [REST]], id="busy_at_first"),
    ],
)
def test_a_file_comes_whole_from_servers_of_all_kinds(
    answers: list[list[Step]], tmp_path: Path
) -> None:
    with raw_server(*answers) as server:
        model = pull(f"{server.address}m.gguf", tmp_path)
        assert all(request.startswith(b"GET ") for request in server.requests)
    assert model.manifest.layers[0].digest == Digest.of(DATA)


def test_a_stream_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with (
        raw_server([CHUNKED, CLOSE], [CHUNKED, CLOSE]) as server,
        pytest.raises(RemoteError),
    ):
        pull(f"{server.address}m.gguf", tmp_path)
    store = Store(tmp_path)
    assert store.list() == []
    assert not [path for path in store.blobs.folder.rglob("*") if path.is_file()]


def test_a_server_that_stays_busy_is_told_in_the_end(tmp_path: Path) -> None:
    with raw_server(*[[BUSY]] * 9) as server, pytest.raises(RemoteRejected, match="503"):
        pull(f"{server.address}m.gguf", tmp_path)
    assert len(server.requests) == patience.TRIES


def test_a_pause_ends_when_nobody_waits(tmp_path: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    busy = BUSY.replace(b"After: 0", b"After: 60")
    with raw_server([busy]) as server, pytest.raises(Cancelled):
        pull(f"{server.address}m.gguf", tmp_path, cancelled=cancelled)
