"""The records of one execution, page by page, in the order of their sequence numbers.

Queries over the whole log are in `audit.py`. INVARIANT: sequence numbers have no gap, so a page that begins
after `n` begins with `n + 1`, or says that there is none yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from audit.filters import RecordFilter

if TYPE_CHECKING:
    from api.http.models import DenseQuery
    from api.service import Service
    from audit.query import Page


def dense_page(service: Service, execution_id: str, query: DenseQuery) -> Page:
    """Give one page; raises FilterError."""
    return service.records(
        RecordFilter(
            execution=execution_id,
            after_seq=query.after_seq,
            limit=query.limit,
            cursor=query.cursor,
            ascending=True,
        )
    )
