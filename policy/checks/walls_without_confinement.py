"""The check that the walls a policy requires come with the isolation that it names.

Whether a wall stands on a machine is found where the run starts, in `sandbox/`. A policy that asks for a
wall and for an isolation that never puts it up could not run anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.document import PolicyDocument
    from policy.errors import Finding

ID = "walls-without-confinement"
SUMMARY = "a wall is required that only the isolation `confined` puts up, and the isolation is another one"
WHY = "nothing could run with it, on any machine"


def check(document: PolicyDocument) -> Iterator[Finding]:
    """Yield a finding when walls are required and the isolation is not `confined`."""
    runtime = document.model.runtime
    if runtime.require_walls and runtime.isolation != "confined":
        walls = ", ".join(dict.fromkeys(runtime.require_walls))
        verb = "stands" if len(set(runtime.require_walls)) == 1 else "stand"
        problem = f"{walls} {verb} with the isolation confined only, and the isolation is {runtime.isolation}"
        suggestion = "write `isolation: confined`, or require no wall"
        yield document.source.finding(
            ID, ("runtime", "require_walls"), problem=problem, suggestion=suggestion
        )
