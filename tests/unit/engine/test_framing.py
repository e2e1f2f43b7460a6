"""Frames out of bytes that come in pieces."""

import pytest

from olmkit.engine.framing import FRAME_HEADER, MAX_FRAME_BYTES, FrameBuffer, ProtocolViolation

PAYLOADS = [b"", b"a", b"bc" * 40, b"", b"d" * 5]
STREAM = b"".join(FRAME_HEADER.pack(len(payload)) + payload for payload in PAYLOADS)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 85, len(STREAM)])
def test_the_same_frames_come_however_the_stream_is_cut(size: int) -> None:
    frames = FrameBuffer()
    cut = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    assert [payload for piece in cut for payload in frames.take(piece)] == PAYLOADS


def test_a_frame_that_is_too_long_is_refused_by_its_header() -> None:
    frames = FrameBuffer()
    assert frames.take(FRAME_HEADER.pack(MAX_FRAME_BYTES + 1)[:2]) == []
    with pytest.raises(ProtocolViolation):
        frames.take(FRAME_HEADER.pack(MAX_FRAME_BYTES + 1)[2:])
