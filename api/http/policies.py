"""Policies: list those that are kept, read one, check one that is sent.

What a document means is `policy/`; where policies are kept is `api/policies.py`. INVARIANT: what is said
about a document comes from the code that compiles it for a run.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.http import examples
from api.http.answers import answer
from api.http.bodies import require_type
from api.http.gateway import Within
from api.http.models import CheckQuery, PolicyReference
from api.http.openapi import body, shown
from api.http.problems import fault_of, problems
from api.http.views import CheckView, PoliciesView, PolicyName, PolicyView
from api.policies import findings_of, plan_of
from policy import Finding, Plan, PolicyError
from policy.bundle import Bundle
from policy.explain import explain_plan

router = APIRouter(prefix="/v1/policies", tags=["policies"])

TYPES = ("application/yaml", "text/yaml", "application/json")


@router.get(
    "",
    operation_id="list_policies",
    summary="List the policies",
    response_model=PoliciesView,
    responses={**problems(), 200: shown("The policies that are kept, by name.", examples.POLICIES)},
)
def list_policies(within: Within) -> Response:
    """By name, whether they are valid or not."""
    names = within.service.policies.names()
    return answer(PoliciesView(policies=tuple(PolicyName(name=name) for name in names)))


@router.get(
    "/{name}",
    operation_id="get_policy",
    summary="Read a policy",
    response_model=PolicyView,
    responses={**problems("not-found"), 200: shown("The policy.", examples.POLICY)},
)
def get_policy(name: PolicyReference, within: Within) -> Response:
    """The document, what is to be said about it, and what it allows."""
    found = within.service.policies.text(name)
    bundle = within.service.policies.library().bundle
    checked = check(found.text, file=found.file, base_dir=found.base_dir, is_stored=True, bundle=bundle)
    text = found.text.decode("utf-8", "replace")
    return answer(PolicyView(name=name, text=text, **dict(checked)))


@router.post(
    "/check",
    operation_id="check_policy",
    summary="Check a policy document",
    response_model=CheckView,
    responses={
        **problems("unsupported-type"),
        200: shown("What is to be said about it, whether it is valid or not.", examples.CHECKED),
    },
    openapi_extra=body(
        {kind: {} for kind in TYPES},  # whatever is sent, findings are the answer
        example=examples.POLICY_TEXT,
    ),
)
async def check_policy(request: Request, within: Within, query: Annotated[CheckQuery, Query()]) -> Response:
    """The document itself, YAML or JSON; every error and warning is reported at once, and nothing is kept."""
    require_type(request, TYPES)
    text = await request.body()
    base_dir = str(within.service.settings.policies_dir)
    is_stored = query.stored == "true"
    bundle = (await run_in_threadpool(within.service.policies.library)).bundle
    return answer(
        await run_in_threadpool(
            check, text, file="policy", base_dir=base_dir, is_stored=is_stored, bundle=bundle
        )
    )


def check(text: bytes, *, file: str, base_dir: str, is_stored: bool, bundle: Bundle) -> CheckView:
    """Say what is to be said about a document."""
    findings: tuple[Finding, ...]
    plan: Plan | None = None
    try:
        findings = findings_of(text, file=file, base_dir=base_dir, is_stored=is_stored, bundle=bundle)
        plan = plan_of(text, file=file, base_dir=base_dir, is_stored=is_stored, bundle=bundle)
    except PolicyError as err:
        findings = err.findings
    return CheckView(
        is_valid=plan is not None,
        findings=tuple(fault_of(finding) for finding in findings),
        policy_name=plan.name if plan else None,
        policy_digest=plan.policy_digest if plan else None,
        plan_digest=plan.plan_digest if plan else None,
        explanation=tuple(explain_plan(plan)) if plan else (),
    )
