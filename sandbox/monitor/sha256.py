"""SHA-256 as WebAssembly text, for digests of what calls move (FIPS 180-4).

What is hashed, and when, is decided in `payloads.py`. The rounds are written out, and the schedule lives in
sixteen locals, so that the engine keeps all of it in registers. INVARIANT: only `$plan` memory is read and
written but for the guest's bytes, which are copied once and never read again.
"""

from __future__ import annotations

from math import isqrt

from sandbox.monitor import tables as plan

BUFFER = plan.STACKS  # the walk along paths is never under way when bytes are hashed
_BUFFER_BYTES = plan.STACK_BYTES
_BLOCK = 64
_LENGTH_AT = _BLOCK - 8
_WORKING = tuple(f"$v{index}" for index in range(8))
_SCHEDULE = tuple(f"$w{index}" for index in range(16))


def _primes(count: int) -> list[int]:
    found: list[int] = []
    candidate = 2
    while len(found) < count:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return found


def _root_bits(prime: int, *, power: int) -> int:
    """The first 32 bits of the fraction of a prime's square or cube root. SPEC: FIPS 180-4, 4.2.2, 5.3.3."""
    shifted = prime << (32 * power)
    if power == 2:  # the square root
        return isqrt(shifted) & 0xFFFFFFFF
    low, high = 0, 1 << 40
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**3 <= shifted else (low, middle)
    return low & 0xFFFFFFFF


INITIAL = tuple(_root_bits(prime, power=2) for prime in _primes(8))
ROUNDS = tuple(_root_bits(prime, power=3) for prime in _primes(64))


def _get(name: str) -> str:
    return f"(local.get {name})"


def _sum(*terms: str) -> str:
    first, *rest = terms
    for term in rest:
        first = f"(i32.add {first} {term})"
    return first


def _xor(first: str, *rest: str) -> str:
    for term in rest:
        first = f"(i32.xor {first} {term})"
    return first


def _turn(name: str, *turns: int, shift: int = 0) -> str:
    parts = [f"(i32.rotr {_get(name)} (i32.const {turn}))" for turn in turns]
    parts += [f"(i32.shr_u {_get(name)} (i32.const {shift}))"] if shift else []
    return _xor(*parts)


def swapped(value: str) -> str:
    """An expression for a word with its bytes in the other order; `value` is a local, read twice."""
    return (
        f"(i32.or (i32.and (i32.rotl {value} (i32.const 8)) (i32.const 0x00ff00ff))"
        f" (i32.and (i32.rotr {value} (i32.const 8)) (i32.const 0xff00ff00)))"
    )


def _word(index: int) -> str:
    """Make the word of the schedule that a round takes."""
    name = _SCHEDULE[index % 16]
    if index < len(_SCHEDULE):
        loaded = f"(local.set $x (i32.load $plan offset={4 * index} (local.get $at)))"
        return f"{loaded}(local.set {name} {swapped('(local.get $x)')})\n"
    near, far = _SCHEDULE[(index + 1) % 16], _SCHEDULE[(index + 14) % 16]
    value = _sum(
        _get(name),
        _turn(near, 7, 18, shift=3),
        _get(_SCHEDULE[(index + 9) % 16]),
        _turn(far, 17, 19, shift=10),
    )
    return f"(local.set {name} {value})\n"


def _round(index: int) -> str:
    a, b, c, d, e, f, g, h = (_WORKING[(place - index) % 8] for place in range(8))
    choice = _xor(_get(g), f"(i32.and {_get(e)} {_xor(_get(f), _get(g))})")
    majority = f"(i32.or (i32.and {_get(a)} {_get(b)}) (i32.and {_get(c)} (i32.or {_get(a)} {_get(b)})))"
    first = _sum(
        _get(h), _turn(e, 6, 11, 25), choice, f"(i32.const {ROUNDS[index]})", _get(_SCHEDULE[index % 16])
    )
    return (
        f"{_word(index)}(local.set $x {first})\n"
        f"(local.set {d} {_sum(_get(d), _get('$x'))})\n"
        f"(local.set {h} {_sum(_get('$x'), _turn(a, 2, 13, 22), majority)})\n"
    )


def _state(index: int) -> int:
    return plan.HASH_STATE + 4 * index


def _lines(make: str, values: tuple[object, ...]) -> str:
    return "\n".join(make.format(at=_state(index), value=value) for index, value in enumerate(values))


SHA256 = f"""
(func $hash_blocks (param $at i32) (param $end i32)
  {" ".join(f"(local {name} i32)" for name in (*_WORKING, *_SCHEDULE, "$x"))}
  ;; whole blocks of `$plan` memory from `$at` to `$end`
  (block $over (loop $next
    (br_if $over (i32.ge_u (local.get $at) (local.get $end)))
{_lines("(local.set {value} (i32.load $plan (i32.const {at})))", _WORKING)}
{"".join(_round(index) for index in range(64))}
{
    _lines(
        "(i32.store $plan (i32.const {at}) (i32.add (i32.load $plan (i32.const {at})) (local.get {value})))",
        _WORKING,
    )
}
    (local.set $at (i32.add (local.get $at) (i32.const {_BLOCK})))
    (br $next))))
(func $hash (param $at i32) (param $len i32) (param $out i32)
  (local $n i32) (local $rest i32) (local $last i32) (local $x i32)
  ;; the digest of guest memory, which the caller has found to be there, into the ring at `$out`
{_lines("  (i32.store $plan (i32.const {at}) (i32.const {value}))", INITIAL)}
  (local.set $rest (local.get $len))
  (block $over (loop $next
    (br_if $over (i32.lt_u (local.get $rest) (i32.const {_BLOCK})))
    (local.set $n (i32.and (local.get $rest) (i32.const {-_BLOCK})))
    (if (i32.gt_u (local.get $n) (i32.const {_BUFFER_BYTES}))
      (then (local.set $n (i32.const {_BUFFER_BYTES}))))
    (memory.copy $plan $guest (i32.const {BUFFER}) (local.get $at) (local.get $n))
    (call $hash_blocks (i32.const {BUFFER}) (i32.add (i32.const {BUFFER}) (local.get $n)))
    (local.set $at (i32.add (local.get $at) (local.get $n)))
    (local.set $rest (i32.sub (local.get $rest) (local.get $n)))
    (br $next)))
  ;; SPEC: FIPS 180-4, 5.1.1: a one, zeros, and the length in bits
  (memory.fill $plan (i32.const {BUFFER}) (i32.const 0) (i32.const {2 * _BLOCK}))
  (memory.copy $plan $guest (i32.const {BUFFER}) (local.get $at) (local.get $rest))
  (i32.store8 $plan (i32.add (i32.const {BUFFER}) (local.get $rest)) (i32.const 0x80))
  (local.set $last (i32.add (i32.const {BUFFER}) (select (i32.const {_BLOCK}) (i32.const 0)
    (i32.ge_u (local.get $rest) (i32.const {_LENGTH_AT})))))
  (local.set $x (i32.shr_u (local.get $len) (i32.const 29)))
  (i32.store $plan offset={_LENGTH_AT} (local.get $last) {swapped("(local.get $x)")})
  (local.set $x (i32.shl (local.get $len) (i32.const 3)))
  (i32.store $plan offset={_LENGTH_AT + 4} (local.get $last) {swapped("(local.get $x)")})
  (call $hash_blocks (i32.const {BUFFER}) (i32.add (local.get $last) (i32.const {_BLOCK})))
{
    "".join(
        f'''  (local.set $x (i32.load $plan (i32.const {_state(index)})))
  (i32.store $ring offset={4 * index} (local.get $out) {swapped("(local.get $x)")})
'''
        for index in range(8)
    )
})
"""
