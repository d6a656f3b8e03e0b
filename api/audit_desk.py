"""What a surface asks of the audit log besides queries: control events, figures, exports, verification.

Queries are answered by `audit.query`; how the log is written is `api/sealing.py`, how it is signed
`api/signing.py`. INVARIANT: nothing here changes the log.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from api.checking_log import Checks
from api.exports import ExportJobs
from api.followers import follower_statuses
from api.log_status import LogFigures
from audit.catalogue import Catalogue
from audit.export.make import Form, Request, export
from audit.export.sealed import SealedEvidence
from audit.mask_keys import FileMaskKeys, file_name
from audit.masks import candidate
from audit.recovery import wal_files
from audit.store import Store
from audit.wal import Kind, read_live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import BinaryIO

    from api.log_status import LogStatus
    from api.settings import Settings
    from audit.catalogue_tables import LoggedEvent
    from audit.events import ControlEvent
    from audit.export.manifest import ExportManifest
    from audit.filters import RecordFilter
    from audit.query import AuditReader


def told(made: ExportManifest) -> dict[str, str | int | None]:
    """Give what the log says of an export that was made; the filter is in the event anyway."""
    return {name: value for name, value in made.details().items() if name != "filter"}


def _is_wanted(event: ControlEvent, kind: str | None, from_ns: int | None, to_ns: int | None) -> bool:
    is_late = to_ns is not None and event.at_ns >= to_ns
    is_early = from_ns is not None and event.at_ns < from_ns
    return (kind is None or event.event == kind) and not is_late and not is_early


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownEvent:
    """A control-plane event, and its leaf; None until it is sealed."""

    event_id: str
    at_ns: int
    event: str
    actor: str
    tenant: str | None
    details: Mapping[str, str | int | None]
    leaf: int | None

    @staticmethod
    def of(event: ControlEvent | LoggedEvent, leaf: int | None = None) -> KnownEvent:
        """Give an event as it is known."""
        return KnownEvent(
            event_id=event.event_id,
            at_ns=event.at_ns,
            event=event.event,
            actor=event.actor,
            tenant=event.tenant,
            details=event.details,
            leaf=leaf,
        )


class AuditDesk:
    """Answers for one log; thread-safe."""

    def __init__(
        self,
        settings: Settings,
        *,
        reader: Callable[[], AuditReader],
        problems: Callable[[], tuple[str, ...]] = tuple,
        waited_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`problems` says why it is not sealed or signed, `waited_s` how long guests waited for the log."""
        self._settings = settings
        self._reader = reader
        self._problems = problems
        self._waited_s = waited_s
        self._catalogue = Catalogue(Store(settings.audit_dir))
        self._figures = LogFigures(settings.audit_dir, settings.audit_disk_bytes)
        self._masks = FileMaskKeys(settings.audit_keys_dir / "mask")
        self._exports: ExportJobs | None = None
        self.checks = Checks(settings.audit_dir, settings.audit_keys_dir / "signing.vkey")

    @property
    def exports(self) -> ExportJobs:
        """Exports that are made in the background."""
        if self._exports is None:
            self._exports = ExportJobs(self._settings.exports_dir)
        return self._exports

    def close(self) -> None:
        """Wait for the export that is being written."""
        if self._exports is not None:
            self._exports.close()

    def leaf(self, kind: str, key: str) -> int | None:
        """Give the number of a leaf of the transparency log; None if it is not there yet."""
        return self._catalogue.leaf(kind, key)

    def status(self) -> LogStatus:
        """Give the figures of now; raises OSError."""
        return self._figures.now(
            gaps=len(self._catalogue.leaf_keys("gap")),
            back_pressure_s=self._waited_s(),
            problems=self._problems(),
            followers=follower_statuses(self._settings),
        )

    def control_events(
        self,
        *,
        kind: str | None,
        tenants: tuple[str, ...] | None,
        from_ns: int | None,
        to_ns: int | None,
        limit: int,
    ) -> tuple[KnownEvent, ...]:
        """Give the newest control-plane events, sealed or not; raises AuditError.

        With `tenants`, only events that are about one of them.
        """
        # INVARIANT: before the catalogue is asked, so that what is sealed meanwhile is found there
        waiting = [each for each in self._unsealed() if _is_wanted(each, kind, from_ns, to_ns)]
        found = {each.event_id: KnownEvent.of(each) for each in waiting}
        self._catalogue.catch_up()
        for tenant in (None,) if tenants is None else tenants:
            logged = self._catalogue.events(
                kind=kind, tenant=tenant, from_ns=from_ns, to_ns=to_ns, limit=limit
            )
            found |= {each.event_id: KnownEvent.of(each, each.leaf) for each in logged}
        seen = [each for each in found.values() if tenants is None or each.tenant in tenants]
        ordered = sorted(seen, key=lambda each: (each.at_ns, each.event_id), reverse=True)
        return tuple(ordered[:limit])

    def policy_events(self) -> tuple[KnownEvent, ...]:
        """Give the newest events that tell which policy was in force; raises AuditError."""
        return self.control_events(kind="policy", tenants=None, from_ns=None, to_ns=None, limit=1_000)

    def _unsealed(self) -> Iterator[ControlEvent]:
        from audit.events import ControlEvent

        for path in wal_files(Store(self._settings.audit_dir)):
            with contextlib.suppress(FileNotFoundError):  # sealed and deleted since it was listed
                for frame in read_live(path).frames:
                    if frame.kind is Kind.EVENT:
                        yield ControlEvent.from_json(frame.payload)

    def export(self, wanted: RecordFilter, *, form: str, out: IO[bytes], actor: str) -> ExportManifest:
        """Write the records that a filter names; raises AuditError and OSError."""
        return export(
            self._reader(),
            wanted,
            form=Form(form),
            out=cast("BinaryIO", out),
            evidence=SealedEvidence(self._catalogue, self._settings.audit_dir),
            request=Request(made_by=actor, made_at_ns=time.time_ns()),
        )

    def candidate(self, tenant: str, value: str) -> str | None:
        """Give what a value is masked as for a tenant; None if nothing of it was ever masked by hash."""
        # asking makes no key
        if not (self._settings.audit_keys_dir / "mask" / f"{file_name(tenant)}.key").exists():
            return None
        return candidate(self._masks, tenant, value)
