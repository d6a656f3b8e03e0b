"""Native code in a cell tells its supervisor lies: what was said before the guest began stands."""

from __future__ import annotations

import json

import pytest

from audit.receipt import OutcomeKind
from sandbox.guest import EndKind
from sandbox.job import CellEnd, Request
from tests.escape.native import LIBC, WHOLE
from tests.runs import limit, policy

TOO_LONG = 60_000


def say(*messages: str) -> str:
    """Send messages, given in hexadecimal, on every socket that there is."""
    sent = 0
    for number in range(3, 64):
        for message in messages:
            text = bytes.fromhex(message)
            if LIBC.send(number, text, len(text), 0) < 0:  # no socket
                break
            sent += 1
    return str(sent)


def say_and_spin(*messages: str) -> str:
    say(*messages)
    while True:
        pass


def message(request: int, text: bytes) -> str:
    return (bytes([request]) + text).hex()


def end(kind: EndKind = EndKind.RETURNED, text: str = "") -> str:
    return message(Request.END, CellEnd(kind, text, 0, 0, 0, 0).to_json())


WALLS = message(Request.START, json.dumps(["landlock", "cgroup", "wasm"]).encode())
LIES = {
    "walls": [WALLS],
    "no request": [message(200, b"")],
    "not JSON": [message(Request.END, b"\xff\xfe{")],
    "deep JSON": [message(Request.END, b"[" * TOO_LONG)],
    "long": [message(Request.END, b'"' + b"x" * TOO_LONG)],
    "no kind": [message(Request.END, b"{}")],
    "numbers": [message(Request.END, b'{"kind":"exited","message":"","exit_code":1e999}')],
    "many": [message(Request.SYNC, b"")] * 100,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_changes_no_walls_and_the_supervisor_goes_on(lie, lab):
    attempt = lab.attempt(say, *LIES[lie])
    receipt = attempt.execution.receipt
    assert attempt.said == str(len(LIES[lie]))
    assert receipt.missing_walls == ("cgroup",)
    assert receipt.outcome.kind in {OutcomeKind.EXITED, OutcomeKind.KILLED}
    assert lab.attempt(say).said == "0"  # and the next run is as it was


def test_the_first_end_counts(lab):
    trapped = lab.attempt(say, end(EndKind.TRAPPED, "first"), end(EndKind.RETURNED)).execution.receipt
    assert (trapped.outcome.kind, trapped.outcome.message) == (OutcomeKind.TRAPPED, "first")


def test_nobody_gets_more_time_by_saying_that_it_starts(lab):
    plan = policy(WHOLE + "resources: {limits: {timeout: 500ms, cpu: unlimited}}\n")
    said = [WALLS] * 50
    assert lab.attempt(say_and_spin, *said, plan=plan).execution.receipt.outcome == limit("timeout")
