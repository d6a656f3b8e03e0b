"""The monitor's three modules as WebAssembly text: `gate`, `probe` and `monitor`.

They are functions of the table of host calls alone, never of a plan or a guest, so they are compiled once.
How they are put together with a guest is in `sandbox/engine_wasmtime.py`. Nothing is read or written here.
"""

from __future__ import annotations

from policy.calls import CALLS, MODULE, HostCall
from sandbox.monitor import calls, layout, tables
from sandbox.monitor.determinism import DETERMINISM
from sandbox.monitor.kernel import kernel
from sandbox.monitor.over_time import OVER_TIME
from sandbox.monitor.paths import PATHS
from sandbox.monitor.payloads import PAYLOADS
from sandbox.monitor.rights import RIGHTS
from sandbox.monitor.sha256 import SHA256
from sandbox.network.protocol import EXCHANGE_BYTES
from sandbox.parts import slots

PROBED = (
    "clock_time_get",
    "fd_close",
    "fd_fdstat_get",
    "fd_filestat_get",
    "fd_tell",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
)
"""The host functions that the monitor calls on its own account, through the probe."""

_TYPES = {"i": "i32", "I": "i64"}
_NOTCAPABLE = 76


def _type(call: HostCall) -> str:
    params = " ".join(_TYPES[letter] for letter in call.parameters)
    return f"(param {params})" + (" (result i32)" if call.has_result else "")


NOTE = "note"
"""What the bridge of components calls for what is recorded only; modules are never linked to it."""


def gate(*, for_components: bool = False) -> str:
    """What the guest is linked to: each call goes through a table that the monitor fills.

    Until then the slots hold stubs that refuse and count: `unarmed` says how often a `start` section
    called the host.
    """
    # SECURITY: table and counter come from outside: all that this exports can be imported by a guest
    count = slots(for_components=for_components)
    text = ['(module (import "slots" "table" (table $t ', f"{count} {count} funcref))"]
    text.append('(import "slots" "unarmed" (global $n (mut i32)))')
    for code, call in enumerate(CALLS):
        arguments = " ".join(f"(local.get {i})" for i in range(len(call.parameters)))
        end = f"(i32.const {_NOTCAPABLE})" if call.has_result else "(unreachable)"
        text.append(f"(type $t{code} (func {_type(call)}))")
        text.append(
            f"(func $s{code} (type $t{code}) (global.set $n (i32.add (global.get $n) (i32.const 1))) {end})"
        )
        text.append(
            f'(func (export "{call.name}") (type $t{code})'
            f" (call_indirect $t (type $t{code}) {arguments} (i32.const {code})))"
        )
    stubs = " ".join(f"$s{code}" for code in range(len(CALLS)))
    text.append(f"(elem (table $t) (i32.const 0) func {stubs})")
    if for_components:
        text.append("(type $tn (func (param i32) (result i32)))")
        text.append(f'(func (export "{NOTE}") (type $tn)')
        text.append(f"(call_indirect $t (type $tn) (local.get 0) (i32.const {len(CALLS)})))")
    text.append(")")
    return "\n".join(text)


def probe() -> str:
    """Host functions for the monitor's own use, on a memory that the guest cannot see."""
    probed = [call for call in CALLS if call.name in PROBED]
    imports = [f'(import "{MODULE}" "{c.name}" (func ${c.name} {_type(c)}))' for c in probed]
    exports = []
    for call in probed:
        arguments = " ".join(f"(local.get {i})" for i in range(len(call.parameters)))
        exports.append(f'(func (export "{call.name}") {_type(call)} (call ${call.name} {arguments}))')
    return "\n".join(["(module", *imports, '(memory (export "memory") 1 1)', *exports, ")"])


def monitor(*, for_components: bool = False) -> str:
    """The reference monitor: decides and records each call between the gate and the host.

    That of components records each call under the code that the bridge says it has.
    """
    count = slots(for_components=for_components)
    text = ["(module"]
    own = [call for call in CALLS if not call.is_extension]
    text += [f'(import "{MODULE}" "{c.name}" (func $real.{c.name} {_type(c)}))' for c in own]
    text += [
        f'(import "probe" "{c.name}" (func $probe.{c.name} {_type(c)}))' for c in CALLS if c.name in PROBED
    ]
    text.append('(import "host" "drain" (func $host.drain (param i32) (result i32)))')
    asking = "(param i32 i32 i64 i64 i64 i64 i64 i64) (result i32)"
    text += [f'(import "host" "{door}" (func $host.{door} {asking}))' for door in ("ask", "network")]
    text.append(f'(import "gate" "table" (table $t {count} {count} funcref))')
    if for_components:
        text.append('(import "slots" "as" (global $as (mut i32)))')
    text.append('(import "guest" "memory" (memory $guest 0))')
    text.append('(import "probe" "memory" (memory $scratch 1))')
    pages = layout.RING_PAGES
    text.append(f'(memory $ring (export "ring") {pages} {pages})')
    shared = EXCHANGE_BYTES // layout.PAGE
    text.append(f'(memory $exchange (export "exchange") {shared} {shared})')
    text.append(f'(memory $plan (export "plan") {tables.MIN_PAGES})')
    # the host finds the guest's memory through its caller's export of this name
    text.append('(export "memory" (memory $guest))')
    text += [
        kernel(for_components=for_components),
        OVER_TIME,
        RIGHTS,
        PATHS,
        SHA256,
        PAYLOADS,
        DETERMINISM,
        calls.SUPPORT,
    ]
    text += [function.text() for function in calls.FUNCTIONS]
    names = " ".join(f"$m.{call.name}" for call in CALLS) + (" $m.note" if for_components else "")
    text.append(f"(elem (table $t) (i32.const 0) func {names}))")
    return "\n".join(text)
