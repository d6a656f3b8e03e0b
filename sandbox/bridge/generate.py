"""The bridge's module as WebAssembly text; that of its edges is in `edge.py`.

Both are functions of the table of calls alone, never of a plan or a guest, so they are compiled once.
"""

from __future__ import annotations

from policy.component_calls import COMPONENT_CALLS
from sandbox.bridge import (
    calls_fields,
    calls_files,
    calls_http,
    calls_lookup,
    calls_request,
    calls_small,
    calls_sockets,
    calls_streams,
    kernel,
)
from sandbox.bridge.edge import RESULT, core_type, edge
from sandbox.bridge.interfaces import UNSERVED
from sandbox.bridge.shape import unserved_name

__all__ = ["bridge", "edge"]

BODIES = (
    *calls_streams.BODIES,
    *calls_small.BODIES,
    *calls_files.BODIES,
    *calls_sockets.BODIES,
    *calls_lookup.BODIES,
    *calls_fields.BODIES,
    *calls_request.BODIES,
    *calls_http.BODIES,
)

assert sorted(body.name for body in BODIES) == sorted(call.name for call in COMPONENT_CALLS)
assert RESULT == kernel.RESULT


def bridge() -> str:
    """What a component's calls are carried out by: WASI 0.2 on the monitor's gate."""
    text = ["(module", kernel.imports(), kernel.KERNEL]
    text += [
        calls_small.SUPPORT,
        calls_streams.SUPPORT,
        calls_files.SUPPORT,
        calls_sockets.SUPPORT,
        calls_lookup.SUPPORT,
        calls_fields.SUPPORT,
        calls_request.SUPPORT,
        calls_http.SUPPORT,
    ]
    text += [body.function() for body in BODIES]
    text += [
        f'(func (export "{unserved_name(place)}") {core_type(kind)} (unreachable))'
        for place, kind in UNSERVED.items()
    ]
    text.append(")")
    return "\n".join(text)
