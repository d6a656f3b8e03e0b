"""Arguments, variables, exit, terminals, clocks and random numbers: `wasi:cli`, `wasi:clocks`, `wasi:random`.

No stream of a guest is a terminal here: its output goes through pipes, and it is told so.
"""

from __future__ import annotations

from sandbox.bridge.kernel import AT_TIME, COUNT, K_POLLABLE, NUMBER
from sandbox.bridge.shape import Body, p

_MOST_RANDOM = 1 << 24

SUPPORT = f"""
(func $datetime (param $to i32) (param $ns i64)
  (i64.store $b (local.get $to) (i64.div_u (local.get $ns) (i64.const 1000000000)))
  (i32.store $b offset=8 (local.get $to)
    (i32.wrap_i64 (i64.rem_u (local.get $ns) (i64.const 1000000000)))))
(func $time (param $clock i32) (result i64)
  (call $must (call $clock_time_get (local.get $clock) (i64.const 1) (i32.const {NUMBER})))
  (i64.load $b (i32.const {NUMBER})))
(func $resolution (param $clock i32) (result i64)
  (call $must (call $clock_res_get (local.get $clock) (i32.const {NUMBER})))
  (i64.load $b (i32.const {NUMBER})))
(func $random (result i64)
  (call $must (call $random_get (i32.const {NUMBER}) (i32.const 8)))
  (i64.load $b (i32.const {NUMBER})))
(func $random_bytes (param $n i64) (param $to i32) (local $at i32)
  (if (i64.gt_u (local.get $n) (i64.const {_MOST_RANDOM})) (then (unreachable)))
  (local.set $at (call $room (i32.wrap_i64 (local.get $n))))
  (call $must (call $random_get (local.get $at) (i32.wrap_i64 (local.get $n))))
  (i32.store $b (local.get $to) (local.get $at))
  (i32.store $b offset=4 (local.get $to) (i32.wrap_i64 (local.get $n))))
(func $length (param $at i32) (result i32) (local $end i32)
  ;; of a text that ends in NUL
  (local.set $end (local.get $at))
  (block $found (loop $next
    (br_if $found (i32.eqz (i32.load8_u $b (local.get $end))))
    (local.set $end (i32.add (local.get $end) (i32.const 1)))
    (br $next)))
  (i32.sub (local.get $end) (local.get $at)))
"""

# How many there are and how long is asked first, which is a call of its own, and recorded as the same one.
_ARGUMENTS = f"""
(call $must (call $args_sizes_get (i32.const {COUNT}) (i32.const {COUNT + 4})))
(local.set $n (i32.load $b (i32.const {COUNT})))
(local.set $at (call $room (i32.shl (local.get $n) (i32.const 2))))
(call $must (call $args_get (local.get $at) (call $room (i32.load $b (i32.const {COUNT + 4})))))
(local.set $out (call $room (i32.shl (local.get $n) (i32.const 3))))
(i32.store $b (local.get $to) (local.get $out))
(i32.store $b offset=4 (local.get $to) (local.get $n))
(block $end (loop $next
  (br_if $end (i32.eqz (local.get $n)))
  (i32.store $b (local.get $out) (i32.load $b (local.get $at)))
  (i32.store $b offset=4 (local.get $out) (call $length (i32.load $b (local.get $at))))
  (local.set $out (i32.add (local.get $out) (i32.const 8)))
  (local.set $at (i32.add (local.get $at) (i32.const 4)))
  (local.set $n (i32.sub (local.get $n) (i32.const 1)))
  (br $next)))"""

_VARIABLES = f"""
(call $must (call $environ_sizes_get (i32.const {COUNT}) (i32.const {COUNT + 4})))
(local.set $n (i32.load $b (i32.const {COUNT})))
(local.set $at (call $room (i32.shl (local.get $n) (i32.const 2))))
(call $must (call $environ_get (local.get $at) (call $room (i32.load $b (i32.const {COUNT + 4})))))
(local.set $out (call $room (i32.shl (local.get $n) (i32.const 4))))
(i32.store $b (local.get $to) (local.get $out))
(i32.store $b offset=4 (local.get $to) (local.get $n))
(block $end (loop $next
  (br_if $end (i32.eqz (local.get $n)))
  (local.set $name (i32.load $b (local.get $at)))
  (local.set $sign (local.get $name))
  (block $found (loop $seek
    (br_if $found (i32.eq (i32.load8_u $b (local.get $sign)) (i32.const 61)))
    (br_if $found (i32.eqz (i32.load8_u $b (local.get $sign))))
    (local.set $sign (i32.add (local.get $sign) (i32.const 1)))
    (br $seek)))
  (i32.store $b (local.get $out) (local.get $name))
  (i32.store $b offset=4 (local.get $out) (i32.sub (local.get $sign) (local.get $name)))
  (if (i32.load8_u $b (local.get $sign))
    (then (local.set $sign (i32.add (local.get $sign) (i32.const 1)))))
  (i32.store $b offset=8 (local.get $out) (local.get $sign))
  (i32.store $b offset=12 (local.get $out) (call $length (local.get $sign)))
  (local.set $out (i32.add (local.get $out) (i32.const 16)))
  (local.set $at (i32.add (local.get $at) (i32.const 4)))
  (local.set $n (i32.sub (local.get $n) (i32.const 1)))
  (br $next)))"""

_NONE = "(drop (call $note (i32.const -1)))(i32.store8 $b (local.get $to) (i32.const 0))"
_DURATION = f"""
(local.set $now (call $time (i32.const 1)))
(local.set $then (i64.add (local.get $now) {p(0)}))
(if (i64.lt_u (local.get $then) (local.get $now)) (then (local.set $then (i64.const -1))))
(call $new (i32.const {K_POLLABLE}) (i32.const 0) (local.get $then) (i32.const {AT_TIME}))"""
_INSTANT = f"""
(drop (call $note (i32.const -1)))
(call $new (i32.const {K_POLLABLE}) (i32.const 0) {p(0)} (i32.const {AT_TIME}))"""
_SEED = """
(local.set $one (call $random))
(i64.store $b offset=8 (local.get $to) (call $random))
(i64.store $b (local.get $to) (local.get $one))"""
_BYTES = f"(call $random_bytes {p(0)} (local.get $to))"
_WALL_NOW = "(call $datetime (local.get $to) (call $time (i32.const 0)))"
_WALL_RESOLUTION = "(call $datetime (local.get $to) (call $resolution (i32.const 0)))"

BODIES = (
    Body(
        "environment.get-environment",
        _VARIABLES,
        ("$n i32", "$at i32", "$out i32", "$name i32", "$sign i32"),
    ),
    Body("environment.get-arguments", _ARGUMENTS, ("$n i32", "$at i32", "$out i32")),
    Body("environment.initial-cwd", _NONE),
    # SPEC: wasi:cli/exit: a result, which is 0 or 1
    Body("exit.exit", f"(call $proc_exit (i32.ne {p(0)} (i32.const 0))) (unreachable)"),
    Body("exit.exit-with-code", f"(call $proc_exit (i32.and {p(0)} (i32.const 255))) (unreachable)"),
    Body("terminal-input.drop", "(unreachable)"),  # nobody was given one
    Body("terminal-output.drop", "(unreachable)"),
    Body("terminal-stdin.get-terminal-stdin", _NONE),
    Body("terminal-stdout.get-terminal-stdout", _NONE),
    Body("terminal-stderr.get-terminal-stderr", _NONE),
    Body("monotonic-clock.now", "(call $time (i32.const 1))"),
    Body("monotonic-clock.resolution", "(call $resolution (i32.const 1))"),
    Body("monotonic-clock.subscribe-instant", _INSTANT),
    Body("monotonic-clock.subscribe-duration", _DURATION, ("$now i64", "$then i64")),
    Body("wall-clock.now", _WALL_NOW),
    Body("wall-clock.resolution", _WALL_RESOLUTION),
    Body("random.get-random-bytes", _BYTES),
    Body("random.get-random-u64", "(call $random)"),
    Body("insecure.get-insecure-random-bytes", _BYTES),
    Body("insecure.get-insecure-random-u64", "(call $random)"),
    Body("insecure-seed.insecure-seed", _SEED, ("$one i64",)),
)
