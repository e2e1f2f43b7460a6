"""pip as a child with limits: an index page without end, and an index that is silent."""

import threading
from pathlib import Path

import pytest

from olmkit.registry.errors import SourceError, Unreachable
from olmkit.registry.sources import pip
from support.rawserver import Step, raw_server

MIB = 1 << 20


def download(
    address: str, into: Path, monkeypatch: pytest.MonkeyPatch, limits: pip.PipLimits
) -> None:
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_PROXY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"{address}simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    pip.download("x", into, on_event=lambda event: None, cancelled=threading.Event(), limits=limits)


def test_an_index_page_without_end_takes_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = pip.PipLimits(memory_bytes=300 * MIB)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<!DOCTYPE html>"
    page: list[Step] = [head, *([b"<a href='x-1.0.tar.gz'>x</a>" * 40_000] * 500)]
    with raw_server(page, page) as server, pytest.raises(SourceError, match="takes too much"):
        download(server.address, tmp_path, monkeypatch, limits)


def test_an_index_that_is_silent_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = pip.PipLimits(silence_s=3.0)
    monkeypatch.setenv("PIP_TIMEOUT", "600")
    with raw_server([], []) as server, pytest.raises(Unreachable, match="said nothing"):
        download(server.address, tmp_path, monkeypatch, limits)
