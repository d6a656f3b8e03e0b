"""The receipt of a run, put together from its order, its outcome and what it left behind.

What a receipt is says `audit/receipt.py`; which calls were refused, `refused_calls.py`. INVARIANT: the
counts are of the records that were handed to the audit log, one for one, and agree with the monitor's own
or say so.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from audit.network_use import COUNTED, Attempt, NetworkUse, RequestMade
from audit.receipt import REFUSALS_KEPT, CallCount, Outcome, Receipt, Resources
from audit.text import from_host
from policy.component_calls import NAMES
from policy.plan import WALLS, Isolation
from sandbox.job import MAX_COUNT
from sandbox.monitor import layout
from sandbox.monitor.layout import Decision

if TYPE_CHECKING:
    from sandbox.executor import Ended
    from sandbox.network.account import Account
    from sandbox.order import Order
    from sandbox.refused_calls import RefusedCall
    from sandbox.ring import Ring, Totals

ALWAYS = ("wasm", "monitor")
"""What stands around every guest: the engine's sandbox, and the reference monitor."""

OWN_PROCESS = "process"  # around every guest whose policy does not have it otherwise

_DECISIONS: dict[int, str] = {
    Decision.ALLOW: "allow",
    Decision.DENY: "deny",
    Decision.WOULD_DENY: "would_deny",
    Decision.LIMIT: "limit",
}


@dataclass(frozen=True, slots=True)
class Begun:
    """When a run was put on record."""

    started_ns: int = field(default_factory=time.time_ns)  # since 1970 UTC
    started_s: float = field(default_factory=time.monotonic)
    waited_ms: int = 0  # from then on, for its turn

    def over(self) -> Begun:
        """The same, with what it waited up to now."""
        return replace(self, waited_ms=int((time.monotonic() - self.started_s) * 1_000))


@dataclass(frozen=True, slots=True)
class Trail:
    """What a run left behind."""

    totals: Totals
    refused: tuple[RefusedCall, ...]
    resources: Resources
    walls: tuple[str, ...] = ()  # beside those of `ALWAYS`
    determinism_digest: str = ""
    account: Account | None = None  # of the network's broker


def receipt_of(order: Order, begun: Begun, outcome: Outcome, trail: Trail | None = None) -> Receipt:
    """The receipt; without a trail, of a run whose guest never started."""
    plan = order.plan
    own = () if plan.runtime.isolation is Isolation.IN_PROCESS else (OWN_PROCESS,)
    stood = (*ALWAYS, *own, *trail.walls) if trail else ()
    return Receipt(
        execution_id=order.exec_id,
        module_digest=order.module_digest,
        module_name=from_host(order.module_name),
        tenant=from_host(order.tenant),
        policy_name=plan.name,
        policy_digest=plan.policy_digest,
        plan_digest=plan.plan_digest,
        started_at_ns=begun.started_ns,
        ended_at_ns=max(time.time_ns(), begun.started_ns),
        outcome=outcome,
        calls=_counts(trail.totals) if trail else (),
        records=trail.totals.records if trail else 0,
        refusals=tuple(one.refusal() for one in trail.refused) if trail else (),
        resources=replace(trail.resources if trail else Resources(), waited_ms=begun.waited_ms),
        walls=stood,
        missing_walls=tuple(wall for wall in (OWN_PROCESS, *WALLS) if wall not in stood) if trail else (),
        network=_network_of(trail.account) if trail and trail.account else None,
        isolation=plan.runtime.isolation.value,
        unenforced=tuple(from_host(field) for field in plan.unenforced),
        determinism_digest=trail.determinism_digest if trail else "",
    )


def _network_of(account: Account) -> NetworkUse:
    forged = [one for one in account.refused if one.is_forged][:REFUSALS_KEPT]
    return NetworkUse(
        counts=tuple(min(max(account.counts[name], 0), MAX_COUNT) for name in COUNTED),
        walls=account.walls,
        attempts=tuple(Attempt(one.op, from_host(one.place), from_host(one.rule)) for one in forged),
        requests=tuple(
            RequestMade(_origin(one.request), from_host(one.rule), one.status, one.bytes_out, one.bytes_in)
            for one in account.made[:REFUSALS_KEPT]
        ),
        is_complete=account.is_complete,
    )


def _origin(request: str) -> str:
    """Method and origin of `GET https://api.example.com/v1`."""
    method, _, url = request.partition(" ")
    scheme, _, rest = url.partition("://")
    return from_host(f"{method} {scheme}://{re.split('[/?]', rest, maxsplit=1)[0]}")


def resources_of(ring: Ring, totals: Totals, ended: Ended, *, wall_ms: int) -> Resources:
    """What a run used; bytes by the monitor's account."""
    end = ended.signs.end
    return Resources(
        wall_ms=wall_ms,
        cpu_ms=ended.cpu_ms,
        peak_memory_bytes=end.memory_bytes if end else ended.rss_bytes,
        bytes_read=ring.total(layout.BYTES_READ),
        bytes_written=ring.total(layout.BYTES_WRITTEN),
        host_calls=totals.records,
    )


def _counts(totals: Totals) -> tuple[CallCount, ...]:
    """Counts by call and decision, sorted; codes that do not exist are named as the decoder names them."""
    found: dict[tuple[str, str], int] = {}
    for (code, decision), count in totals.counts.items():
        call = NAMES[code] if code < len(NAMES) else "?"
        word = _DECISIONS.get(decision, "none")
        found[call, word] = found.get((call, word), 0) + count
    return tuple(
        CallCount(call=call, decision=word, count=count) for (call, word), count in sorted(found.items())
    )
