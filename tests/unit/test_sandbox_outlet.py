"""Output on its way out: in order, bounded, and never in the way of whoever puts it in."""

from __future__ import annotations

import threading

from sandbox.outlet import Outlet, ignore

NEVER = threading.Event()


def test_pieces_are_passed_on_in_order_and_kept():
    heard: list[bytes] = []
    outlet = Outlet(heard.append, is_kept=True, max_bytes=-1)
    pieces = [b"%d" % number for number in range(500)]
    for piece in pieces:
        outlet.put(piece)
    outlet.finish(NEVER)
    assert heard == pieces
    assert bytes(outlet.kept) == b"".join(pieces)


def test_nothing_is_kept_that_is_not_to_be():
    outlet = Outlet(ignore, is_kept=False, max_bytes=-1)
    outlet.put(b"x")
    outlet.finish(NEVER)
    assert (bytes(outlet.kept), outlet.is_full) == (b"", False)


def test_a_reader_that_does_not_read_fills_it_and_does_not_block_it():
    gate = threading.Event()
    outlet = Outlet(lambda _chunk: gate.wait(20), is_kept=False, max_bytes=-1)
    while not outlet.is_full:
        outlet.put(bytes(65_536))
    gate.set()
    outlet.finish(NEVER)
    assert not outlet.is_full


def test_nobody_waits_long_for_a_reader_once_the_run_is_abandoned():
    gate, abandoned = threading.Event(), threading.Event()
    outlet = Outlet(lambda _chunk: gate.wait(20), is_kept=False, max_bytes=-1)
    outlet.put(b"x")
    abandoned.set()
    outlet.finish(abandoned)
    gate.set()


def test_after_an_error_the_rest_is_dropped_and_the_error_kept():
    heard: list[bytes] = []

    def fail_second(chunk: bytes) -> None:
        heard.append(chunk)
        if len(heard) == 2:
            raise BrokenPipeError

    outlet = Outlet(fail_second, is_kept=True, max_bytes=-1)
    for piece in (b"a", b"b", b"c"):
        outlet.put(piece)
    outlet.finish(NEVER)
    assert (heard, bytes(outlet.kept)) == ([b"a", b"b"], b"abc")
    assert isinstance(outlet.error, BrokenPipeError)


def test_more_than_allowed_is_seen_and_not_kept():
    outlet = Outlet(ignore, is_kept=True, max_bytes=3)
    said = []
    for piece in (b"abc", b"d" * 1_000):
        outlet.put(piece)
        said.append(outlet.is_too_much)
    assert said == [False, True]
    assert bytes(outlet.kept) == b"abc"
