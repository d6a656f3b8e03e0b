from __future__ import annotations

import threading

import pytest

from api.http.streams import pieces


def test_what_is_written_comes_out_in_order_and_to_the_end():
    content = bytes(range(256)) * 10_000

    def write(out):
        for at in range(0, len(content), 1_000):
            out.write(content[at : at + 1_000])

    assert b"".join(pieces(write)) == content
    assert list(pieces(lambda _out: None)) == []


def test_an_error_of_the_writer_ends_the_answer_after_what_was_written():
    def write(out):
        out.write(b"first")
        out.flush()
        raise ValueError("in the middle")

    found = pieces(write)
    assert next(found) == b"first"
    with pytest.raises(ValueError, match="middle"):
        next(found)


def test_a_reader_that_goes_away_ends_the_writer_and_a_slow_one_makes_it_wait():
    ended, wrote = threading.Event(), []

    def write(out):
        try:
            while True:
                out.write(b"x" * (1 << 18))
                wrote.append(1)
        finally:
            ended.set()

    found = pieces(write)
    next(found)
    assert not ended.is_set()
    found.close()
    assert ended.wait(5)
    assert len(wrote) < 40  # a few pieces, however long the writer could go on
