"""The check for parts of the format that this version can't enforce.

Their shape is checked in `policy/schema.py`. A policy that uses one of them is refused: a part that
was read and then passed over would be a promise nobody keeps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding
    from policy.places import Path
    from policy.schema import PolicyModel

ID = "not-enforceable-yet"
SUMMARY = "the policy uses a part of the format that this version does not enforce"
WHY = "a rule that is read and not enforced is worse than none"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a finding for each part that is used and not enforced."""
    for path, what in (*_top(document.model), *_permissions(document.model), *_run(document.model)):
        yield document.source.finding(ID, path, problem=f"not enforceable yet: {what}")
    yield from _substitutions(document)


def _top(model: PolicyModel) -> Iterator[tuple[Path, str]]:
    if model.kind != "ModulePolicy":
        yield ("kind",), f"documents of kind {model.kind}"
    if model.match is not None and model.match.signer:
        yield ("match", "signer"), "matching by signer"
    if model.match is not None and model.match.tenant:
        yield ("match", "tenant"), "matching by tenant"
    if model.extends:
        yield ("extends",), "inheriting from other documents"
    if model.mode == "learn":
        yield ("mode",), "the mode learn"
    if model.when_unenforceable != "refuse":
        yield ("when_unenforceable",), "running a policy of which a part is not enforced"
    if model.rules:
        yield ("rules",), "rules over time"


def _permissions(model: PolicyModel) -> Iterator[tuple[Path, str]]:
    permissions = model.permissions
    network = permissions.network
    for name in ("tcp", "udp", "deny", "http", "listen"):
        if getattr(network, name):
            yield ("permissions", "network", name), f"network.{name}"
    if network.dns is not None:
        yield ("permissions", "network", "dns"), "network.dns"
    if network.private != "deny":
        yield ("permissions", "network", "private"), "network.private"
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


def _run(model: PolicyModel) -> Iterator[tuple[Path, str]]:
    limits = model.resources.limits
    for name in ("connections", "net_in", "net_out"):
        if getattr(limits, name) is not None:
            yield ("resources", "limits", name), f"the limit {name}"
    if model.runtime.abi not in {"auto", "wasi-0.1"}:
        yield ("runtime", "abi"), f"the interface {model.runtime.abi}"
    if model.runtime.isolation != "process":
        yield ("runtime", "isolation"), "any isolation but process"
    audit = model.audit
    if audit.level != "calls":
        yield ("audit", "level"), f"the level {audit.level}"
    if audit.payload != "none":
        yield ("audit", "payload"), "keeping what is read and written"
    if audit.mask != ("default",):
        yield ("audit", "mask"), "any mask but default"
    if audit.rules:
        yield ("audit", "rules"), "exceptions for some calls"


def _substitutions(document: PolicyDocument) -> Iterator[Finding]:
    stack: list[tuple[Path, object]] = [((), document.source.value)]
    while stack:
        path, value = stack.pop()
        match value:
            case str() if "${" in value:
                problem = "not enforceable yet: substitution of ${…}"
                yield document.source.finding(ID, path, problem=problem)
            case dict():
                stack.extend(((*path, str(key)), child) for key, child in value.items())
            case tuple():
                stack.extend(((*path, index), child) for index, child in enumerate(value))
            case _:
                pass
