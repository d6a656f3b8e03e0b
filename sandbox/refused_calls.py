"""The calls of one run that were refused, as its report and its receipt tell them.

All records are decoded by queries, from the audit log; here only the few that a ring keeps aside. What to do
about a refusal is said by the plan's rule. INVARIANT: they come in the order of their sequence numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from audit.columns import OPENED, WORDS, Decision
from audit.masks import NoKeys, mask
from audit.receipt import Refusal
from sandbox.monitor.decode import decode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.start import ExecutionStart
    from audit.wal import RecordFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedCall:
    """One call that was refused, or would have been; texts are the guest's, as stored."""

    seq: int
    call: str  # without the module it is imported from
    decision: str  # `deny`, `would_deny` or `limit`
    target: str | None
    guest_target: str | None  # as the guest named it
    rule: str | None
    reason: str | None
    right: str | None  # that was missing
    kept_target: str | None = None  # what the policy lets be stored of the target

    def refusal(self) -> Refusal:
        """The same as a receipt holds it."""
        return Refusal(
            seq=self.seq, call=self.call, target=self.kept_target, rule=self.rule, reason=self.reason
        )


def refused_calls(start: ExecutionStart, frames: Sequence[RecordFrame]) -> tuple[RefusedCall, ...]:
    """Find them in the records that a ring kept aside.

    What would be masked by a hash is left out of `kept_target`: there are no keys here, the record has it.
    """
    rows = decode(start, frames, OPENED.empty_table())
    kept = mask(rows, start, NoKeys()).column("target").to_pylist()
    return tuple(
        RefusedCall(
            seq=row["seq"],
            call=str(row["call"]).partition(".")[2],
            decision=WORDS[row["decision"]],
            target=row["target"],
            guest_target=row["guest_target"],
            rule=row["rule_id"],
            reason=row["reason"],
            right=row["right"],
            kept_target=target,
        )
        for row, target in zip(rows.to_pylist(), kept, strict=True)
        if row["decision"] != Decision.ALLOW
    )
