"""A component as its cell needs to know it: which core modules, joined how; plain values for a job.

Taking components apart lives in `sandbox/wasm/component/assembly.py`, judging them in
`component_admission.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from policy.calls import CALLS


def slots(*, for_components: bool) -> int:
    """How many functions a gate has; that of components has one for calls that are recorded only."""
    return len(CALLS) + for_components


Place = tuple[int, str]
"""An export of an instance of a core module: its number, by the order of the steps, and the name."""

Target = tuple[int, str, int]
"""What an import is given: a place and -1; or -1, the name of a call and its edge, -1 for none."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Where the arguments of calls lie, and what makes room for what they return."""

    memory: Place
    realloc: Place | None


@dataclass(frozen=True, slots=True)
class Step:
    """One instance of a core module; targets come in the order of the module's imports."""

    module: int
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """A component, joined in the order of its steps."""

    steps: tuple[Step, ...]
    edges: tuple[Edge, ...]
    entry: Place  # the name is that of the job's entry, too

    @staticmethod
    def of(raw: Any) -> Parts:  # noqa: ANN401  # JSON, as the supervisor wrote it
        """Read what JSON holds of the supervisor's own value."""
        return Parts(
            steps=tuple(
                Step(one["module"], tuple((place, name, edge) for place, name, edge in one["targets"]))
                for one in raw["steps"]
            ),
            edges=tuple(
                Edge(_place(one["memory"]), None if one["realloc"] is None else _place(one["realloc"]))
                for one in raw["edges"]
            ),
            entry=_place(raw["entry"]),
        )


def _place(raw: Any) -> Place:  # noqa: ANN401  # as above
    instance, name = raw
    return instance, name
