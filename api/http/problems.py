"""Everything that can go wrong with a request, as problems of RFC 9457.

Which request meets which is decided by the routers and the middleware. INVARIANT: a problem says what the
caller can know and do; a traceback, a path of this machine or a query of the log never is in one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field
from starlette.responses import Response

from api.http.answers import harmless
from api.http.models import Edge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from policy import Finding

PROBLEM_JSON = "application/problem+json"
TYPE_PREFIX = "urn:wasmgate:problem:"
MAX_ERRORS = 100
_SHOWN = 500


class Kind(NamedTuple):
    """One kind of problem."""

    status: int
    title: str


KINDS: dict[str, Kind] = {
    "bad-request": Kind(400, "the request is no HTTP request that is understood here"),
    "bad-filter": Kind(400, "a filter or cursor has no meaning"),
    "no-key": Kind(401, "the key is missing or wrong"),
    "forbidden": Kind(403, "the key is not for this"),
    "not-found": Kind(404, "there is no such thing"),
    "method-not-allowed": Kind(405, "this cannot be done with it"),
    "too-slow": Kind(408, "the body did not arrive in time"),
    "still-running": Kind(409, "the execution is still running"),
    "not-running": Kind(409, "the execution is not running here"),
    "unprovable": Kind(409, "the log cannot prove it, or not yet"),
    "ungoverned": Kind(409, "no policy governs the module for the tenant, or several could"),
    "too-large": Kind(413, "the body is larger than what is taken"),
    "unsupported-type": Kind(415, "the body is of a type that is not taken"),
    "wrong-host": Kind(421, "this service does not go by that name"),
    "invalid": Kind(422, "the request has values that are not taken"),
    "policy-invalid": Kind(422, "the policy has errors"),
    "too-many-runs": Kind(429, "as many runs as are allowed are going on and waiting"),
    "too-many-exports": Kind(429, "as many exports as are kept are going on"),
    "too-many-tails": Kind(429, "as many callers as are allowed follow the log"),
    "too-many-streams": Kind(429, "as many streamed exports as are allowed are going on"),
    "too-many-pages": Kind(429, "as many questions for events as are allowed are going on"),
    "too-many-questions": Kind(429, "as many questions for totals as are allowed are going on"),
    "too-many-checks": Kind(429, "as many verifications of the log as are allowed are going on"),
    "internal": Kind(500, "something failed here"),
    "unavailable": Kind(503, "nothing can be recorded or kept at the moment"),
    "out-of-time": Kind(503, "the question took longer than it may"),
    "busy": Kind(503, "too many connections, or the service is ending"),
}
"""The kinds; scripts may rely on their names, and `docs/reference/http.md` lists them."""

COMMON = (
    "no-key",
    "forbidden",
    "too-large",
    "too-slow",
    "wrong-host",
    "invalid",
    "internal",
    "unavailable",
    "busy",
)


class Fault(Edge):
    """One thing that is wrong with a request or a policy, and where."""

    message: str = Field(description="What is wrong, in one sentence.")
    field: str = Field(default="", description="Path of the value, as `args[0]` or `permissions.storage`.")
    line: int = Field(default=0, ge=0, description="Line of a policy document, from 1; 0 for none.")
    column: int = Field(default=0, ge=0, description="Column, likewise.")
    found: str = Field(default="", description="What is there.")
    expected: str = Field(default="", description="What would be right.")
    suggestion: str = Field(default="", description="What to do.")
    id: str = Field(default="", description="Name of the check that found it.")
    severity: Literal["error", "warning"] = Field(
        default="error", description="Only errors keep a policy from use."
    )


class ProblemView(Edge):
    """A problem as it is answered."""

    type: str = Field(description="Names the kind of problem.")
    title: str = Field(description="What this kind of problem is.")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What it is this time.")
    request_id: str = Field(description="Names the request; it stands in the service's log.")
    errors: tuple[Fault, ...] = Field(
        default=(), description="Each thing that is wrong, where there can be several."
    )


class Problem(Exception):  # noqa: N818  # the word of RFC 9457
    """A request is not done; carries everything that the answer says."""

    def __init__(
        self,
        kind: str,
        detail: str = "",
        *,
        errors: Iterable[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """`kind` is one of `KINDS`; `detail` is for people and may hold text of the caller."""
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail[:_SHOWN] or KINDS[kind].title
        self.errors = tuple(errors)[:MAX_ERRORS]
        self.headers = dict(headers or {})

    @property
    def status(self) -> int:
        """The status of the answer."""
        return KINDS[self.kind].status

    def view(self, request_id: str) -> ProblemView:
        """Give the problem as it is answered."""
        return ProblemView(
            type=TYPE_PREFIX + self.kind,
            title=KINDS[self.kind].title,
            status=self.status,
            detail=self.detail,
            request_id=request_id,
            errors=self.errors,
        )

    def response(self, request_id: str) -> Response:
        """Give the answer."""
        content = harmless(self.view(request_id).model_dump_json()).encode()
        return Response(content, self.status, self.headers, PROBLEM_JSON)


def fault_of(finding: Finding) -> Fault:
    """Give a finding about a policy as a fault."""
    return Fault(
        message=finding.sentence,
        field=finding.field,
        line=finding.line,
        column=finding.column,
        found=finding.found,
        expected=finding.expected,
        suggestion=finding.suggestion,
        id=finding.id,
        severity=finding.severity.value,
    )


def problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Describe the problems that an operation can answer with, the common ones included."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in (*COMMON, *kinds):
        status = KINDS[kind].status
        words = found[status]["description"] + "; or " if status in found else ""
        found[status] = {
            "description": f"{words}`{kind}`: {KINDS[kind].title}",
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return dict(sorted(found.items(), key=lambda item: str(item[0])))
