"""Components that make many calls of WASI 0.2 and tell what they saw on standard output.

What calls mean is `tests/wasi2.py`; here is how a list of them becomes a command. What differs from run to
run (handles, times of the clock, numbers of files) is not told.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sandbox.bridge.abi import Variant
from sandbox.bridge.interfaces import FUNCTIONS
from tests.wasi2 import command

RESULT = 1024
_TEXTS, _LOG = 4_096, 65_536
MARK = b"\xff#"

_FIELDS = f"""
(global $log (mut i32) (i32.const {_LOG}))
(global $dir (mut i32) (i32.const 0))
(global $file (mut i32) (i32.const 0))
(global $stream (mut i32) (i32.const 0))
(global $other (mut i32) (i32.const 0))
(global $extra (mut i32) (i32.const 0))
(func $keep (param i32 i32)
  (memory.copy (global.get $log) (local.get 0) (local.get 1))
  (global.set $log (i32.add (global.get $log) (local.get 1))))
(func $tell (param i32)
  (i32.store8 (global.get $log) (local.get 0))
  (global.set $log (i32.add (global.get $log) (i32.const 1))))
(func $step (param i32)
  (call $tell (i32.const 255)) (call $tell (i32.const 35))
  (i32.store16 (global.get $log) (local.get 0))
  (global.set $log (i32.add (global.get $log) (i32.const 2))))
"""
_END = f"""
(local.set $out (call $stdout.get-stdout))
(local.set $at (i32.const {_LOG}))
(block $end (loop $more
  (br_if $end (i32.ge_u (local.get $at) (global.get $log)))
  (local.set $n (i32.sub (global.get $log) (local.get $at)))
  (if (i32.gt_u (local.get $n) (i32.const 4096)) (then (local.set $n (i32.const 4096))))
  (call $output-stream.blocking-write-and-flush (local.get $out) (local.get $at) (local.get $n)
    (i32.const {RESULT}))
  (local.set $at (i32.add (local.get $at) (local.get $n)))
  (br $more)))
(i32.const 0)
"""


@dataclass(slots=True)
class ComponentScript:
    """A list of calls, in the making; arguments are numbers, texts, or expressions."""

    steps: list[str] = field(default_factory=list[str])
    uses: dict[str, None] = field(default_factory=dict[str, None])
    names: list[str] = field(default_factory=list[str])
    texts: dict[bytes, int] = field(default_factory=dict[bytes, int])
    at: int = _TEXTS

    def text(self, value: bytes) -> str:
        """A text's address and length."""
        if value not in self.texts:
            self.texts[value] = self.at
            self.at += len(value) + 1
        return f"(i32.const {self.texts[value]}) (i32.const {len(value)})"

    def call(self, name: str, *given: object, keep: str = "", into: str = "") -> None:
        """Call, tell how it ended, and of what it gave back what `keep` says; `into` takes a handle.

        `keep` has `offset:bytes` for places of the result, `list@offset` for bytes that it points to.
        """
        kind = FUNCTIONS[name]
        self.uses[name] = None
        arguments = " ".join(self._argument(value) for value in given)
        self.step(name)
        if not kind.has_place:
            made = f"(call ${name} {arguments})"
            if into:
                made = f"(global.set ${into} {made})"
            elif kind.core_results:
                made = f"(call $tell {made})" if keep else f"(drop {made})"
            self.steps.append(made)
            return
        self.steps.append(f"(call ${name} {arguments} (i32.const {RESULT}))")
        kept = "".join(self._kept(one) for one in keep.split())
        if into:
            kept += f"(global.set ${into} (i32.load (i32.const {RESULT + 4})))"
        if isinstance(kind.result, Variant) and len(kind.result.cases) == 2 and "result" in _text(name):
            code = RESULT + kind.result.payload_at
            self.steps.append(
                f"(call $tell (i32.load8_u (i32.const {RESULT})))(if (i32.load8_u (i32.const {RESULT}))"
                f"(then (call $tell (i32.load8_u (i32.const {code})))) (else {kept}))"
            )
        else:
            self.steps.append(kept)

    def step(self, name: str) -> None:
        """Begin a step; what is told up to the next one belongs to it."""
        self.steps.append(f"(call $step (i32.const {len(self.names)}))")
        self.names.append(name)

    def do(self, text: str) -> None:
        """Anything else."""
        self.steps.append(text)

    def _argument(self, value: object) -> str:
        if isinstance(value, bytes):
            return self.text(value)
        return f"(i32.const {value})" if isinstance(value, int) else str(value)

    @staticmethod
    def _kept(one: str) -> str:
        if one.startswith("list@"):
            at = RESULT + int(one[5:])
            return f"(call $keep (i32.load (i32.const {at})) (i32.load (i32.const {at + 4})))"
        at, size = map(int, one.split(":"))
        return f"(call $keep (i32.const {RESULT + at}) (i32.const {size}))"

    def component(self) -> bytes:
        """The component."""
        uses = dict.fromkeys([*self.uses, "stdout.get-stdout", "output-stream.blocking-write-and-flush"])
        data = "".join(
            f'(data (i32.const {at}) "{"".join(f"{chr(92)}{byte:02x}" for byte in text)}")'
            for text, at in self.texts.items()
            if text
        )
        body = "(local $out i32) (local $at i32) (local $n i32)\n" + "\n".join(self.steps) + _END
        return command(body, uses=" ".join(uses), fields=_FIELDS + data)

    def told(self, output: bytes) -> list[tuple[str, bytes]]:
        """What each step told."""
        parts = output.split(MARK)[1:]
        return [(self.names[int.from_bytes(part[:2], "little")], part[2:]) for part in parts]


def _text(name: str) -> str:
    from sandbox.bridge import interfaces

    return interfaces.TEXTS[name].partition("->")[2]
