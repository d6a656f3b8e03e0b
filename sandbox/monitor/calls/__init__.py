"""The host calls of WASI 0.1, one file a capability, listed by hand.

Each sibling has `FUNCTIONS`, and `SUPPORT` where its calls share text of their own. INVARIANT: together
they lower exactly the calls of `policy.calls.CALLS`.
"""

from __future__ import annotations

from policy.calls import CALLS
from sandbox.monitor.calls import (
    clocks,
    descriptors,
    environment,
    filesystem,
    http,
    moving,
    opening,
    poll,
    process,
    random,
    sockets,
)

FUNCTIONS = (
    *environment.FUNCTIONS,
    *clocks.FUNCTIONS,
    *descriptors.FUNCTIONS,
    *filesystem.FUNCTIONS,
    *moving.FUNCTIONS,
    *opening.FUNCTIONS,
    *poll.FUNCTIONS,
    *process.FUNCTIONS,
    *random.FUNCTIONS,
    *sockets.FUNCTIONS,
    *http.FUNCTIONS,
)

SUPPORT = descriptors.SUPPORT + filesystem.SUPPORT + random.BLOCK + poll.SUPPORT + sockets.SUPPORT

assert sorted(function.name for function in FUNCTIONS) == sorted(call.name for call in CALLS)
