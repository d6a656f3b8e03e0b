"""What the key of a request is good for: each operation asks for a permission, and gets a reach.

Roles and what they may do are `policy.access`; who has come in at all is `guard.py`. INVARIANT: an operation
that is not in the table is denied to everybody, and a key with tenants never reaches beyond them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, assert_never, cast

from fastapi import Depends, Request

from api.http.guard import KEY
from api.http.keys import Key
from api.http.problems import Problem
from policy.access import Access, Reach, load_access
from policy.errors import PolicyError

if TYPE_CHECKING:
    from pathlib import Path

    from api.settings import Settings

OPEN = "open"
PERMISSIONS: dict[str, str] = {
    "get_health": OPEN,
    "post_module": "modules",
    "put_module": "modules",
    "list_modules": "modules",
    "get_module": "modules",
    "list_policies": "policies",
    "get_policy": "policies",
    "check_policy": "policies",
    "post_execution": "run",
    "cancel_execution": "run",
    "list_executions": "executions",
    "get_queue": "executions",
    "get_execution": "executions",
    "get_stdout": "output",
    "get_stderr": "output",
    "list_events": "read",
    "get_stats": "read",
    "list_audit_executions": "read",
    "get_audit_execution": "read",
    "list_execution_events": "read",
    "list_execution_files": "read",
    "list_execution_connections": "read",
    "aggregate_events": "read",
    "tail_events": "read",
    "post_export": "export",
    "list_exports": "export",
    "get_export": "export",
    "get_export_file": "export",
    "get_checkpoint": "proof",
    "get_tile": "proof",
    "get_entries": "entries",
    "prove_inclusion": "proof",
    "prove_consistency": "proof",
    "post_verify": "verify",
    "post_hash": "hash",
    "get_status": "status",
    "list_holds": "retain",
    "post_hold": "retain",
    "delete_hold": "retain",
    "post_prune": "retain",
    "list_control_events": "control",
}
"""The permission that each operation asks for; `executions` is given with `run` and with `read`, and
`export` is for what the key may read as well."""

_EITHER = {"executions": ("read", "run")}
_ALSO = {"export": "read"}


class AccessError(Exception):
    """The lines that say which role may do what cannot be used; nobody gets in before they are mended."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and how far they reach."""

    key: Key
    access: Access
    tenants: tuple[str, ...] | None  # None: all of them, and what is of no tenant

    @property
    def actor(self) -> str:
        """Give how the log names them."""
        return self.key.actor

    @property
    def scope_text(self) -> str:
        """Give the reach as the log says it: `*`, or tenants with commas."""
        return "*" if self.tenants is None else ",".join(self.tenants)

    def may_see(self, tenant: str) -> bool:
        """Say whether what belongs to a tenant is in reach."""
        return self.tenants is None or tenant in self.tenants

    def need(self, permission: str) -> None:
        """Refuse what also needs another permission; raises Problem."""
        _reach(self.key, self.access, permission)


def load_roles(settings: Settings) -> Access:
    """Give the lines of the folder `access` of the policies, or the built-in ones where there is none.

    Raises AccessError when there is one and it cannot be used.
    """
    folder = settings.policies_dir / "access"
    try:
        if not folder.exists():
            return load_access()
        model, roles = folder / "model.conf", folder / "roles.csv"
        return load_access(_text(model), _text(roles), model_file=str(model), file=str(roles))
    except (OSError, UnicodeDecodeError) as err:
        raise AccessError(f"{folder}: expected `model.conf` and `roles.csv`: {err}") from err
    except PolicyError as err:
        raise AccessError("\n".join(finding.render() for finding in err.findings)) from err


async def authorise(request: Request) -> None:
    """Decide on the operation of a request; raises Problem. Every route has this in front of it."""
    operation = str(getattr(request.scope.get("route"), "operation_id", None))
    permission = PERMISSIONS.get(operation)
    if permission == OPEN:
        return
    key = cast("Key | None", request.scope.get(KEY))
    if key is None or permission is None:
        raise Problem("forbidden", "no role is allowed this")
    access = cast("Access", request.app.state.gateway.access)
    request.state.asker = _reach(key, access, permission)


def _reach(key: Key, access: Access, permission: str) -> Asker:
    wanted = _EITHER.get(permission, (permission,))
    found = [access.reach(key.roles, each) for each in wanted]
    reach = Reach.ALL if Reach.ALL in found else Reach.OWN if Reach.OWN in found else Reach.NONE
    also = _ALSO.get(permission)
    if also is not None and reach is not Reach.NONE:
        # SECURITY: what may not be read may not be taken away either
        within = access.reach(key.roles, also)
        reach, permission = (within, also) if within is not Reach.ALL else (reach, permission)
    match reach:
        case Reach.ALL if not key.tenants:
            return Asker(key, access, None)
        case Reach.ALL | Reach.OWN if key.tenants:
            return Asker(key, access, key.tenants)
        case Reach.ALL | Reach.OWN | Reach.NONE:
            raise Problem(
                "forbidden", f"the roles of this key, {', '.join(key.roles)}, do not have `{permission}`"
            )
        case _:
            assert_never(reach)


async def _asker(request: Request) -> Asker:
    return cast("Asker", request.state.asker)


Asking = Annotated[Asker, Depends(_asker)]
"""Type of a route's parameter that holds who asks."""


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
