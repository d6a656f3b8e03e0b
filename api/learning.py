"""What a policy is learned from, read from the log and from files.

What is learned is decided in `policy/learn/`; here is only gathered. INVARIANT: an execution that the log
does not know, that still runs, or that left no records is an error, never an empty lesson; and that the log
is read is on record before anything is told of it, where the log can be written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from api.control import Question, Reading, recorded
from api.evidence import facts_of
from api.loading import UnreadableError, load_bundle, read_policy
from api.sealing import open_reader
from api.settings import SettingsError, load_settings
from audit.filters import RecordFilter
from audit.receipt import OutcomeKind
from policy.document import BoundaryDocument, load_any, load_document
from policy.learn import LearnError, Material, Mounted, Run
from policy.subject import Subject

if TYPE_CHECKING:
    from audit.query import AuditReader, Execution
    from audit.receipt import Receipt

_MOST_FACTS = 50_000
"""More distinct records than a policy could be reviewed for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What somebody asked to learn from: ids of executions, and files."""

    executions: tuple[str, ...]
    start: str | None = None  # the policy to extend
    boundaries: tuple[str, ...] = ()
    library: tuple[str, ...] = ()
    tenant: str | None = None


@contextmanager
def opened_log(
    audit_dir: Path | None, question: Question, *, on_failure: Callable[[str], None]
) -> Iterator[tuple[AuditReader, Reading]]:
    """Open the log of the settings, or the one in `audit_dir`, for a read that is on record as `question`.

    Nothing is sealed first: what is not sealed still says what was mounted where. `on_failure` hears why a
    read is not on record. Raises QueryError and UnreadableError.
    """
    try:
        settings = load_settings(audit_dir=audit_dir)
    except SettingsError as err:
        raise UnreadableError("settings", ", ".join(err.faults), "not usable") from err
    root, keys_dir = settings.audit_dir, settings.audit_keys_dir
    with (
        open_reader(root) as reader,
        recorded(root, question, keys_dir=keys_dir, on_failure=on_failure) as reading,
    ):
        yield reader, reading
        reading.is_complete = True


def gather(lesson: Lesson, reader: AuditReader) -> Material:
    """Give what is learned from.

    Raises UnreadableError, LearnError, PolicyError, FilterError (no execution's id) and QueryError.
    """
    known = [_known(reader, name) for name in dict.fromkeys(lesson.executions)]
    receipts = [receipt for _, receipt in known]
    names = sorted({receipt.module_name for receipt in receipts})
    digests = sorted({receipt.module_digest for receipt in receipts})
    bundle = load_bundle(lesson.library)
    start, base_dir = None, str(Path.cwd())
    if lesson.start is not None:
        text, base_dir = read_policy(lesson.start)
        start = load_document(text, file=lesson.start)
    return Material(
        runs=tuple(_run(reader, receipt) for receipt in receipts),
        modules=tuple(digests),
        name=_policy_name(names[0]) if names else "learned",
        mounts=_mounts([execution for execution, _ in known]),
        start=start,
        base_dir=base_dir,
        boundaries=tuple(_boundary(file) for file in lesson.boundaries),
        bundle=bundle,
        subject=Subject(
            tenant=lesson.tenant,
            module_name=names[0] if len(names) == 1 else None,
            module_digest=digests[0] if len(digests) == 1 else None,
        ),
    )


def _known(reader: AuditReader, name: str) -> tuple[Execution, Receipt]:
    execution = reader.execution(name)
    if execution is None:
        raise LearnError(f"no execution {name} in this log")
    if execution.receipt is None:
        raise LearnError(f"the execution {name} is not over: learn from it when it has ended")
    if execution.receipt.outcome.kind is OutcomeKind.REFUSED:
        raise LearnError(f"the execution {name} was refused before it started, so it shows no needs")
    return execution, execution.receipt


def _run(reader: AuditReader, receipt: Receipt) -> Run:
    facts = facts_of(reader, RecordFilter(execution=receipt.execution_id))
    if len(facts) > _MOST_FACTS:
        raise LearnError(
            f"the execution {receipt.execution_id} has more than {_MOST_FACTS} different records"
        )
    return Run(receipt.execution_id, facts, receipt.outcome.limit or "")


def _mounts(executions: list[Execution]) -> tuple[Mounted, ...]:
    """The mounts that the log still knows: where an execution is sealed, they are read off its records."""
    starts = [execution.start for execution in executions if execution.start is not None]
    if len(starts) < len(executions):
        return ()
    return tuple(sorted({Mounted(each.guest, each.base) for start in starts for each in start.mounts}))


def _boundary(file: str) -> BoundaryDocument:
    text, _ = read_policy(file)
    document = load_any(text, file=file)
    if not isinstance(document, BoundaryDocument):
        raise UnreadableError("boundary", file, f"a document of kind {document.model.kind}, not Boundary")
    return document


def _policy_name(module: str) -> str:
    """A name for the draft, made of the module's, which somebody else chose."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", module.removesuffix(".wasm")).strip("-._")
    return f"{stem[:100] or 'learned'}"
