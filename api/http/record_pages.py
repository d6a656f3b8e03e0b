"""The records of one execution, page by page, in the order of their sequence numbers.

Queries over the whole log are in `audit.py`. INVARIANT: sequence numbers have no gap, so a page that begins
after `n` begins with `n + 1`, or says that there is none yet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from audit.filters import MAX_LIMIT, Position, RecordFilter

if TYPE_CHECKING:
    from api.http.models import DenseQuery
    from api.service import Service
    from audit.query import Page, Row


def dense_page(service: Service, execution_id: str, query: DenseQuery) -> Page:
    """Give one page; raises FilterError."""
    wanted = RecordFilter(execution=execution_id, limit=query.limit, cursor=query.cursor, ascending=True)
    if query.after_seq is not None and query.after_seq >= 0:
        last = _row_up_to(service, wanted, query.after_seq)
        wanted = wanted.after(_position(last)) if last else wanted
    return service.records(wanted)


def _row_up_to(service: Service, wanted: RecordFilter, seq: int) -> Row | None:
    """Give the last record up to `seq`: one query for each `MAX_LIMIT` records before it."""
    last: Row | None = None
    scan = replace(wanted, limit=MAX_LIMIT)
    while True:
        found = service.records(scan)
        upto = [row for row in found.rows if cast("int", row["seq"]) <= seq]
        last = upto[-1] if upto else last
        if found.next is None or len(upto) < len(found.rows):
            return last
        scan = replace(scan, cursor=found.next)


def _position(row: Row) -> Position:
    return Position(t_ns=cast("int", row["t_ns"]), exec_id=str(row["exec_id"]), seq=cast("int", row["seq"]))
