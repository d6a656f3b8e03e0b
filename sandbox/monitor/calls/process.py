"""Leaving, signalling and yielding.

The exit code is taken from here, not from the engine, which takes only codes below 126 for an exit.
A `proc_exit` stays in flight: the call never returns.
"""

from __future__ import annotations

from sandbox.monitor import layout as ring
from sandbox.monitor.calls.shape import Lowering, enter, plain
from sandbox.monitor.kernel import AT

_EXIT = f"""{enter("proc_exit")}
(i64.store $ring offset={AT["flags"]} (global.get $rec) (i64.extend_i32_u (local.get $rval)))
(call $publish)
(i32.store $ring (i32.const {ring.EXIT_CODE}) (local.get $rval))
(i32.store $ring (i32.const {ring.EXITED}) (i32.const 1))
(call $real.proc_exit (local.get $rval))
(unreachable)"""

FUNCTIONS = (
    Lowering("proc_exit", ("rval",), "flags: the exit code", _EXIT),
    plain("proc_raise", "sig"),
    plain("sched_yield"),
)
