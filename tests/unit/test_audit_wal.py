"""Frames come back as they were written, and never anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.identity import ExecutionId
from audit.wal import FIRST, HEADER_BYTES, Frame, Kind, Problem, encode, read_frames

IDS = st.uuids().map(lambda value: ExecutionId(str(value)))
FRAMES = st.builds(
    Frame,
    st.sampled_from(Kind),
    IDS,
    st.binary(max_size=200),
    st.binary(max_size=80),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)


def written(frames):
    """Give the bytes, and where each frame ends."""
    content, previous, ends = b"", FIRST, []
    for number, frame in enumerate(frames):
        header, previous = encode(frame, frame_no=number, previous=previous)
        content += header + frame.payload + frame.arena
        ends.append(len(content))
    return content, ends


def same(found, expected):
    assert [
        (f.kind, f.exec_id, bytes(f.payload), bytes(f.arena), f.first_seq, f.n_records, f.arena_start)
        for f in found
    ] == [(f.kind, f.exec_id, f.payload, f.arena, f.first_seq, f.n_records, f.arena_start) for f in expected]


@given(st.lists(FRAMES, max_size=6))
def test_frames_come_back(frames):
    content, _ = written(frames)
    scan = read_frames(content)
    same(scan.frames, frames)
    assert (scan.valid_bytes, scan.total_bytes, scan.problem) == (len(content), len(content), None)


@given(st.lists(FRAMES, min_size=1, max_size=3))
def test_cut_at_every_byte_it_gives_the_frames_that_are_whole(frames):
    content, ends = written(frames)
    for length in range(len(content)):
        scan = read_frames(content[:length])
        whole = [end for end in ends if end <= length]
        same(scan.frames, frames[: len(whole)])
        assert scan.valid_bytes == (whole[-1] if whole else 0)
        assert scan.problem is (None if length == scan.valid_bytes else Problem.TORN)


@given(st.lists(FRAMES, min_size=1, max_size=3), st.data())
def test_any_changed_bit_ends_the_reading_there(frames, data):
    content, ends = written(frames)
    at = data.draw(st.integers(0, len(content) - 1))
    broken = bytearray(content)
    broken[at] ^= 1 << data.draw(st.integers(0, 7))
    scan = read_frames(bytes(broken))
    same(scan.frames, frames[: sum(end <= at for end in ends)])
    assert scan.problem is not None


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(content):
    scan = read_frames(content)
    assert scan.valid_bytes <= scan.total_bytes == len(content)


def frame(number):
    return Frame(Kind.RECORDS, ExecutionId("01a20486-6d44-71fa-a66a-5abf52833cf0"), bytes([number]) * 64)


def test_a_frame_left_out_a_frame_twice_and_frames_swapped_are_seen():
    content, ends = written([frame(number) for number in range(3)])
    first, second, third = content[: ends[0]], content[ends[0] : ends[1]], content[ends[1] :]
    assert read_frames(first + second + third).problem is None
    for spliced, good in (
        (first + third, 1),
        (first + first, 1),
        (first + third + second, 1),
        (second + third, 0),
    ):
        scan = read_frames(spliced)
        assert (len(scan.frames), scan.problem) == (good, Problem.CORRUPT)


def test_a_frame_of_another_file_at_the_same_place_is_seen():
    ours, ends = written([frame(1), frame(2)])
    theirs, _ = written([frame(3), frame(4)])
    assert len(read_frames(ours[: ends[0]] + theirs[ends[0] :]).frames) == 1


def test_zeros_after_the_last_frame_are_what_a_crash_leaves():
    content, _ = written([frame(1)])
    scan = read_frames(content + bytes(4096))
    assert (len(scan.frames), scan.problem) == (1, Problem.TORN)


def test_the_header_has_the_documented_size():
    header, checksum = encode(frame(0), frame_no=0, previous=FIRST)
    assert len(header) == HEADER_BYTES == 88
    assert header.endswith(checksum)


def test_a_file_is_read_like_its_bytes(tmp_path):
    path = tmp_path / "x.wal"
    content, _ = written([frame(1), frame(2)])
    for length in (0, len(content) - 1, len(content)):
        path.write_bytes(content[:length])
        assert read_frames(path) == read_frames(content[:length])


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "x.wal").symlink_to(tmp_path / "y")
    with pytest.raises(OSError, match="symbolic"):
        read_frames(tmp_path / "x.wal")
