"""What the records of past runs say, as far as a policy decides it; equal records are one fact.

Where records are kept is no matter of this package: `api/` reads them and hands facts over. Texts in
them come from guests and are hostile until rendered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policy.plan import Right


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Records that are alike in all that decides them."""

    call: str  # without its module, as `path_open`
    wants: Right  # what the call asked for on `target`; empty where no path decides
    target: str | None = (
        None  # host path `/srv/in/a` or `tmp://out/a`; a stream; a clock; None: none, or not kept
    )
    guest_target: str | None = None  # as the guest named it, behind its mount
    target2: str | None = None
    decision: str = "allow"  # `allow`, `deny`, `would_deny`, `limit`
    rule: str = ""
    reason: str = ""  # which check refused, as a record says it
    missing: Right | None = None  # the right that was missing
    is_masked: bool = False  # a target that decided it was not kept
    flags: int = 0
    count: int = 1
    bytes_in: int = 0
    bytes_out: int = 0
    evidence: str = ""  # one of the records: `EXECUTION:SEQ`
