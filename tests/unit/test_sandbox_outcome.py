"""How an end is named, from signs that contradict each other: what the supervisor did comes first."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from audit.receipt import Outcome, OutcomeKind
from sandbox.guest import EndKind
from sandbox.job import MAX_COUNT, CellEnd
from sandbox.monitor.layout import Stop
from sandbox.outcome import CANCELLED, UNSOUND, Signs, judge

END = CellEnd(EndKind.RETURNED, "", 0, 0, 0, 0)
SIGNS = Signs(limit="", killed_for="", stop=0, has_exited=False, exit_code=0, end=END, status=0)


def judged(**changes):
    return judge(replace(SIGNS, **changes), is_sound=True)


def limit(name):
    return Outcome(kind=OutcomeKind.LIMIT, limit=name, message=f"stopped by the limit `{name}`")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Outcome(kind=OutcomeKind.EXITED, exit_code=0)),
        ({"has_exited": True, "exit_code": 4_294_967_295}, Outcome(kind=OutcomeKind.EXITED, exit_code=4_294_967_295)),
        ({"limit": "timeout", "stop": Stop.STDOUT, "has_exited": True}, limit("timeout")),
        ({"stop": Stop.STDOUT, "has_exited": True}, limit("stdout")),
        ({"stop": Stop.AUDIT, "end": None, "status": -9}, limit("audit")),
        ({"stop": 77}, Outcome(kind=OutcomeKind.EXITED, exit_code=0)),
        ({"killed_for": CANCELLED}, Outcome(kind=OutcomeKind.KILLED, message=CANCELLED)),
        ({"end": None, "status": -9}, Outcome(kind=OutcomeKind.KILLED, message="the cell ended with signal 9")),
        ({"end": None, "status": -60}, Outcome(kind=OutcomeKind.KILLED, message="the cell ended with signal 60")),
        ({"end": None, "status": 3}, Outcome(kind=OutcomeKind.KILLED, message="the cell ended with status 3")),
        ({"end": None, "status": -signal.SIGXCPU}, limit("cpu")),
        ({"end": None, "status": -signal.SIGALRM}, limit("timeout")),
        # killed after it said that it left, and before it could say how its guest ended
        ({"end": None, "status": -9, "has_exited": True}, Outcome(kind=OutcomeKind.KILLED, message="the cell ended with signal 9")),
    ],
)  # fmt: skip
def test_an_end_is_named(changes, expected):
    assert judged(**changes) == expected


@pytest.mark.parametrize("kind", list(EndKind))
def test_every_end_that_a_cell_can_tell_has_a_name(kind):
    outcome = judged(end=replace(END, kind=kind, message="a\n\x1b[2Jb\u202e", exit_code=3))
    assert outcome.kind in OutcomeKind
    assert (outcome.message or "").isprintable()


def test_contradicting_records_are_no_success():
    signs = replace(SIGNS, has_exited=True)
    assert judge(signs, is_sound=False) == Outcome(kind=OutcomeKind.KILLED, message=UNSOUND)


def test_calls_that_came_too_early_are_told():
    message = judged(end=replace(END, unarmed=2)).message
    assert message is not None
    assert message.startswith("2 host calls of the module's start section were refused")


def test_a_trap_is_told_without_the_engines_advice():
    said = (
        "error: 0: 0x1 - f\nnote: using the `WASMTIME_BACKTRACE_DETAILS=1` environment variable may show more"
    )
    trap = replace(END, kind=EndKind.TRAPPED, message=f"{said}\n\nCaused by:\n    wasm trap: unreachable")
    assert judged(end=trap).message == "error: 0: 0x1 - f Caused by: wasm trap: unreachable"
    plain = replace(trap, message="wasm trap: out of bounds")
    assert judged(end=plain).message == "wasm trap: out of bounds"


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"null", b"{}", b'{"kind": "nothing"}', b"\xff", b"[" * 100_000, b"1e999"],
)
def test_what_is_no_message_of_a_cell_is_none(text):
    assert CellEnd.from_json(text) is None


def test_numbers_of_a_cell_are_bounded():
    huge = (
        b'{"kind": "exited", "message": "m", "exit_code": 1e3, "memory_bytes": 1, "cpu_ms": 1, "unarmed": 1}'
    )
    assert CellEnd.from_json(huge) is None
    text = (
        END.to_json()
        .replace(b'"memory_bytes": 0', b'"memory_bytes": 99999999999999999999')
        .replace(b'"cpu_ms": 0', b'"cpu_ms": -5')
    )
    found = CellEnd.from_json(text)
    assert found is not None
    assert (found.memory_bytes, found.cpu_ms) == (MAX_COUNT, 0)
    assert CellEnd.from_json(END.to_json()) == END
