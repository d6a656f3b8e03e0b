"""What is kept, held and deleted, for every surface: holds, and the deletion of what is old enough.

What may go is decided in `audit/retention.py`, and deleted in `audit/pruning.py`; how an event is recorded,
sealed and signed is handed in. INVARIANT: a hold is on record before anybody is told of it, and nothing is
deleted before the entry that says so is signed; one process at a time does either.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from api.control import brief_record, control_event
from audit.catalogue import Catalogue
from audit.errors import AuditError, FilterError, WriteError
from audit.holds import HOLD, MAX_REASON, RELEASE, holds_in_force
from audit.leaves import LeafKind
from audit.pruning import PRUNE, Deleted, delete_pruned, left_over, prune_details
from audit.retention import Plan, Rules, plan
from audit.store import Store, locked
from audit.times import to_rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from api.settings import Settings
    from api.signing import SignerProcess
    from audit.events import ControlEvent
    from audit.holds import Hold, Scope

RETENTION_LOCK = "retention.lock"
_SIGNED_S = 30.0  # the signer looks every second


class UnsignedError(AuditError):
    """What is to be deleted is on record, and could not be signed; nothing was deleted."""

    def __init__(self, problem: str) -> None:
        """Say why it could not be signed."""
        super().__init__(f"nothing was deleted: the record of it is not signed yet: {problem}")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was planned, what is on record of it, and what became of it; the latter None when dry."""

    plan: Plan
    unfinished: tuple[str, ...]  # segments that an earlier prune left half deleted
    events: tuple[str, ...] = ()
    deleted: Deleted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How events get on record, into the transparency log, and under a signature."""

    event: Callable[[ControlEvent], None]
    seal: Callable[[], object]
    sign: Callable[[int], str | None]  # so many leaves; gives why not


class Retaining:
    """Retention of one log; thread-safe."""

    def __init__(self, settings: Settings, record: Record) -> None:
        """Take the log that the settings name."""
        self._store = Store(settings.audit_dir)
        self._min_days = settings.audit_retain_min_days
        self._record = record
        self._catalogue = Catalogue(self._store)

    def record(self, event: ControlEvent) -> None:
        """Put an event on record; raises AuditError."""
        self._record.event(event)

    def holds(self) -> tuple[Hold, ...]:
        """Give the holds that are in force, the oldest first; raises AuditError."""
        return holds_in_force(self._store, self._catalogue)

    def hold(self, scope: Scope, *, reason: str, actor: str) -> Hold:
        """Set a hold; it is in force when this returns. Raises AuditError."""
        scope.check()
        _check_reason(reason)
        event = control_event(HOLD, actor=actor, tenant=scope.tenant, reason=reason, **scope.details())
        with self._locked():
            self._record.event(event)
            return next(one for one in self.holds() if one.hold_id == event.event_id)

    def release(self, hold_id: str, *, reason: str, actor: str) -> Hold | None:
        """End a hold; gives which, or None if there is none with this id. Raises AuditError."""
        _check_reason(reason)
        with self._locked():
            found = next((one for one in self.holds() if one.hold_id == hold_id), None)
            if found is not None:
                event = control_event(
                    RELEASE, actor=actor, tenant=found.scope.tenant, hold=hold_id, reason=reason
                )
                self._record.event(event)
            return found

    def plan(self, *, tenant: str | None = None, until_ns: int | None = None) -> Pruned:
        """Say what may be deleted now and why the rest stays; raises AuditError."""
        rules = Rules(now_ns=time.time_ns(), min_days=self._min_days, until_ns=until_ns)
        holds = self.holds()
        made = plan(self._catalogue.retained(tenant), holds, rules)
        return Pruned(made, left_over(self._store, self._catalogue))

    def prune(self, *, actor: str, tenant: str | None = None, until_ns: int | None = None) -> Pruned:
        """Delete what may go, and what an earlier prune left; raises AuditError and OSError.

        After a failure or a crash the next call goes on: what is on record is deleted then.
        """
        with self._locked():
            self._record.seal()
            made = self.plan(tenant=tenant, until_ns=until_ns)
            events = [
                control_event(PRUNE, actor=actor, tenant=owner, **details)
                for owner, details in prune_details(self._store, made.plan.going)
            ]
            for event in events:
                self._record.event(event)
            if events or made.unfinished:
                self._make_sure(events)
            deleted = delete_pruned(self._store, self._catalogue, self.holds())
        return Pruned(made.plan, made.unfinished, tuple(one.event_id for one in events), deleted)

    def _make_sure(self, events: list[ControlEvent]) -> None:
        self._record.seal()
        self._catalogue.catch_up()
        names = [one.event_id for one in events]
        leaves = self._catalogue.leaf_keys(LeafKind.EVENT, names)
        if len(leaves) != len(names):
            raise WriteError(self._store.root, "the record of what is deleted is not sealed")
        last = max([*leaves.values(), *self._catalogue.pruned().values()])
        problem = self._record.sign(last + 1)
        if problem is not None:
            raise UnsignedError(problem)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self._store.root / RETENTION_LOCK):
            yield


def retaining_of(
    settings: Settings,
    *,
    event: Callable[[ControlEvent], None],
    seal: Callable[[], object],
    signer: SignerProcess,
) -> Retaining:
    """Retention by a service; raises AuditError."""

    def sign(size: int) -> str | None:
        signer.poke()
        status = signer.wait(size, timeout_s=_SIGNED_S)
        return None if (status.size or 0) >= size else status.problem or "the signer did not answer in time"

    return Retaining(settings, Record(event=event, seal=seal, sign=sign))


def retaining_here(settings: Settings) -> Retaining:
    """Retention by a program that ends soon; raises AuditError."""
    from api.sealing import seal_left
    from api.signing import sign_once

    def record(event: ControlEvent) -> None:
        with brief_record(settings.audit_dir) as write:
            write(event)

    def sign(size: int) -> str | None:
        status = sign_once(settings)
        return None if (status.size or 0) >= size else status.problem or "nothing was signed"

    def seal() -> object:
        return seal_left(settings.audit_dir, keys_dir=settings.audit_keys_dir)

    return Retaining(settings, Record(event=record, seal=seal, sign=sign))


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > MAX_REASON:
        raise FilterError("reason", f"a sentence of at most {MAX_REASON} characters", reason)


def pruned_rows(of: Pruned) -> list[dict[str, object]]:
    """Give each segment and what becomes of it, as rows."""
    return [
        {
            "action": _ACTION[of.deleted is None] if one.is_going else "keep",
            "segment": one.segment.path,
            "tenant": one.segment.tenant,
            "from": to_rfc3339(one.segment.t_min_ns),
            "to": to_rfc3339(one.segment.t_max_ns),
            "rows": one.segment.rows,
            "calls": one.segment.calls,
            "bytes": one.segment.file_bytes,
            "executions": len(one.segment.stays),
            "why": one.why,
        }
        for one in of.plan.verdicts
    ]


def pruned_json(of: Pruned) -> dict[str, object]:
    """Give all of it as JSON values."""
    gone = of.deleted
    return {
        "dry_run": gone is None,
        "segments": pruned_rows(of),
        "unfinished": list(of.unfinished),
        "events": list(of.events),
        "deleted": None
        if gone is None
        else {"segments": gone.segments, "files": gone.files, "bytes": gone.freed_bytes, "held": gone.held},
    }


_ACTION = {True: "would delete", False: "delete"}
