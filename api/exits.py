"""Exit statuses of `wasmgate run`, which scripts rely on.

How an execution ended is decided in `sandbox.outcome`. INVARIANT: only a guest that ended by itself with 0
gives status 0.
"""

from __future__ import annotations

from typing import assert_never

from audit.receipt import Outcome, OutcomeKind

REFUSED = 125  # as `docker run`: the program was not started
TRAPPED = 134  # as `wasmtime run`, and 128 + SIGABRT
STOPPED = 137  # 128 + SIGKILL
_OTHER = 255


def exit_status(outcome: Outcome, *, signal_number: int = 0) -> int:
    """The status for an outcome; `signal_number` is the signal that made us end the guest, if one did."""
    match outcome.kind:
        case OutcomeKind.EXITED:
            code = outcome.exit_code or 0
            # a status has eight bits: 256 would come out as 0, so what does not fit is 255
            return code if 0 <= code <= 255 else _OTHER
        case OutcomeKind.TRAPPED:
            return TRAPPED
        case OutcomeKind.LIMIT:
            return STOPPED
        case OutcomeKind.KILLED:
            return 128 + signal_number if signal_number else STOPPED
        case OutcomeKind.REFUSED:
            return REFUSED
        case _:
            assert_never(outcome.kind)
