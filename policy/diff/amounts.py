"""Amounts as a person reads them: `64Mi` for bytes, `unlimited` where there is no bound.

Reading such texts is done in `policy/units.py`. INVARIANT: nothing is rounded.
"""

from __future__ import annotations

from policy.plan import UNLIMITED

_UNITS = (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))


def shown_amount(name: str, value: int) -> str:
    """`value` of the field `name`, which tells whether it counts bytes."""
    if value == UNLIMITED:
        return "unlimited"
    if name.endswith("bytes"):
        for unit, size in _UNITS:
            if value and value % size == 0:
                return f"{value // size}{unit}"
    return str(value)
