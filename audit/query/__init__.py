"""Questions to the log: records page by page, totals, executions, and what is recorded from now on.

What may be asked is `audit.filters` and `audit.expression`; nothing is written here. INVARIANT: only
`engine.py` imports the engine, and only these names are meant for callers.
"""

from __future__ import annotations

from audit.query.executions import Execution
from audit.query.follow import Follower, Polled
from audit.query.planner import Plan
from audit.query.reader import AuditReader, Page, Row
from audit.query.totals import AggregateResult, Aggregation, Stats

__all__ = [
    "AggregateResult", "Aggregation", "AuditReader", "Execution", "Follower", "Page", "Plan", "Polled", "Row",
    "Stats",
]  # fmt: skip
