"""Guests that run into limits, as WebAssembly: they spin, sleep, grow, recurse, print, and make files.

How a guest is made and run is `tests/runs.py`. Each has a twin that does the same and stays within, or can be
given a number that makes it one. Those that make files do it in the mount that is open as descriptor 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.runs import FOREVER, guest, says, text_data

NAME = 1_024
"""Where names of files lie; vectors of buffers are made at 0."""

UNREACHABLE = "(unreachable)"


def again(body: str, times: int | None = None) -> str:
    """`body` over and over, or so many times; `$i` counts and has to be a local."""
    if times is None:
        return f"(loop $l {body} (br $l))"
    step = "(local.tee $i (i32.add (local.get $i) (i32.const 1)))"
    return f"(loop $l {body} (br_if $l (i32.lt_u {step} (i32.const {times}))))"


def busy(body: str, times: int | None = None, **more: str) -> bytes:
    """A guest that does one thing for ever, or so many times."""
    return guest(f"(local $i i32) {again(body, times)}", **more)


# --- time -------------------------------------------------------------------------------------------------

SPINS = guest(FOREVER)
CALLS = guest(again("(drop (call $sched_yield))"), uses="sched_yield")
PAGES = "65535"


def sleeps(ns: int, subscriptions: int = 1) -> bytes:
    """Waits for so long, with so many subscriptions that all say the same."""
    at = "(i32.add (i32.const 65536) (i32.mul (local.get $i) (i32.const 48)))"
    one = f"(i32.store offset=16 {at} (i32.const 1)) (i64.store offset=24 {at} (i64.const {ns}))"
    end = 65_536 + 48 * subscriptions
    wait = (
        f"(call $poll_oneoff (i32.const 65536) (i32.const {end}) (i32.const {subscriptions}) (i32.const 8))"
    )
    return guest(
        f"(local $i i32) {again(one, subscriptions)} (call $proc_exit {wait})",
        uses="poll_oneoff proc_exit",
        memory=str(2 + -(-80 * subscriptions // 65_536)),
    )


WAITS_FOR_INPUT = guest(
    """(i32.store8 (i32.const 72) (i32.const 1)) (i32.store (i32.const 80) (i32.const 0))
    (call $proc_exit (call $poll_oneoff (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 512)))""",
    uses="poll_oneoff proc_exit",
)
READS_ON = guest(
    """(i32.store (i32.const 0) (i32.const 1024)) (i32.store (i32.const 4) (i32.const 4096))
    (loop $l (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (br_if $l (i32.load (i32.const 8))))""",
    uses="fd_read",
)
# with an entry of its own it is no command, so it is initialized
INITIALIZER_SPINS = guest("", fields=f'(func (export "_initialize") {FOREVER}) (func (export "go"))').replace(
    b"_start", b"unused"
)
START_SPINS = guest("", fields=f"(func $s {FOREVER}) (start $s)")


def fills(size: int, times: int | None = None) -> bytes:
    """Fills memory: one instruction for all of it."""
    return busy(f"(memory.fill (i32.const 0) (i32.const 7) (i32.const {size}))", times, memory=PAGES)


def copies(size: int, times: int | None = None) -> bytes:
    """Copies memory onto itself, a page further on."""
    return busy(f"(memory.copy (i32.const 65536) (i32.const 0) (i32.const {size}))", times, memory=PAGES)


def throws(times: int | None = None) -> bytes:
    """Throws and catches."""
    return busy("(block $h (try_table (catch_all $h) (throw $e)))", times, fields="(tag $e)")


def calls_with_work(times: int) -> bytes:
    """Makes so many host calls, and computes a little between them."""
    work = "(local.set $w (i32.const 150)) (loop $k (br_if $k (local.tee $w (i32.sub (local.get $w) (i32.const 1)))))"
    body = again(f"{work} (drop (call $sched_yield))", times)
    return guest(f"(local $i i32) (local $w i32) {body}", uses="sched_yield")


# --- memory, tables, stack --------------------------------------------------------------------------------

GROWS_ON = busy("(drop (memory.grow (i32.const 1)))")
LISTS = "(type $s (struct (field (ref null $s))))"
KEEPS_OBJECTS = "(local.set $o (struct.new $s (local.get $o)))"


def keeps_objects(count: int | None = None) -> bytes:
    """Makes objects that hold each other, on the heap that the engine collects."""
    return guest(f"(local $i i32) (local $o (ref null $s)) {again(KEEPS_OBJECTS, count)}", fields=LISTS)


def makes_array(size: int) -> bytes:
    """Makes one object of that size."""
    return guest(f"(drop (array.new_default $a (i32.const {size})))", fields="(type $a (array (mut i8)))")


def grows_table(by: int, kind: str = "func") -> bytes:
    """Grows a table until that is refused; exits with its size."""
    grow = f"(table.grow $t (ref.null {kind}) (i32.const {by}))"
    return guest(
        f"(loop $l (br_if $l (i32.ne {grow} (i32.const -1)))) (call $proc_exit (table.size $t))",
        uses="proc_exit",
        fields=f"(table $t 1 {kind}ref)",
    )


def recurses(depth: int, *, locals_: int = 0, calls: bool = False) -> bytes:
    """Calls itself so deep, with so many locals a frame, or with a host call in each."""
    names = f"(local {'i64 ' * locals_})" if locals_ else ""
    # what is set before the call and read behind it has to lie in the frame
    hold = "".join(f"(local.set {n} (i64.load (i32.const {8 * n})))" for n in range(1, locals_ + 1))
    keep = "".join(
        f"(global.set $g (i64.add (global.get $g) (local.get {n})))" for n in range(1, locals_ + 1)
    )
    host = "(drop (call $sched_yield))" if calls else ""
    deeper = "(if (local.get 0) (then (call $f (i32.sub (local.get 0) (i32.const 1)))))"
    return guest(
        f"(call $f (i32.const {depth}))",
        uses="sched_yield" if calls else "",
        fields=f"(global $g (mut i64) (i64.const 0)) (func $f (param i32) {names} {hold} {host} {deeper} {keep})",
    )


# --- output -----------------------------------------------------------------------------------------------


def prints(text: bytes, times: int | None = None, *, fd: int = 1) -> bytes:
    """Writes a text over and over."""
    body, data = says(text, fd=fd)
    return busy(body, times, uses="fd_write", fields=data)


def prints_at_once(size: int, *, fd: int = 1) -> bytes:
    """Writes so many bytes with one call; exits with the errno."""
    write = f"(call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8))"
    return guest(
        f"(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const {size})) (call $proc_exit {write})",
        uses="fd_write proc_exit",
        memory=str(2 + size // 65_536),
    )


# --- files ------------------------------------------------------------------------------------------------


def opens(oflags: int = 1, *, length: int = 1, rights: int = 66, at: int = NAME) -> str:
    """An errno: opens the name at `NAME`, and makes it where it is not there; the descriptor is put at 512."""
    return f"""(call $path_open (i32.const 3) (i32.const 0) (i32.const {at}) (i32.const {length})
      (i32.const {oflags}) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 512))"""


def with_file(body: str, *, uses: str, times: int | None = 1, size: int = 1) -> bytes:
    """A guest that makes the file `f`, open as 4, and does `body` so many times, until that gives an errno.

    A vector of one buffer with so many bytes is ready at 0; `$i` counts.
    """
    until = f"(br_if $out (local.tee $e {body}))"
    return guest(
        f"""(local $i i32) (local $e i32) (drop {opens()})
        (i32.store (i32.const 0) (i32.const 2048)) (i32.store (i32.const 4) (i32.const {size}))
        (block $out {again(until, times)}) (call $proc_exit (local.get $e))""",
        uses=f"path_open proc_exit {uses}",
        fields=text_data(NAME, b"f"),
        memory=str(2 + size // 65_536),
    )


WRITE = "(call $fd_write (i32.const 4) (i32.const 0) (i32.const 1) (i32.const 8))"


def pwrite(offset: str) -> str:
    """An errno: writes the buffer at a place, an expression."""
    return f"(call $fd_pwrite (i32.const 4) (i32.const 0) (i32.const 1) {offset} (i32.const 8))"


def seek_and_write(offset: str) -> str:
    """An errno: goes to a place, and writes the buffer there."""
    return f"""(i32.or (call $fd_seek (i32.const 4) {offset} (i32.const 0) (i32.const 520)) {WRITE})"""


def each(size: int) -> str:
    """The place that is `$i` times so far on."""
    return f"(i64.mul (i64.extend_i32_u (local.get $i)) (i64.const {size}))"


def makes(body: str, *, uses: str, times: int, before: str = "") -> bytes:
    """A guest that does `body`, an errno, so many times with a name of its own each; exits with how often it could.

    The name has four letters and lies at `NAME`.
    """
    digit = "".join(
        f"""(i32.store8 (i32.const {NAME + place}) (i32.add (i32.const 97)
          (i32.rem_u (i32.div_u (local.get $i) (i32.const {16**place})) (i32.const 16))))"""
        for place in range(4)
    )
    count = f"(if (i32.eqz {body}) (then (local.set $n (i32.add (local.get $n) (i32.const 1)))))"
    return guest(
        f"(local $i i32) (local $n i32) {before} {again(digit + count, times)} (call $proc_exit (local.get $n))",
        uses=f"proc_exit {uses}",
        fields=text_data(900, b"f"),
    )


# --- a crowd ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hostile:
    """A guest that never ends by itself, the limits under which it is run, and the one that ends it."""

    module: bytes
    limits: dict[str, object]
    ends_by: str
    has_folder: bool = False  # it makes files in a folder of its own


_NAMED = '(data (i32.const 900) "f")'
_REOPENS = busy(f"(drop {opens(0, at=900)})", uses="path_open", fields=_NAMED)
_DEVOURS = busy(f"(drop {opens(at=900)}) (drop {WRITE})", uses="path_open fd_write", fields=_NAMED)

CROWD = {
    "spins on the processor": Hostile(SPINS, {"cpu": "150ms"}, "cpu"),
    "spins for a while": Hostile(SPINS, {"timeout": "400ms", "cpu": "unlimited"}, "timeout"),
    "sleeps": Hostile(sleeps(3_600 * 10**9), {"timeout": "400ms"}, "timeout"),
    "prints": Hostile(prints(b"x" * 1_000), {"stdout": "256Ki"}, "stdout"),
    "complains a byte at a time": Hostile(prints(b"x", fd=2), {"stderr": 5_000}, "stderr"),
    "opens": Hostile(_REOPENS, {"open_files": 20, "host_calls": 100}, "host_calls", has_folder=True),
    "fills the disk": Hostile(_DEVOURS, {"disk": 1_000, "host_calls": 100}, "host_calls", has_folder=True),
    "eats memory": Hostile(keeps_objects(), {"memory": "16Mi"}, "memory"),
    "recurses": Hostile(recurses(10_000_000), {}, "stack"),
    "calls": Hostile(CALLS, {"host_calls": 50_000}, "host_calls"),
    "burns fuel": Hostile(SPINS, {"fuel": "10M"}, "fuel"),
}
"""One guest of each kind, for runs of many at once."""
