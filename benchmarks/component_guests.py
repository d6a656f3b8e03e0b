"""The guests of `components.py`: what is measured, done by a component and by a module of WASI 0.1.

A guest does it over and over in two loops, the second one three times as long, takes their times by its own
clock, and prints them: what is there once only, as a page that is touched first, falls out of the difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.component_scripts import RESULT
from tests.runs import guest, text_data
from tests.wasi2 import MEMORY_PAGES, command

FILE, SCRATCH = "file", "made"  # one that is read, and one that is written
FILE_BYTES = 32 << 20
_NAMES = {FILE: 4_096, SCRATCH: 4_112}  # where the names lie
_PRINTED = 512
_BLOCK = 8_192  # where the bytes lie that are written
_LONG = 65_536
_TO = f"(i32.const {RESULT})"
_FD = f"(i32.load (i32.const {RESULT + 4}))"
_FAILED = f"(if (i32.load8_u {_TO}) (then (unreachable)))"
_FORGETS_AT = (MEMORY_PAGES - 2) * 65_536


@dataclass(frozen=True, slots=True)
class Work:
    """What one kind of guest does: its calls, one repetition, and what comes before the first."""

    name: str
    uses: str
    body: str
    before: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that is measured."""

    times: int  # in the first loop
    component: Work
    module: Work

    def elapsed(self, printed: bytes) -> float:
        """Microseconds of one repetition."""
        short, long = (int.from_bytes(printed[at : at + 8], "little") for at in (0, 8))
        return (long - short) / 1_000 / (2 * self.times)


def _text(work: Work, times: int, now: str) -> str:
    """Both loops; `now` stores the time at an address that it is given in `%s`."""
    return f"""(local $dir i32) (local $a i32) (local $b i32) (local $c i32) (local $at i64)
(local $n i32) (local $pass i32) (local $place i32)
{work.before}
(loop $again
  (local.set $n (i32.mul (i32.const {times})
    (i32.add (i32.const 1) (i32.shl (local.get $pass) (i32.const 1)))))
  (local.set $place (i32.add (i32.const {_PRINTED}) (i32.shl (local.get $pass) (i32.const 3))))
  {now % f"(i32.const {_PRINTED + 24})"}
  (loop $next
    {work.body}
    (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
  {now % "(local.get $place)"}
  (i64.store (local.get $place)
    (i64.sub (i64.load (local.get $place)) (i64.load (i32.const {_PRINTED + 24}))))
  (br_if $again (i32.lt_u (local.tee $pass (i32.add (local.get $pass) (i32.const 1))) (i32.const 2))))
"""


_DATA = "".join(text_data(at, name.encode()) for name, at in _NAMES.items())


def component(task: Task, *, has_folder: bool = True) -> bytes:
    """The component that does a task, and prints the times of its loops in nanoseconds."""
    folder = ""
    uses = "monotonic-clock.now stdout.get-stdout output-stream.blocking-write-and-flush"
    if has_folder:
        folder = f"(call $preopens.get-directories {_TO})(local.set $dir (i32.load (i32.load {_TO})))"
        uses += " preopens.get-directories"
    work = replace(task.component, before=folder + task.component.before)
    body = f"""{_text(work, task.times, "(i64.store %s (call $monotonic-clock.now))")}
(call $output-stream.blocking-write-and-flush (call $stdout.get-stdout) (i32.const {_PRINTED})
  (i32.const 16) {_TO})
(i32.const 0)"""
    names = " ".join(dict.fromkeys(f"{uses} {task.component.uses}".split()))
    return command(body, uses=names, fields=_DATA, forgets_at=_FORGETS_AT)


def module(task: Task) -> bytes:
    """The module that does the same by calls of WASI 0.1."""
    now = "(drop (call $clock_time_get (i32.const 1) (i64.const 0) %s))"
    body = f"""{_text(task.module, task.times, now)}
(i32.store (i32.const 0) (i32.const {_PRINTED})) (i32.store (i32.const 4) (i32.const 16))
(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"""
    names = " ".join(dict.fromkeys(f"clock_time_get fd_write {task.module.uses}".split()))
    return guest(body, uses=names, fields=_DATA, memory=str(MEMORY_PAGES))


# --- of components ------------------------------------------------------------------------------------------


def _open(name: str, *, is_written: bool = False) -> str:
    return f"""(call $descriptor.open-at (local.get $dir) (i32.const 0) (i32.const {_NAMES[name]})
  (i32.const {len(name)}) (i32.const {int(is_written)}) (i32.const {1 + is_written}) {_TO}) {_FAILED}"""


def _stream(how: str) -> str:
    return f"(call $descriptor.{how}-via-stream (local.get $a) (i64.const 0) {_TO})(local.set $b {_FD})"


def _read(size: int) -> str:
    return f"""(call $input-stream.blocking-read (local.get $b) (i64.const {size}) {_TO})
(if (i32.ne (i32.load (i32.const {RESULT + 8})) (i32.const {size})) (then (unreachable)))"""


_READING = f"{_open(FILE)}(local.set $a {_FD})"
_WRITING = f"{_open(SCRATCH, is_written=True)}(local.set $a {_FD}){_stream('write')}"
_READS = "descriptor.open-at descriptor.read-via-stream"
_WRITES = "descriptor.open-at descriptor.write-via-stream"

# --- of modules ---------------------------------------------------------------------------------------------


def _path_open(name: str, *, is_written: bool = False) -> str:
    return f"""(if (call $path_open (i32.const 3) (i32.const 0) (i32.const {_NAMES[name]})
  (i32.const {len(name)}) (i32.const {int(is_written)}) (i64.const {64 if is_written else 2}) (i64.const 0)
  (i32.const 0) {_TO}) (then (unreachable)))
(local.set $a (i32.load {_TO}))"""


def _moved(call: str, size: int) -> str:
    """Read or write at a position, which goes on."""
    return f"""(i32.store (i32.const 0) (i32.const {_LONG if call == "fd_pread" else _BLOCK}))
(i32.store (i32.const 4) (i32.const {size}))
(if (call ${call} (local.get $a) (i32.const 0) (i32.const 1) (local.get $at) {_TO}) (then (unreachable)))
(local.set $at (i64.add (local.get $at) (i64.const {size})))
(if (i32.ne (i32.load {_TO}) (i32.const {size})) (then (unreachable)))"""


def _reading(times: int, size: int) -> Task:
    what = f"{size >> 10} KiB read"
    return Task(
        times,
        Work(
            f"{what} (`input-stream.blocking-read`)",
            f"{_READS} input-stream.blocking-read",
            _read(size),
            _READING + _stream("read"),
        ),
        Work(f"{what} (`fd_pread`)", "path_open fd_pread", _moved("fd_pread", size), _path_open(FILE)),
    )


_MODULE_WRITES = Work(
    "4 KiB written (`fd_pwrite`)",
    "path_open fd_pwrite",
    _moved("fd_pwrite", 4_096),
    _path_open(SCRATCH, is_written=True),
)
_NULL = Task(
    50_000,
    Work("null call (`wall-clock.now`)", "wall-clock.now", f"(call $wall-clock.now {_TO})"),
    Work(
        "null call (`clock_time_get`)",
        "clock_time_get",
        f"(drop (call $clock_time_get (i32.const 0) (i64.const 0) {_TO}))",
    ),
)
_OPENED = Task(
    500,
    Work(
        "open and drop (`descriptor.open-at`)",
        "descriptor.open-at descriptor.drop",
        f"{_open(FILE)}(call $descriptor.drop {_FD})",
    ),
    Work(
        "open and close (`path_open`)",
        "path_open fd_close",
        f"{_path_open(FILE)}(drop (call $fd_close (local.get $a)))",
    ),
)
_STREAMED = Task(
    500,
    Work(
        "stream made and dropped (`descriptor.read-via-stream`)",
        f"{_READS} input-stream.drop",
        f"{_stream('read')}(call $input-stream.drop (local.get $b))",
        _READING,
    ),
    Work(
        "what that comes to (`fd_fdstat_get`)",
        "path_open fd_fdstat_get",
        f"(drop (call $fd_fdstat_get (local.get $a) {_TO}))",
        _path_open(FILE),
    ),
)
_WRITTEN = Task(
    500,
    Work(
        "4 KiB written (`output-stream.blocking-write-and-flush`)",
        f"{_WRITES} output-stream.blocking-write-and-flush",
        f"""(call $output-stream.blocking-write-and-flush (local.get $b) (i32.const {_BLOCK})
  (i32.const 4096) {_TO}) {_FAILED}""",
        _WRITING,
    ),
    _MODULE_WRITES,
)
_WRITTEN_IN_STEPS = Task(
    500,
    Work(
        "4 KiB written (`check-write`, `output-stream.write`, `blocking-flush`)",
        f"{_WRITES} output-stream.check-write output-stream.write output-stream.blocking-flush",
        f"""(call $output-stream.check-write (local.get $b) {_TO}) {_FAILED}
(call $output-stream.write (local.get $b) (i32.const {_BLOCK}) (i32.const 4096) {_TO}) {_FAILED}
(call $output-stream.blocking-flush (local.get $b) {_TO}) {_FAILED}""",
        _WRITING,
    ),
    replace(_MODULE_WRITES, name="4 KiB written (`fd_pwrite`), again"),
)
TASKS = (_NULL, _OPENED, _STREAMED, _reading(500, 4_096), _reading(100, 65_536), _WRITTEN, _WRITTEN_IN_STEPS)


def connecting(port: int) -> Task:
    """Connect to a port of loopback, and close; once before that, which waits until the broker is there."""
    zeros = "(i32.const 0) " * 6
    of_component = f"""(call $tcp-create-socket.create-tcp-socket (i32.const 0) {_TO})
(local.set $a {_FD})
(call $tcp-socket.start-connect (local.get $a) (local.get $b) (i32.const 0) (i32.const {port})
  (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1) {zeros} {_TO}) {_FAILED}
(local.set $c (call $tcp-socket.subscribe (local.get $a)))
(call $pollable.block (local.get $c))
(call $pollable.drop (local.get $c))
(call $tcp-socket.finish-connect (local.get $a) {_TO}) {_FAILED}
(local.set $c (i32.load (i32.const {RESULT + 8})))
(call $input-stream.drop {_FD})
(call $output-stream.drop (local.get $c))
(call $tcp-socket.drop (local.get $a))"""
    of_module = f"""(if (call $sock_open (i32.const 1) (i32.const 2) {_TO}) (then (unreachable)))
(local.set $a (i32.load {_TO}))
(if (call $sock_connect (local.get $a) (i32.const 16) (i32.const {port})) (then (unreachable)))
(drop (call $fd_close (local.get $a)))"""
    return Task(
        50,
        Work(
            "component, monitored",
            "instance-network.instance-network tcp-create-socket.create-tcp-socket tcp-socket.start-connect"
            " tcp-socket.subscribe pollable.block pollable.drop tcp-socket.finish-connect tcp-socket.drop"
            " input-stream.drop output-stream.drop",
            of_component,
            f"(local.set $b (call $instance-network.instance-network)) {of_component}",
        ),
        Work(
            "module, monitored",
            "sock_open sock_connect fd_close",
            of_module,
            f"""(i32.store (i32.const 16) (i32.const 24)) (i32.store (i32.const 20) (i32.const 4))
(i32.store (i32.const 24) (i32.const 0x0100007f)) {of_module}""",
        ),
    )
