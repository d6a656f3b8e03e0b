"""Executions as they are shown, one or a page of them.

They come from the log; which of them go on here is known by `runs.py`. INVARIANT: a cursor belongs to the
filter it was made for, and pages never overlap.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from api.http.problems import Fault, Problem
from api.http.views import ExecutionsView, ExecutionView, LinksView, NamedDigest, ReceiptView
from audit.errors import FormatError
from audit.identity import execution_id
from audit.times import to_ns, to_rfc3339

if TYPE_CHECKING:
    from api.http.gateway import Gateway
    from api.http.models import ExecutionsQuery
    from audit.query import Execution

_INT64 = 1 << 63


def execution_view(found: Execution, *, is_going: bool) -> ExecutionView:
    """Show an execution; one whose output is still being kept counts as running."""
    receipt = found.receipt
    about = receipt or found.start
    if about is None:
        raise Problem("not-found", f"the log knows nothing of execution {found.exec_id}")
    path = f"/v1/executions/{found.exec_id}"
    is_running = receipt is None or is_going
    return ExecutionView(
        execution_id=found.exec_id,
        status="running" if is_running else "done",
        tenant=about.tenant,
        module=NamedDigest(digest=about.module_digest, name=about.module_name),
        policy=NamedDigest(digest=about.policy_digest, name=about.policy_name),
        started_at=to_rfc3339(about.started_at_ns),
        receipt=None if receipt is None or is_going else ReceiptView.model_validate_json(receipt.to_json()),
        links=LinksView(
            self=path, records=f"{path}/records", stdout=f"{path}/stdout", stderr=f"{path}/stderr"
        ),
    )


@dataclass(frozen=True, slots=True)
class ExecutionPages:
    """Lists executions."""

    within: Gateway

    def page(self, query: ExecutionsQuery) -> ExecutionsView:
        """Give one page; raises Problem for a cursor that is none of this query's."""
        before = None if query.cursor is None else _position(query.cursor, query.module)
        found = self.within.service.executions(limit=query.limit + 1, module=query.module, before=before)
        kept = [
            execution_view(each, is_going=self.within.runs.is_going(each.exec_id))
            for each in found[: query.limit]
        ]
        has_more = len(found) > query.limit
        return ExecutionsView(
            executions=tuple(kept), next=_cursor(kept[-1], query.module) if has_more else None
        )


def _cursor(last: ExecutionView, module: str | None) -> str:
    text = json.dumps({"v": 1, "m": module, "k": [to_ns(last.started_at), last.execution_id]})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(cursor: str, module: str | None) -> tuple[int, str]:
    expected = "the `next` of a page of the same query"
    fault = Fault(message=f"cursor: expected {expected}", field="cursor", expected=expected)
    wrong = Problem("bad-filter", errors=[fault])
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        value = cast("object", json.loads(text))
    except (binascii.Error, ValueError, RecursionError) as err:
        raise wrong from err
    match value:
        case {"v": 1, "m": found, "k": [int(t_ns), str(exec_id)], **rest} if not rest and found == module:
            pass
        case _:
            raise wrong
    if isinstance(t_ns, bool) or not 0 <= t_ns < _INT64:
        raise wrong
    try:
        return t_ns, execution_id(exec_id)
    except FormatError as err:
        raise wrong from err
