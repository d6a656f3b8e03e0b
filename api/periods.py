"""From when to when: times that people and scripts ask about.

How a time is written is `audit.times`, what lies between two is the matter of queries. INVARIANT: who mixes
up the two ends is told so, and not that nothing happened.
"""

from __future__ import annotations

from audit.errors import FilterError, FormatError
from audit.times import to_rfc3339


def check_range(from_ns: int | None, to_ns: int | None) -> None:
    """Raise FilterError where `to` is before `from`; nanoseconds since 1970, None for no end."""
    if from_ns is None or to_ns is None or from_ns <= to_ns:
        return
    raise FilterError("to", f"a time that is not before `from`, {_shown(from_ns)}", _shown(to_ns))


def _shown(at_ns: int) -> str:
    try:
        return to_rfc3339(at_ns)
    except FormatError:  # a number that no calendar has
        return str(at_ns)
