"""The frames between host and guest survive any cutting of the stream."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lab.frames import HEADER, PAYLOAD_BYTES_MAX, STDOUT, FrameReader, chunks, frame

FRAMES = st.lists(
    st.tuples(st.sampled_from([b"r", b"O", b"X"]), st.integers(0, 2**32 - 1), st.binary(max_size=40)), max_size=8
)


@given(frames=FRAMES, cuts=st.lists(st.integers(1, 30)))
def test_frames_come_out_as_they_went_in(frames: list[tuple[bytes, int, bytes]], cuts: list[int]) -> None:
    """However the bytes are cut on their way."""
    data = b"".join(frame(*parts) for parts in frames)
    reader = FrameReader()
    out = []
    for cut in cuts:
        out += list(reader.feed(data[:cut]))
        data = data[cut:]
    assert out + list(reader.feed(data)) == frames


def test_a_stream_out_of_step_is_an_error() -> None:
    """An impossible length means that nothing after it can be trusted."""
    with pytest.raises(ValueError, match="out of step"):
        list(FrameReader().feed(HEADER.pack(STDOUT, 1, PAYLOAD_BYTES_MAX + 1)))


def test_chunks_fit_frames() -> None:
    """Any data goes into frames whole and in order."""
    data = bytes(PAYLOAD_BYTES_MAX) + b"end"
    assert [len(chunk) for chunk in chunks(data)] == [PAYLOAD_BYTES_MAX, 3]
    assert b"".join(chunks(data)) == data
