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
from audit.times import to_rfc3339

if TYPE_CHECKING:
    from api.http.access import Asker
    from api.http.gateway import Gateway
    from api.http.models import ExecutionsQuery
    from api.http.runs import State
    from audit.query import Execution

_INT64 = 1 << 63


def execution_view(found: Execution, state: State | None) -> ExecutionView:
    """Show an execution that waits or goes on here, in this state; None: it does neither."""
    receipt = found.receipt
    about = receipt or found.start
    if about is None:
        raise Problem("not-found", f"the log knows nothing of execution {found.exec_id}")
    path = f"/v1/executions/{found.exec_id}"
    if receipt is None and state is None:
        state = "running"  # in another process, or it was cut off and nobody has found it yet
    return ExecutionView(
        execution_id=found.exec_id,
        status=state or "done",
        tenant=about.tenant,
        module=NamedDigest(digest=about.module_digest, name=about.module_name),
        policy=NamedDigest(digest=about.policy_digest, name=about.policy_name),
        started_at=to_rfc3339(about.started_at_ns),
        receipt=None if receipt is None or state else ReceiptView.model_validate_json(receipt.to_json()),
        links=LinksView(
            self=path,
            events=f"/v1/audit/executions/{found.exec_id}/events",
            stdout=f"{path}/stdout",
            stderr=f"{path}/stderr",
        ),
    )


def known_execution(within: Gateway, asking: Asker, execution_id: str) -> Execution:
    """Give an execution that is in reach; raises Problem, and says the same of one that is not."""
    found = within.service.execution(execution_id)
    about = None if found is None else found.receipt or found.start
    if found is None or about is None or not asking.may_see(about.tenant):
        raise Problem("not-found", f"the log knows no execution {execution_id}")
    return found


@dataclass(frozen=True, slots=True)
class ExecutionPages:
    """Lists executions."""

    within: Gateway
    tenants: tuple[str, ...] | None  # None: of all of them

    def page(self, query: ExecutionsQuery) -> ExecutionsView:
        """Give one page; raises Problem for a cursor that is none of this query's."""
        found, following = self.found(query)
        kept = [execution_view(each, self.within.runs.state(each.exec_id)) for each in found]
        return ExecutionsView(executions=tuple(kept), next=following)

    def found(self, query: ExecutionsQuery) -> tuple[tuple[Execution, ...], str | None]:
        """Give the executions of one page, and the cursor of the next; raises Problem."""
        before = None if query.cursor is None else _position(query.cursor, self._about(query))
        found = self.within.service.executions(
            limit=query.limit + 1, module=query.module, before=before, tenants=self.tenants
        )
        kept = found[: query.limit]
        has_more = len(found) > query.limit
        return kept, _cursor(kept[-1], self._about(query)) if has_more else None

    def _about(self, query: ExecutionsQuery) -> list[object]:
        return [query.module, None if self.tenants is None else list(self.tenants)]


def _cursor(last: Execution, wanted: list[object]) -> str:
    text = json.dumps({"v": 1, "m": wanted, "k": list(last.key)})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _position(cursor: str, wanted: list[object]) -> tuple[int, str]:
    expected = "the `next` of a page of the same query"
    fault = Fault(message=f"cursor: expected {expected}", field="cursor", expected=expected)
    wrong = Problem("bad-filter", errors=[fault])
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        value = cast("object", json.loads(text))
    except (binascii.Error, ValueError, RecursionError) as err:
        raise wrong from err
    match value:
        case {"v": 1, "m": found, "k": [int(t_ns), str(exec_id)], **rest} if not rest and found == wanted:
            pass
        case _:
            raise wrong
    if isinstance(t_ns, bool) or not 0 <= t_ns < _INT64:
        raise wrong
    try:
        return t_ns, execution_id(exec_id)
    except FormatError as err:
        raise wrong from err
