"""Which policy was last in force under a name: a change is on record before a run goes on under it.

What a policy is and who may use it is decided elsewhere; the event is stored by the writer of the log.
INVARIANT: no run starts under a policy whose digest is not on record for its tenant and name.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from api.control import control_event, local_actor
from audit.text import from_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from api.audit_desk import KnownEvent
    from audit.events import ControlEvent
    from sandbox.order import Order

WORD = "policy"


class PoliciesInForce:
    """Remembers which policy each tenant last ran under, by the policy's name; thread-safe."""

    def __init__(
        self, known: Callable[[], Iterable[KnownEvent]], record: Callable[[ControlEvent], None]
    ) -> None:
        """`known` gives the events of this kind that are on record, `record` puts one there, durably."""
        self._events = known
        self._record = record
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], str] | None = None

    def note(self, order: Order) -> None:
        """Put it on record if this run's policy is another than the last of that name; raises AuditError."""
        tenant, plan = from_host(order.tenant), order.plan
        with self._lock:
            if self._known is None:
                self._known = self._recorded()
            before = self._known.get((tenant, plan.name))
            if before == plan.policy_digest:
                return
            self._record(
                control_event(
                    WORD,
                    actor=local_actor(),
                    tenant=tenant,
                    name=plan.name,
                    digest=plan.policy_digest,
                    plan=plan.plan_digest,
                    before=before,
                )
            )
            self._known[tenant, plan.name] = plan.policy_digest

    def _recorded(self) -> dict[tuple[str, str], str]:
        oldest_first = sorted(self._events(), key=lambda each: each.at_ns)
        return {
            (each.tenant or "", str(each.details.get("name"))): str(each.details.get("digest"))
            for each in oldest_first
        }
