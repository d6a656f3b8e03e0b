"""Which columns of a row have something to say, for forms that leave the rest out.

What a column is where it is left out is `Field.absent` of `fields.py`. INVARIANT: a column that is left out
can be read back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from audit.export.fields import FIELDS
from audit.export.lines import Columns, Keys, Shared

SPREAD = tuple(field.column for field in FIELDS if not field.is_shared)
"""Columns that differ from row to row."""

_FACTS = "facts"


def present(columns: Columns) -> dict[str, npt.NDArray[np.bool_]]:
    """Say for each row which of the spread columns are there."""
    found: dict[str, npt.NDArray[np.bool_]] = {}
    for field in FIELDS:
        name = field.column
        if name == "t_last_ns":
            found[name] = columns.numbers(name) != columns.numbers("t_ns")
        elif isinstance(field.absent, int):
            found[name] = columns.numbers(name) != field.absent
        elif not field.is_shared:
            found[name] = columns.is_set(name)
    return {name: found[name] for name in SPREAD}


def add_facts(keys: Keys, facts: Mapping[str, npt.NDArray[np.bool_]], names: Sequence[str]) -> None:
    """Group rows by facts about them."""
    bits = np.zeros(keys.columns.count, np.int64)
    for at, name in enumerate(names):
        bits |= facts[name].astype(np.int64) << at
    keys.add_number(_FACTS, bits)


def facts_of(shared: Shared, names: Sequence[str]) -> frozenset[str]:
    """Give the facts that hold for the rows of a group."""
    bits = shared[_FACTS]
    return frozenset(name for at, name in enumerate(names) if isinstance(bits, int) and bits >> at & 1)
