"""The edge between a guest's memory and the bridge's, as WebAssembly text: one function for each call.

An edge is made for each memory of a component. It copies what a call is given into the bridge's memory, and
what comes back into the guest's, where the guest's own allocator makes room. What the calls do is in
`calls_*.py`; calls without anything in memory go to the bridge directly.
SECURITY: addresses and counts are the guest's: each copy is checked by the engine against both memories, and
a guest that is called back for room can't call its host meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from policy.component_calls import COMPONENT_CALLS
from sandbox.bridge.abi import Function, Record, Sequence, Type, Variant, flat, has_pointers
from sandbox.bridge.interfaces import FUNCTIONS

RESULT = 128
"""Where in the bridge's memory a call leaves what it returns."""

_SUPPORT = """
(func $take (param $at i32) (param $bytes i32) (result i32) (local $to i32)
  (local.set $to (call $bridge.room (local.get $bytes)))
  (memory.copy $bridge $guest (local.get $to) (local.get $at) (local.get $bytes))
  (local.get $to))
(func $bytes (param $count i32) (param $size i32) (result i32) (local $all i64)
  (local.set $all (i64.mul (i64.extend_i32_u (local.get $count)) (i64.extend_i32_u (local.get $size))))
  (if (i64.gt_u (local.get $all) (i64.const 0x7fffffff)) (then (unreachable)))
  (i32.wrap_i64 (local.get $all)))
(func $place (param $align i32) (param $bytes i32) (result i32) (local $at i32)
  (global.set $busy (i32.const 1))
  (local.set $at (call $realloc (i32.const 0) (i32.const 0) (local.get $align) (local.get $bytes)))
  (global.set $busy (i32.const 0))
  (call $aligned (local.get $at) (local.get $align))
  (local.get $at))
(func $aligned (param $at i32) (param $align i32)
  (if (i32.and (local.get $at) (i32.sub (local.get $align) (i32.const 1))) (then (unreachable))))
"""


def core_type(function: Function) -> str:
    """A function's core type, as text."""
    params = " ".join(function.core_params)
    results = " ".join(function.core_results)
    return f"(param {params})" + (f" (result {results})" if results else "")


def edge() -> str:
    """The module: the guest's memory and allocator, and the bridge, come from outside."""
    calls = [call for call in COMPONENT_CALLS if FUNCTIONS[call.name].needs_memory]
    text = ["(module"]
    text += [
        f'(import "bridge" "{call.name}" (func $bridge.{call.name} {core_type(FUNCTIONS[call.name])}))'
        for call in calls
    ]
    text.append('(import "bridge" "room" (func $bridge.room (param i32) (result i32)))')
    text.append('(import "bridge" "begin" (func $bridge.begin))')
    text.append('(import "bridge" "busy" (global $busy (mut i32)))')
    text.append('(import "bridge" "memory" (memory $bridge 1))')
    text.append('(import "guest" "memory" (memory $guest 0))')
    text.append('(import "guest" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))')
    text.append(_SUPPORT)
    text += [_Writer(call.name, FUNCTIONS[call.name]).text() for call in calls]
    text.append(")")
    return "\n".join(text)


@dataclass(slots=True)
class _Writer:
    """Writes one function."""

    name: str
    function: Function
    locals: list[str] = field(default_factory=list[str])

    def text(self) -> str:
        function = self.function
        taken = self._take_params()
        arguments = [f"(local.get {nth})" for nth in range(len(function.flat_params))]
        if function.has_place:
            arguments.append(f"(i32.const {RESULT})")
        body = f"(call $bridge.{self.name} {' '.join(arguments)})"
        if function.has_place and function.result is not None:
            place = len(function.flat_params)
            body = (
                f"(call $aligned (local.get {place}) (i32.const {function.result.align}))\n{taken}{body}\n"
                f"(memory.copy $guest $bridge (local.get {place}) (i32.const {RESULT})"
                f" (i32.const {function.result.size}))\n"
                + self._give(function.result, f"(i32.const {RESULT})", f"(local.get {place})", 0)
            )
        else:
            body = taken + body
        names = " ".join(f"(local {name} i32)" for name in self.locals)
        return f'(func (export "{self.name}") {core_type(function)} {names}\n(call $bridge.begin)\n{body})'

    def _new(self) -> str:
        self.locals.append(f"$x{len(self.locals)}")
        return self.locals[-1]

    def _take_params(self) -> str:
        """Copy the lists among the parameters, and put the addresses of the copies in their place."""
        text, at = "", 0
        for param in self.function.params:
            text += self._take(param, at)
            at += len(flat(param))
        return text

    def _take(self, of: Type, at: int) -> str:
        """Copy the lists of a value that is passed as the parameters from `at` on."""
        if isinstance(of, Sequence):
            text = (
                f"(call $aligned (local.get {at}) (i32.const {of.of.align}))\n"
                f"(local.set {at} (call $take (local.get {at})"
                f" (call $bytes (local.get {at + 1}) (i32.const {of.of.size}))))\n"
            )
            return text + (self._take_inside(of.of, at) if has_pointers(of.of) else "")
        if isinstance(of, Variant) and set(flat(of)) == {"i32"}:
            return "".join(
                f"(if (i32.eq (local.get {at}) (i32.const {nth})) (then\n{self._take(one, at + 1)}))\n"
                for nth, one in enumerate(of.cases)
                if one is not None and has_pointers(one)
            )
        if has_pointers(of):
            raise TypeError(f"{self.name} takes a list inside another value")
        return ""

    def _take_inside(self, of: Type, list_at: int) -> str:
        """Copy the lists that the elements of a list hold, and put their addresses in their place."""
        fields = of if isinstance(of, Record) else Record((of,))
        inner = list(zip(fields.offsets, fields.fields, strict=True))
        if any(has_pointers(one.of if isinstance(one, Sequence) else one) for _, one in inner):
            raise TypeError(f"{self.name} takes lists inside lists inside a list")
        element, count = self._new(), self._new()
        taken = "".join(
            f"(i32.store $bridge offset={at} (local.get {element})"
            f" (call $take (i32.load $bridge offset={at} (local.get {element}))"
            f" (call $bytes (i32.load $bridge offset={at + 4} (local.get {element}))"
            f" (i32.const {one.of.size}))))\n"
            for at, one in inner
            if isinstance(one, Sequence)
        )
        return (
            f"(local.set {element} (local.get {list_at}))\n(local.set {count} (local.get {list_at + 1}))\n"
            f"(block (loop (br_if 1 (i32.eqz (local.get {count})))\n{taken}"
            f"(local.set {element} (i32.add (local.get {element}) (i32.const {of.size})))\n"
            f"(local.set {count} (i32.sub (local.get {count}) (i32.const 1)))\n(br 0)))\n"
        )

    def _give(self, of: Type, source: str, to: str, at: int) -> str:
        """Give the guest what a value points to; the value itself was copied before, `at` bytes from both."""
        match of:
            case Sequence(inner):
                return self._give_list(inner, source, to, at)
            case Record(fields):
                return "".join(
                    self._give(one, source, to, at + offset)
                    for one, offset in zip(fields, of.offsets, strict=True)
                    if has_pointers(one)
                )
            case Variant(cases):
                tag = f"(i32.load8_u $bridge offset={at} {source})"
                return "".join(
                    f"(if (i32.eq {tag} (i32.const {nth})) (then\n"
                    f"{self._give(one, source, to, at + of.payload_at)}))\n"
                    for nth, one in enumerate(cases)
                    if one is not None and has_pointers(one)
                )
            case _:
                return ""

    def _give_list(self, inner: Type, source: str, to: str, at: int) -> str:
        old, new, count = self._new(), self._new(), self._new()
        text = (
            f"(local.set {old} (i32.load $bridge offset={at} {source}))\n"
            f"(local.set {count} (i32.load $bridge offset={at + 4} {source}))\n"
            f"(local.set {new} (call $place (i32.const {inner.align})"
            f" (i32.mul (local.get {count}) (i32.const {inner.size}))))\n"
            f"(memory.copy $guest $bridge (local.get {new}) (local.get {old})"
            f" (i32.mul (local.get {count}) (i32.const {inner.size})))\n"
            f"(i32.store $guest offset={at} {to} (local.get {new}))\n"
        )
        if not has_pointers(inner):
            return text
        each = self._give(inner, f"(local.get {old})", f"(local.get {new})", 0)
        step = f"(i32.const {inner.size})"
        return (
            text + f"(block (loop (br_if 1 (i32.eqz (local.get {count})))\n{each}"
            f"(local.set {old} (i32.add (local.get {old}) {step}))\n"
            f"(local.set {new} (i32.add (local.get {new}) {step}))\n"
            f"(local.set {count} (i32.sub (local.get {count}) (i32.const 1)))\n(br 0)))\n"
        )
