from __future__ import annotations

import os
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overnight.tasks.evaluate.delivery import MAX_FRAME, Demultiplexer, FrameBuffer, WireFault
from overnight.tasks.evaluate.runner import frames


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(0, 10_000), max_size=20))
def test_frames_are_restored_wherever_the_stream_is_cut(data: list[bytes], places: list[int]):
    buffer, got = FrameBuffer(), []
    for piece in cut(b"".join(map(frames.frame, data)), places):
        buffer.feed(piece)
        while (frame := buffer.take()) is not None:
            got.append(frame)
    assert got == data


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=300))), st.lists(st.integers(0, 10_000), max_size=20)
)
def test_streams_are_demultiplexed_wherever_they_are_cut(pieces: list[tuple[int, bytes]], places: list[int]):
    wire = b"".join(struct.pack(">BxxxL", stream, len(data)) + data for stream, data in pieces)
    demultiplexer = Demultiplexer()
    outs = [demultiplexer.feed(piece) for piece in cut(wire, places)]
    for stream in (1, 2):
        assert b"".join(out[stream - 1] for out in outs) == b"".join(data for s, data in pieces if s == stream)


@given(st.binary(min_size=8, max_size=100))
def test_noise_in_the_stream_is_a_fault_or_an_incomplete_piece(data: bytes):
    demultiplexer = Demultiplexer()
    if data[0] in (1, 2):
        demultiplexer.feed(data[:8])
    else:
        with pytest.raises(WireFault):
            demultiplexer.feed(data)


def test_a_too_long_frame_is_a_fault():
    buffer = FrameBuffer()
    buffer.feed(frames.LENGTH.pack(MAX_FRAME + 1))
    with pytest.raises(WireFault, match="at most"):
        buffer.take()


def test_frames_and_the_end_of_a_pipe_are_read_from_descriptors():
    read_end, write_end = os.pipe()
    sent = [b"", b"x" * 10_000, memoryview(b"y" * 4096), b"z"]
    frames.write_frames(write_end, sent, timeout_s=1)
    assert [frames.read_frame(read_end) for _ in sent] == sent
    with pytest.raises(TimeoutError):
        frames.read_exactly(read_end, 1, timeout_s=0.01)
    os.write(write_end, b"1")
    os.close(write_end)
    with pytest.raises(EOFError, match="expected 2 bytes, got 1"):
        frames.read_exactly(read_end, 2, timeout_s=1)
    os.close(read_end)


def test_writing_times_out_if_nobody_reads():
    read_end, write_end = os.pipe()
    with pytest.raises(TimeoutError):
        frames.write_frames(write_end, [b"x" * 2**20], timeout_s=0.01)
    os.close(read_end)
    os.close(write_end)
