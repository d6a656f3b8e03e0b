"""Legal holds: what must not be deleted, whatever retention says, rebuilt from the events of the log.

What is old enough to go is `retention.py`, and who deletes it `pruning.py`. INVARIANT: an event that sets a
hold and can't be understood holds everything; only an event that names a hold ends it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from audit.catalogue import Catalogue
from audit.catalogue_tables import LoggedEvent, Retained
from audit.controls import controls
from audit.errors import FilterError, FormatError
from audit.events import ControlEvent, Detail
from audit.identity import execution_id
from audit.recovery import wal_files
from audit.store import Store
from audit.times import to_ns, to_rfc3339
from audit.wal import read_live

HOLD, RELEASE = "hold", "release"
MAX_REASON = 1_000
_ALL = (1 << 31) - 1  # events: all that there are
_FIELDS = ("of_tenant", "execution", "module", "from", "to")


Event: TypeAlias = "ControlEvent | LoggedEvent"
"""An event of the control plane, not sealed yet or sealed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What is held: all that is given must hold of it; nothing given is everything."""

    tenant: str | None = None
    execution: str | None = None
    module: str | None = None  # digest
    from_ns: int | None = None
    to_ns: int | None = None  # not included

    def check(self) -> None:
        """Raise FilterError if a person can't have meant it."""
        if sum(one is not None for one in (self.tenant, self.execution, self.module)) != 1:
            raise FilterError("hold", "one of tenant, execution and module", self.details())
        if self.execution is not None:
            execution_id(self.execution)
        if self.module is not None and not self.module.startswith("sha256:"):
            raise FilterError("module", "a digest, as sha256:…", self.module)
        if self.from_ns is not None and self.to_ns is not None and self.to_ns <= self.from_ns:
            raise FilterError("to", "a time after `from`", self.details()["to"])

    def covers(self, segment: Retained) -> bool:
        """Say whether something in a segment is held; where that can't be told, it is."""
        return (
            self.tenant in {None, segment.tenant}
            and (self.module is None or self.module in segment.modules)
            and (self.execution is None or any(one.exec_id == self.execution for one in segment.stays))
            and (self.from_ns is None or segment.t_max_ns >= self.from_ns)
            and (self.to_ns is None or segment.t_min_ns < self.to_ns)
        )

    def details(self) -> dict[str, str | None]:
        """Give it as details of an event."""
        return {
            "of_tenant": self.tenant,
            "execution": self.execution,
            "module": self.module,
            "from": None if self.from_ns is None else to_rfc3339(self.from_ns),
            "to": None if self.to_ns is None else to_rfc3339(self.to_ns),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """One hold that is in force."""

    hold_id: str
    at_ns: int
    actor: str
    reason: str
    scope: Scope

    def as_json(self) -> dict[str, str | None]:
        """Give it as people and scripts read it."""
        said = self.scope.details()
        head = {"id": self.hold_id, "at": to_rfc3339(self.at_ns), "actor": self.actor, "reason": self.reason}
        return head | {"tenant": said.pop("of_tenant"), **said}


def holds_of(events: Iterable[Event]) -> tuple[Hold, ...]:
    """Give the holds that are in force after these events, the oldest first; their order does not matter."""
    found: dict[str, Hold] = {}
    released: set[str] = set()
    for one in events:
        if one.event == HOLD:
            found[one.event_id] = _hold(one)
        elif one.event == RELEASE:
            released.add(str(one.details.get("hold")))
    kept = (hold for name, hold in found.items() if name not in released)
    return tuple(sorted(kept, key=lambda hold: (hold.at_ns, hold.hold_id)))


def holds_in_force(store: Store, catalogue: Catalogue) -> tuple[Hold, ...]:
    """Give the holds of a log, those that are not sealed yet included; AuditError if it can't be read."""
    # INVARIANT: before the catalogue is asked, so that what is sealed meanwhile is found there
    waiting: list[Event] = []
    for path in wal_files(store):
        with contextlib.suppress(FileNotFoundError):  # sealed and deleted since it was listed
            waiting += controls(read_live(path).frames).events
    catalogue.catch_up()
    logged = [one for word in (HOLD, RELEASE) for one in catalogue.events(kind=word, limit=_ALL)]
    return holds_of([*waiting, *logged])


def _hold(event: Event) -> Hold:
    reason = event.details.get("reason")
    return Hold(
        hold_id=event.event_id,
        at_ns=event.at_ns,
        actor=event.actor,
        reason=reason if isinstance(reason, str) else "",
        scope=_scope(event.details),
    )


def _scope(details: Mapping[str, Detail]) -> Scope:
    # SECURITY: of details that do not fit into an entry it has a digest: then everything is held
    given = {name: details.get(name) for name in _FIELDS}
    if any(value is not None and not isinstance(value, str) for value in given.values()):
        return Scope()
    texts = {name: value if isinstance(value, str) else None for name, value in given.items()}
    try:
        low, high = (None if text is None else to_ns(text) for text in (texts["from"], texts["to"]))
    except FormatError:
        return Scope()
    return Scope(
        tenant=texts["of_tenant"],
        execution=texts["execution"],
        module=texts["module"],
        from_ns=low,
        to_ns=high,
    )
