"""Which places a filter is about: what the paths of every row that it names begin with.

The files that hold nothing there are left out in `skipping.py`; the conditions themselves are
`audit.statement`. INVARIANT: each row for which the filter holds has, for each entry of its places, a path in
one of them.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from audit.expression import Among, Comparison, Every, Expression, Matches, Some
from audit.filters import RecordFilter, stored
from audit.folders import PATHS, Place

Places: TypeAlias = "tuple[tuple[Place, ...], ...]"

# a backslash ends the literal part too: a glob takes it as the mark of a literal, and where a pattern does
# not, what comes before it still holds
_SPECIAL: Final = {"glob": re.compile(r"[*?\[\\]"), "like": re.compile(r"[%_\\]")}


def places_of(wanted: RecordFilter) -> Places:
    """Give the places of a filter; none if it is about any."""
    found: list[tuple[Place, ...]] = []
    if (path := stored(wanted.path)) is not None:
        found.append((Place(path, is_whole=True),))
    if (prefix := wanted.stored_prefix) is not None:
        found.append((Place(prefix),))
    if (glob := stored(wanted.path_glob)) is not None:
        found.append((_of_pattern("glob", glob),))
    if wanted.expression is not None:
        found += _of_expression(wanted.expression)
    return tuple(found)


def _of_pattern(kind: str, pattern: str) -> Place:
    special = _SPECIAL[kind].search(pattern)
    return Place(pattern, is_whole=True) if special is None else Place(pattern[: special.start()])


def _of_expression(node: Expression) -> Places:
    match node:
        case Comparison(column, "=", str(value)) if column in PATHS:
            return ((Place(value, is_whole=True),),)
        case Among(column, values) if column in PATHS:
            return (tuple(Place(value, is_whole=True) for value in values if isinstance(value, str)),)
        case Matches(column, kind, pattern) if column in PATHS:
            return ((_of_pattern(kind, pattern),),)
        case Every(parts):
            return tuple(places for part in parts for places in _of_expression(part))
        case Some(parts):
            each = [_of_expression(part) for part in parts]
            # one that says nothing leaves all open; of the others any one entry will do
            return (tuple(place for places in each for place in places[0]),) if all(each) else ()
        case _:
            # what a part that is denied says of places says nothing of the rest
            return ()
