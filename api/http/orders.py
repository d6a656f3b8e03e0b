"""From what a caller asks to the order of a run.

What may be asked is in `models.py`; running it is `runs.py`. INVARIANT: a policy with one error gives no
order, and nothing is on record then.
"""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import TYPE_CHECKING

from api.http.bodies import refused
from api.modules import ModuleMissingError, module_digest
from audit.identity import new_execution_id
from policy.plan import StdinMode
from policy.subject import Subject
from sandbox.order import StoredModule
from sandbox.runner import Order

if TYPE_CHECKING:
    from api.http.models import RunRequest
    from api.modules import ModuleDigest
    from api.service import Service
    from policy import Plan

_DIGITS_SHOWN = 12


def order_of(service: Service, wanted: RunRequest) -> tuple[Order, bytes | None]:
    """Give the order, and the guest's standard input.

    Raises ModuleMissingError, PolicyMissingError, PolicyError, UngovernedError and LibraryError, and Problem
    for input that the policy does not grant.
    """
    digest = module_digest(wanted.module)
    stored = service.modules.about(digest)  # it is read when its turn has come
    name = wanted.name or stored.name
    name = name or f"{digest.removeprefix('sha256:')[:_DIGITS_SHOWN]}.wasm"
    exec_id = new_execution_id()
    subject = Subject(tenant=wanted.tenant, module_name=name, module_digest=digest, run_id=exec_id)
    plan = _plan(service, wanted, subject)
    stdin = base64.b64decode(wanted.stdin) if wanted.stdin else None
    if stdin and plan.stdio.stdin is StdinMode.NONE:
        raise refused("stdin", expected="no input: the policy does not grant it (`stdio: {stdin: caller}`)")
    order = Order(
        plan=plan,
        module=StoredModule(digest, partial(_read, service, digest)),
        module_name=name,
        tenant=wanted.tenant,
        exec_id=exec_id,
        extra_args=wanted.args,
        invoke=wanted.invoke,
    )
    return order, stdin


def _read(service: Service, digest: ModuleDigest) -> bytes:
    try:
        return service.modules.get(digest)
    except ModuleMissingError as err:  # since the run was started
        raise OSError(str(err)) from err


def _plan(service: Service, wanted: RunRequest, subject: Subject) -> Plan:
    if wanted.policy is not None:
        return service.policies.plan(wanted.policy, subject)
    if wanted.policy_document is None:
        return service.policies.plan_governing(subject)
    document = wanted.policy_document
    text = document if isinstance(document, str) else json.dumps(document, indent=1, ensure_ascii=False)
    return service.policies.plan_inline(text.encode("utf-8", "surrogatepass"), subject=subject)
