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
from tests.records import STORY, Call, pack, receipt, tell
from tests.sealed_logs import rows_of

DAY_NS = 86_400 * 1_000_000_000


def add(
    settings: Settings,
    of: ExecutionStart,
    *,
    rounds: int = 1,
    is_signed: bool = True,
    story: tuple[Call, ...] = STORY,
) -> None:
    """Record, seal and sign one execution; with another `story` than `STORY` it has one round."""
    with closing(AuditWriter(settings.audit_dir)) as writer:
        if story is STORY:
            tell(writer, of, rounds=rounds, is_ended=False)
        else:
            made, arena = pack(story, t0=of.started_at_ns)
            writer.begin(of)
            writer.append(of.exec_id, first_seq=0, records=made.tobytes(), arena=arena)
            writer.commit()
        writer.end(of.exec_id, counted(of, rounds, story))
    seal_left(settings.audit_dir, keys_dir=settings.audit_keys_dir)
    if is_signed:
        sign_once(settings)


def counted(of: ExecutionStart, rounds: int = 1, story: tuple[Call, ...] = STORY) -> Receipt:
    """The receipt with the counts of a story."""
    rows = rows_of(of, story)
    pairs = zip(*(rows.column(name).to_pylist() for name in ("call", "decision")), strict=True)
    counts = Counter((call.rpartition(".")[2], WORDS[decision]) for call, decision in pairs)
    calls = tuple(CallCount(call=c, decision=d, count=n * rounds) for (c, d), n in sorted(counts.items()))
    return replace(receipt(of, records=rounds * len(story)), calls=calls)
