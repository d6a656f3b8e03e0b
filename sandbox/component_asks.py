"""What a component asks of its host, in a sentence, for who is told that components do not run yet.

Reading is `sandbox/wasm/component`. All guest text in the sentence is inert already, and cut.
"""

from __future__ import annotations

from audit.inert import inert
from sandbox.refusal import MAX_QUOTED
from sandbox.wasm.component.levels import Scope
from sandbox.wasm.component.read import read_component
from sandbox.wasm.cursor import WasmError

_MOST = 12


def asks_of(module: bytes) -> str:
    """Name the interfaces that a component imports, or what is wrong with it."""
    try:
        names = list(Scope(read_component(module)).imports)
    except WasmError as err:
        return (
            f", and this version can't read all of it (byte {err.offset}: {inert(err.problem)[:MAX_QUOTED]})"
        )
    if not names:
        return " that imports nothing"
    shown = ", ".join(inert(name)[:MAX_QUOTED] for name in names[:_MOST])
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f" that imports {shown}{more}"
