"""The check for parts of the format that this version can't enforce.

Their shape is checked in `policy/schema.py`. A policy that uses one of them is refused, or says itself that
it is run all the same: a part that was read and then passed over would be a promise nobody keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.temporal import not_enforced, resolve_temporal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import BoundaryDocument, PolicyDocument
    from policy.errors import Finding
    from policy.places import Path

ID = "not-enforceable-yet"
SUMMARY = "the policy uses a part of the format that this version does not enforce"
WHY = "a rule that is read and not enforced is worse than none"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a finding for each part that is used and not enforced."""
    for path, what in parts(document):
        yield document.source.finding(ID, path, problem=f"not enforceable yet: {what}")


def check_boundary(boundary: BoundaryDocument) -> Iterator[Finding]:
    """Yield a finding for each part of a boundary that is used and not enforced."""
    for path, what in boundary_parts(boundary):
        yield boundary.source.finding(ID, path, problem=f"not enforceable yet: {what}")


def parts(document: PolicyDocument) -> tuple[tuple[Path, str], ...]:
    """Where the parts stand that are not enforced, and what they are."""
    return (*_top(document), *_permissions(document), *_run(document))


def boundary_parts(boundary: BoundaryDocument) -> Iterator[tuple[Path, str]]:
    """Where the parts of a boundary stand that are not enforced, and what they are."""
    model = boundary.model
    if model.match is not None and model.match.signer:
        yield ("match", "signer"), "matching by signer"
    if model.ceiling.require.signed_policy:
        yield ("ceiling", "require", "signed_policy"), "signatures of policies"
    if model.change_control is not None:
        yield ("change_control",), "approvals of changes"
    if model.anchors:
        yield ("anchors",), "anchors of the log"


def _top(document: PolicyDocument) -> Iterator[tuple[Path, str]]:
    model = document.model
    if model.match is not None and model.match.signer:
        yield ("match", "signer"), "matching by signer"
    for each in resolve_temporal(document).rules:
        if missing := not_enforced(each.compiled(0)):
            yield each.path, f"a rule over time {' and '.join(missing)}"


def _permissions(document: PolicyDocument) -> Iterator[tuple[Path, str]]:
    permissions = document.model.permissions
    network = permissions.network
    if network.dns is not None and not network.dns.pin:
        yield ("permissions", "network", "dns", "pin"), "connecting by name without a lookup"
    if permissions.nn.model_fields_set:
        yield ("permissions", "nn"), "neural networks"
    if permissions.host_functions:
        yield ("permissions", "host_functions"), "imports outside WASI"
    for index, allow in enumerate(permissions.environment.allow):
        path: Path = ("permissions", "environment", "allow", index)
        if allow.from_ is not None:
            yield (*path, "from"), "secrets"
        elif allow.value is None:
            yield path, "taking a variable from the environment of the host (write its `value`)"


def _run(document: PolicyDocument) -> Iterator[tuple[Path, str]]:
    model = document.model
    if model.runtime.abi not in {"auto", "wasi-0.1"}:
        yield ("runtime", "abi"), f"the interface {model.runtime.abi}"
