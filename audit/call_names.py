"""The name of a call: the module or interface that it is imported from, a dot, and what it is called there.

`wasi_snapshot_preview1.path_open`, `wasi:filesystem/types.descriptor.open-at`: no module's name has a dot.
"""

from __future__ import annotations


def bare(call: str) -> str:
    """Give a call's name without the module it is imported from."""
    return call.partition(".")[2] or call
