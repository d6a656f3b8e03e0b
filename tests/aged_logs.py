"""A real log whose executions are as old as a test wants them, sealed and signed.

Records are those of `records.py`, written and sealed by what does it in the product. INVARIANT: the log
verifies, and every execution has a segment of its own.
"""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import replace

from api.sealing import seal_left
from api.settings import Settings
from api.signing import sign_once
from audit.columns import WORDS
from audit.receipt import CallCount, Receipt
from audit.start import ExecutionStart
from audit.writer import AuditWriter
from tests.records import STORY, receipt, tell
from tests.sealed_logs import rows_of

DAY_NS = 86_400 * 1_000_000_000


def add(settings: Settings, of: ExecutionStart, *, rounds: int = 1, is_signed: bool = True) -> None:
    """Record, seal and sign one execution."""
    with closing(AuditWriter(settings.audit_dir)) as writer:
        tell(writer, of, rounds=rounds, is_ended=False)
        writer.end(of.exec_id, counted(of, rounds))
    seal_left(settings.audit_dir, keys_dir=settings.audit_keys_dir)
    if is_signed:
        sign_once(settings)


def counted(of: ExecutionStart, rounds: int = 1) -> Receipt:
    """The receipt with the counts of `STORY`."""
    rows = rows_of(of, STORY)
    pairs = zip(*(rows.column(name).to_pylist() for name in ("call", "decision")), strict=True)
    counts = Counter((call.rpartition(".")[2], WORDS[decision]) for call, decision in pairs)
    calls = tuple(CallCount(call=c, decision=d, count=n * rounds) for (c, d), n in sorted(counts.items()))
    return replace(receipt(of, records=rounds * len(STORY)), calls=calls)
