"""The directories that a run starts with: checked on the host, and made where they are scratch.

Which there are is the plan's matter, what may be done in them the monitor's. SECURITY: a mount is the directory
that the policy names, not one that a link on the way to it leads to: the rules were compiled for the name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from audit.inert import inert

if TYPE_CHECKING:
    from policy.plan import Mount, Plan


class MountRefused(Exception):  # noqa: N818  # an outcome of a run, shown as `refused`, not a mistake of ours
    """A run cannot be set up as its plan says; the message is inert."""


def open_mounts(plan: Plan, scratch: Path | None) -> tuple[tuple[str, str, bool], ...]:
    """Host directory, guest path and mutability of each mount, in the plan's order.

    `scratch` is an empty directory of this run. Raises MountRefused.
    """
    return tuple((_host(mount, scratch), mount.guest, mount.is_mutable) for mount in plan.mounts)


def _host(mount: Mount, scratch: Path | None) -> str:
    if mount.scratch:
        if scratch is None:
            raise MountRefused(f"mount `{inert(mount.guest)}`: there is no place for scratch files")
        folder = scratch / mount.scratch
        folder.mkdir(mode=0o700, exist_ok=True)
        return str(folder)
    path = Path(mount.host)
    real = path.resolve()
    if not real.is_dir():
        raise MountRefused(
            f"mount `{inert(mount.guest)}`: expected a directory at `{inert(mount.host)}`, found none"
        )
    if real != path:
        raise MountRefused(
            f"mount `{inert(mount.guest)}`: `{inert(mount.host)}` leads through a link to `{inert(str(real))}`:"
            " write that path in the policy, so that its rules are judged by it"
        )
    return str(path)
