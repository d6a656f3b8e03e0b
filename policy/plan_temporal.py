"""The rules over time of a plan: from when something has happened, something else is refused.

What paths they watch is a mask in the path automaton (`PathClass.marks` in `plan.py`); what fills them
is `temporal.py`. INVARIANT: such a rule only takes rights away.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag


class Trigger(IntEnum):
    """What starts a rule over time."""

    OPENED = 1  # a watched path was opened
    BYTES_IN = 2  # more than `over` bytes came in from what is watched
    BYTES_OUT = 3  # more than `over` bytes went out to it
    CALLS = 4  # more than `over` calls named it


class Reach(IntFlag):
    """The kinds of network use that a rule over time refuses."""

    TCP = 1
    UDP = 2
    HTTP = 4
    DNS = 8
    LISTEN = 16


@dataclass(frozen=True, slots=True)
class TemporalRule:
    """From when `trigger` happened, to the end of the run, what it denies is refused."""

    rule: int  # index in `Plan.rules`
    trigger: Trigger
    watches: str  # `storage`, or what of the network: a host pattern, or `*` for all of it
    over: int  # bytes or calls; 0 for OPENED
    window_ms: int  # in which `over` is counted; 0: the whole run
    rights: int  # mask of the `Right`s that are refused from then on
    reach: int  # mask of `Reach`
    denies_nn: bool
    severity: str  # of the finding it raises: `low`, `medium`, `high`; empty for none
