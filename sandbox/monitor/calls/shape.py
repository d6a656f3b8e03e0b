"""The one shape of every host call's entry in the monitor, and the bodies that many share.

Which functions there are, with their parameters and rights, is `policy.calls.CALLS`; here is how one
is lowered to WebAssembly text. A body ends with the errno on the stack, and it reaches the host only
between `publish` and `complete`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from policy.calls import CALL_CODES, CALLS, HostCall
from sandbox.monitor import kernel, tables
from sandbox.monitor.over_time import counts_call

_TYPES = {"i": "i32", "I": "i64"}


@dataclass(frozen=True, slots=True)
class Lowering:
    """One host call, lowered: parameter names in order, what is kept on record, and the body."""

    name: str
    params: tuple[str, ...]
    records: str  # what `flags`, `aux` and the targets of its record hold
    body: str
    locals: tuple[str, ...] = field(default=())  # as `$errno i32`

    @property
    def call(self) -> HostCall:
        """The entry of the table that this lowers."""
        return CALLS[CALL_CODES[self.name]]

    def signature(self) -> str:
        """Parameters and result, as WebAssembly text."""
        params = " ".join(
            f"(param ${name} {_TYPES[letter]})"
            for name, letter in zip(self.params, self.call.parameters, strict=True)
        )
        return f"{params} (result i32)" if self.call.has_result else params

    def text(self) -> str:
        """The monitor's function for this call."""
        names = " ".join(f"(local {name})" for name in self.locals)
        return f"(func $m.{self.name} {self.signature()} {names}\n{self.body})\n"


def enter(name: str, fd: str = "(i32.const -1)", before_denied: str = "") -> str:
    """Begin the record of a call, refuse it when its plan refuses it whatever its arguments.

    `before_denied` is what goes on record before that.
    """
    code, call = CALL_CODES[name], CALLS[CALL_CODES[name]]
    rule = f"(i32.load $plan (i32.const {tables.DENIED_CALLS + 4 * code}))"
    end = "(return (call $refuse (i32.const 76)))"
    if not call.has_result:
        end = "(drop (call $refuse (i32.const 76))) (unreachable)"
    denied = f"(if {rule} (then (if (call $denied {rule}) (then {end}))))"
    return f"{kernel.enter(code, fd, is_io=call.does_io)}{before_denied}{denied}\n"


def real(name: str, params: tuple[str, ...]) -> str:
    """Call the host's own function with the guest's own arguments."""
    arguments = " ".join(f"(local.get ${param})" for param in params)
    return f"(call $real.{name} {arguments})"


def plain(name: str, *params: str, records: str = "nothing more") -> Lowering:
    """A call that has no descriptor: decided by name alone."""
    body = enter(name) + f"(call $publish)\n(call $complete {real(name, params)})"
    return Lowering(name, params, records, body)


def on_descriptor(name: str, *params: str, need: int = 0, records: str = "nothing more") -> Lowering:
    """A call on an open descriptor, of a path that has the rights in `need`."""
    checks = known()
    if need:
        checks += (
            f"(if (call $forbids (local.get $at) (i32.const {need}))"
            " (then (return (call $refuse (i32.const 76)))))\n"
        )
    body = enter(name, "(local.get $fd)") + checks
    body += f"(call $publish)\n(call $complete {real(name, params)})"
    return Lowering(name, params, records, body, ("$at i32",))


def known() -> str:
    """Find the entry of `$fd` as `$at`, or answer `badf`."""
    return (
        "(local.set $at (call $about (local.get $fd)))\n"
        "(if (i32.eqz (local.get $at)) (then (return (call $badf))))\n"
    ) + counts_call("(call $marks_of (local.get $at))", is_first=True)
