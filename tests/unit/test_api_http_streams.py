"""Answers that are written while they are read: in order, to the end, and over when the caller is gone."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from api.http.streams import Streamed, Writing
from tests.callers import answered


def read(write, taken, *, most=None):
    """Read what is written into a list, so many pieces at most."""

    async def reading():
        writing = Writing(write)
        found = writing.pieces()
        async for piece in found:
            taken.append(piece)
            if len(taken) == most:
                break
        await found.aclose()

    asyncio.run(reading())


def test_what_is_written_comes_out_in_order_and_to_the_end():
    content = bytes(range(256)) * 10_000

    def write(out):
        for at in range(0, len(content), 1_000):
            out.write(content[at : at + 1_000])

    found: list[bytes] = []
    nothing: list[bytes] = []
    read(write, found)
    read(lambda _out: None, nothing)
    assert (b"".join(found), nothing) == (content, [])


def test_an_error_of_the_writer_ends_the_answer_after_what_was_written():
    def write(out):
        out.write(b"first")
        out.flush()
        raise ValueError("in the middle")

    found: list[bytes] = []
    with pytest.raises(ValueError, match="middle"):
        read(write, found)
    assert found == [b"first"]


def test_a_reader_that_goes_away_ends_the_writer_and_a_slow_one_makes_it_wait():
    ended, wrote = threading.Event(), []

    def write(out):
        try:
            while True:
                out.write(b"x" * (1 << 18))
                wrote.append(1)
        finally:
            ended.set()

    read(write, [], most=1)
    assert ended.wait(5)
    assert len(wrote) < 40  # a few pieces, however long the writer could go on


def streamed(writing, **how):
    return answered(Streamed(writing.pieces(), writing.leave, media_type="text/csv", send_s=0.1), **how)


@pytest.mark.parametrize("leaves_at", [0, 1, 5, None], ids=["before", "first", "midway", "never"])
def test_a_stream_is_over_once_however_early_its_caller_leaves(leaves_at):
    over, ended = [], threading.Event()

    def write(out):
        try:
            for _ in range(1_000 if leaves_at is not None else 3):
                out.write(b"x" * (1 << 18))
        finally:
            ended.set()

    writing = Writing(write, lambda: over.append(1))
    streamed(writing, leaves_at=leaves_at)
    until = time.monotonic() + 5
    while not over and time.monotonic() < until:
        pass
    assert over == [1]
    assert ended.is_set() or leaves_at in {0, 1}  # nobody wrote for a caller who was gone before


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_a_stream_to_a_caller_who_cannot_be_sent_to_or_takes_nothing_is_over(how):
    over = threading.Event()

    def write(out):
        while True:
            out.write(b"x" * (1 << 18))

    writing = Writing(write, over.set)
    with pytest.raises(OSError):  # noqa: PT011  # a time limit is one as well; it has no text
        streamed(writing, **{how: True})
    assert over.wait(5)


def test_a_stream_whose_writer_is_slow_ends_as_soon_as_its_caller_leaves():
    over, go = threading.Event(), threading.Event()

    def write(out):
        out.write(b"first")
        out.flush()
        go.wait(10)

    writing = Writing(write, over.set)
    began = time.monotonic()
    streamed(writing, leaves_at=2)
    assert time.monotonic() - began < 5
    assert not over.is_set()  # the writer still holds what it holds
    go.set()
    assert over.wait(5)
