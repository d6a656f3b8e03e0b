"""What a plan would say of calls that another plan decided, for millions of records at once.

What one call is answered is `policy.answer`; records come from `api/evidence.py` as facts. INVARIANT: nothing
here runs once per record in Python, and a verdict is the one that the fact would get alone.
"""

from __future__ import annotations

from policy.simulate.columns import FactColumns
from policy.simulate.judge import Judged, Verdict, judge, question_of
from policy.simulate.simulation import Change, Example, Simulation, simulate
from policy.simulate.totals import Exceeded

__all__ = [
    "Change",
    "Example",
    "Exceeded",
    "FactColumns",
    "Judged",
    "Simulation",
    "Verdict",
    "judge",
    "question_of",
    "simulate",
]
