import socket
from collections.abc import Iterator

import pytest

from olmkit.engine import framing
from olmkit.engine.runner import protocol as p
from olmkit.engine.runner.process.frames import CONGESTED_BYTES, FrameSocket, PeerGone


@pytest.fixture
def pair() -> Iterator[tuple[FrameSocket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield FrameSocket(ours), theirs


def read_replies(peer: socket.socket) -> list[p.Reply]:
    header = peer.recv(framing.FRAME_HEADER.size, socket.MSG_WAITALL)
    return p.decode_replies(peer.recv(framing.payload_length(header), socket.MSG_WAITALL))


def test_nothing_to_read_is_no_request(pair: tuple[FrameSocket, socket.socket]) -> None:
    assert pair[0].receive() == []


def test_several_frames_in_one_read_are_several_requests(
    pair: tuple[FrameSocket, socket.socket],
) -> None:
    requests: list[p.Request] = [p.Health(id=1), p.Tokenize(id=2, text="a"), p.Cancel(id=3)]
    pair[1].sendall(b"".join(framing.encode_frame(request) for request in requests))
    assert pair[0].receive() == requests


def test_a_frame_that_comes_byte_by_byte_is_one_request(
    pair: tuple[FrameSocket, socket.socket],
) -> None:
    frame = framing.encode_frame(p.Tokenize(id=7, text="hello"))
    received = []
    for byte in frame:
        pair[1].sendall(bytes([byte]))
        received += pair[0].receive()
    assert received == [p.Tokenize(id=7, text="hello")]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(framing.FRAME_HEADER.pack(framing.MAX_FRAME_BYTES + 1), id="too_long"),
        pytest.param(framing.FRAME_HEADER.pack(3) + b"\xc1\xc1\xc1", id="no_messagepack"),
        pytest.param(framing.FRAME_HEADER.pack(2) + b"\x91\x01", id="no_request"),
        pytest.param(framing.FRAME_HEADER.pack(0), id="empty"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="http"),
    ],
)
def test_what_is_no_request_violates_the_protocol(
    pair: tuple[FrameSocket, socket.socket], data: bytes
) -> None:
    pair[1].sendall(data)
    with pytest.raises(framing.ProtocolViolation):
        pair[0].receive()


def test_the_end_of_the_stream_is_the_peers_end(pair: tuple[FrameSocket, socket.socket]) -> None:
    pair[1].close()
    with pytest.raises(PeerGone):
        pair[0].receive()


def test_sending_to_a_closed_peer_is_the_peers_end(
    pair: tuple[FrameSocket, socket.socket],
) -> None:
    pair[1].close()
    with pytest.raises(PeerGone):
        pair[0].send([p.Text(id=1, text="x")])


def test_the_replies_of_a_step_leave_in_one_frame(
    pair: tuple[FrameSocket, socket.socket],
) -> None:
    replies: list[p.Reply] = [p.Text(id=1, text="x"), p.Text(id=2, text="y")]
    pair[0].send(replies)
    assert read_replies(pair[1]) == replies


def test_a_peer_that_does_not_read_congests_but_never_blocks(
    pair: tuple[FrameSocket, socket.socket],
) -> None:
    frames, peer = pair
    reply = p.Text(id=1, text="x" * 100_000)
    sent = 0
    while not frames.is_congested:
        frames.send([reply])
        sent += 1
    assert sent * 100_000 > CONGESTED_BYTES
    received = bytearray()
    frame = framing.encode_frame(p.StepOutput(replies=[reply]))
    while len(received) < sent * len(frame):
        frames.flush()
        received += peer.recv(1 << 20)
    assert received == frame * sent
    assert not frames.is_congested


def test_a_reply_too_long_for_a_frame_fails_alone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames = FrameSocket(ours, frame_limit_bytes=1000)
        frames.send([p.Text(id=1, text="x" * 2000), p.Text(id=2, text="short")])
        (first,) = read_replies(theirs)
        assert isinstance(first, p.Failed)
        assert (first.id, first.kind) == (1, p.FailureKind.INTERNAL)
        assert read_replies(theirs) == [p.Text(id=2, text="short")]
