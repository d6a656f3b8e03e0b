"""The one shape of every call of the bridge: its name and its body as WebAssembly text.

Types are `interfaces.py`. Parameters are `$p0`, `$p1` and so on, one for each core value; `$to` is where a
result goes that is no single core value.
"""

from __future__ import annotations

from dataclasses import dataclass

from policy.component_calls import NAMES
from sandbox.bridge.interfaces import FUNCTIONS


@dataclass(frozen=True, slots=True)
class Body:
    """What a call does; `locals` are written as `$errno i32`."""

    name: str
    text: str
    locals: tuple[str, ...] = ()

    def function(self) -> str:
        """The bridge's function for this call."""
        kind = FUNCTIONS[self.name]
        params = " ".join(f"(param $p{nth} {core})" for nth, core in enumerate(kind.flat_params))
        place = " (param $to i32)" if kind.has_place else ""
        result = "".join(f" (result {core})" for core in kind.core_results)
        names = " ".join(f"(local {name})" for name in self.locals)
        begin = "" if kind.needs_memory else "(call $begin)"
        return (
            f'(func $c.{self.name} (export "{self.name}") {params}{place}{result} {names}\n{begin}'
            f"(global.set $as (i32.const {NAMES.index(self.name)}))\n{self.text})\n"
        )


def unserved_name(place: tuple[str, str]) -> str:
    """The bridge's export for what may be imported and never called."""
    return f"unserved.{'/'.join(place)}"


def p(nth: int) -> str:
    """A parameter."""
    return f"(local.get $p{nth})"


def answered(name: str, call: str) -> Body:
    """A call that returns nothing but whether it went well: `call` gives an errno."""
    return Body(name, f"(call $answer (local.get $to) (i32.const 1) {call})")
