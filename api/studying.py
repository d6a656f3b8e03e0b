"""The plan of a policy that a command only looks at: shown, explained, compared, replayed.

Plans that run are loaded by `run_inputs.py`. INVARIANT: a policy with an error gives no plan, and everything
that is wrong with it has been told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from policy.plan import Plan


def plan_to_study(file: str, library: tuple[str, ...], tenant: str | None) -> Plan | None:
    """Give the plan of the policy in `file`, or None once its errors were shown on standard error.

    Raises:
        ClickException: for a file or a folder that can't be read.
    """
    from api.loading import UnreadableError, load_plan, show_policy_error
    from policy.errors import PolicyError

    try:
        return load_plan(file, library=library, tenant=tenant, is_study=True)
    except UnreadableError as err:
        raise click.ClickException(str(err)) from err
    except PolicyError as err:
        show_policy_error(err)
        return None
