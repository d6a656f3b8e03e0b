"""Random bytes: the host's, or a stream that a seed decides, or none.

The seeded stream is ChaCha20 (RFC 8439) keyed by the plan's 32 bytes, with a zero nonce and the block
counter in words 12 and 13; each call starts at a new block. A seed is for repeatable runs: whoever knows
the policy knows the bytes.
"""

from __future__ import annotations

from policy.plan import SourceKind
from sandbox.monitor import tables as plan
from sandbox.monitor.calls.shape import Lowering, enter
from sandbox.monitor.kernel import AT, long, word

_PARAMS = ("buf", "buf_len")
_WORDS = tuple(f"$x{i}" for i in range(16))
_CONSTANTS = (0x61707865, 0x3320646E, 0x79622D32, 0x6B206574)  # RFC 8439, 2.3
_OUTPUT = plan.RANDOM_STATE + 64


def _mix(a: str, b: str, c: str, turn: int) -> str:
    return (
        f"(local.set {a} (i32.add (local.get {a}) (local.get {b})))"
        f"(local.set {c} (i32.rotl (i32.xor (local.get {c}) (local.get {a})) (i32.const {turn})))\n"
    )


def _quarter(a: int, b: int, c: int, d: int) -> str:
    """One quarter round. SPEC: RFC 8439, 2.1."""
    w, x, y, z = (_WORDS[i] for i in (a, b, c, d))
    return _mix(w, x, z, 16) + _mix(y, z, x, 12) + _mix(w, x, z, 8) + _mix(y, z, x, 7)


_ROUNDS = "".join(
    _quarter(*indices)
    for indices in (
        (0, 4, 8, 12),
        (1, 5, 9, 13),
        (2, 6, 10, 14),
        (3, 7, 11, 15),
        (0, 5, 10, 15),
        (1, 6, 11, 12),
        (2, 7, 8, 13),
        (3, 4, 9, 14),
    )
)


def _word_in(index: int) -> str:
    return f"(i32.load $plan (i32.const {plan.RANDOM_STATE + 4 * index}))"


BLOCK = f"""
(func $random_block {" ".join(f"(local {name} i32)" for name in _WORDS)} (local $round i32)
  {
    "".join(
        f"(i32.store $plan (i32.const {plan.RANDOM_STATE + 4 * i}) (i32.const {c}))"
        for i, c in enumerate(_CONSTANTS)
    )
}
  (memory.copy $plan $plan (i32.const {plan.RANDOM_STATE + 16}) (i32.const {plan.SEED}) (i32.const 32))
  (i64.store $plan (i32.const {plan.RANDOM_STATE + 48}) {long(plan.RANDOM_BLOCK)})
  (i64.store $plan (i32.const {plan.RANDOM_STATE + 56}) (i64.const 0))
  (i64.store $plan (i32.const {plan.RANDOM_BLOCK}) (i64.add {long(plan.RANDOM_BLOCK)} (i64.const 1)))
  {"".join(f"(local.set {name} {_word_in(i)})" for i, name in enumerate(_WORDS))}
  (loop $double
{_ROUNDS}
    (local.set $round (i32.add (local.get $round) (i32.const 1)))
    (br_if $double (i32.lt_u (local.get $round) (i32.const 10))))
  {
    "".join(
        f"(i32.store $plan (i32.const {_OUTPUT + 4 * i}) (i32.add (local.get {name}) {_word_in(i)}))"
        for i, name in enumerate(_WORDS)
    )
})
"""

_RANDOM = f"""{enter("random_get")}
(i64.store $ring offset={AT["aux"]} (global.get $rec) (i64.extend_i32_u (local.get $buf_len)))
(call $publish)
(if (i32.ne {word(plan.RANDOM_KIND)} (i32.const {int(SourceKind.FIXED)})) (then
  (return (call $complete (call $real.random_get (local.get $buf) (local.get $buf_len))))))
(block $over (loop $next
  (br_if $over (i32.eqz (local.get $buf_len)))
  (call $random_block)
  (local.set $n (select (local.get $buf_len) (i32.const 64) (i32.lt_u (local.get $buf_len) (i32.const 64))))
  (memory.copy $guest $plan (local.get $buf) (i32.const {_OUTPUT}) (local.get $n))
  (local.set $buf (i32.add (local.get $buf) (local.get $n)))
  (local.set $buf_len (i32.sub (local.get $buf_len) (local.get $n)))
  (br $next)))
(call $complete (i32.const 0))"""

FUNCTIONS = (Lowering("random_get", _PARAMS, "aux: bytes", _RANDOM, ("$n i32",)),)
