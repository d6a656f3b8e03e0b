"""Control-plane events as this program records them: who read the log, and who changed what it trusts.

How an event is stored is `audit.events`, and by whom `AuditWriter.record_event`. INVARIANT: an event is on
record before what it tells of has an effect: a read before the first byte of its answer, a key before it
opens anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from audit import canonical
from audit.errors import AuditError
from audit.identity import new_uuid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from audit.canonical import Json
    from audit.events import ControlEvent

Detail = str | int | None
MAX_FILTER = 4_096
"""Characters of a filter that an event repeats; of a longer one it has the beginning, and a hash of all."""


def local_actor() -> str:
    """Give how the log names the user who runs this process: the name, and the number that decides."""
    number = os.geteuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = "?"
    return f"user:{name}({number})"


def control_event(word: str, *, actor: str, tenant: str | None = None, **details: Detail) -> ControlEvent:
    """Give an event of now."""
    from audit.events import ControlEvent

    return ControlEvent(
        event_id=str(new_uuid()),
        at_ns=time.time_ns(),
        event=word,
        actor=actor,
        tenant=tenant,
        details=details,
    )


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the log, as it is recorded."""

    actor: str
    what: str  # the operation over HTTP, or the command
    scope: str  # `*`, or the tenants that are in reach, with commas
    wanted: Mapping[str, object] = field(default_factory=dict)  # what was given; None stands for nothing
    word: str = "read"  # or `export`

    def event(self, **more: Detail) -> ControlEvent:
        """Give the event that tells of it."""
        tenant = None if "," in self.scope or self.scope == "*" else self.scope
        return control_event(
            self.word,
            actor=self.actor,
            tenant=tenant,
            what=self.what,
            scope=self.scope,
            filter=self._filter(),
            **more,
        )

    def _filter(self) -> str:
        given: dict[str, Json] = {
            name: _plain(value) for name, value in self.wanted.items() if value is not None
        }
        text = canonical.dumps(given).decode()
        if len(text) <= MAX_FILTER:
            return text
        digest = hashlib.sha256(text.encode()).hexdigest()
        return canonical.dumps({"begins": text[:MAX_FILTER], "sha256": digest}).decode()


@dataclass(slots=True)
class Reading:
    """One read that goes on; whoever answers it counts."""

    rows: int = 0
    is_complete: bool = False
    more: Mapping[str, Detail] = field(default_factory=dict)  # what else there is to say at its end


@dataclass(frozen=True, slots=True)
class ReadLog:
    """Puts reads of the log on record; `hidden` takes out of a question what is not to be repeated."""

    record: Callable[[ControlEvent], None]
    hidden: Callable[[Question], Question]

    def done(self, question: Question, *, rows: int, is_complete: bool = True) -> None:
        """Record a read whose answer is ready and has not been given; raises AuditError."""
        self.record(self.hidden(question).event(rows=rows, complete=int(is_complete)))

    @contextlib.contextmanager
    def going(self, question: Question) -> Iterator[Reading]:
        """Record a read whose answer is given bit by bit: at once, and again at its end with the rows.

        Raises AuditError before anything is given.
        """
        question = self.hidden(question)
        first = question.event(rows=None, complete=None)
        self.record(first)
        reading = Reading()
        try:
            yield reading
        finally:
            found = {"rows": reading.rows, "complete": int(reading.is_complete), **reading.more}
            self.record(question.event(of=first.event_id, **found))


@contextlib.contextmanager
def recorded(
    root: Path, question: Question, *, keys_dir: Path, on_failure: Callable[[str], None] | None = None
) -> Iterator[Reading]:
    """Put a read of the log in `root` by this process on record, as `ReadLog.going`.

    `keys_dir` holds the keys of the log. With `on_failure` a log that cannot be written, as a copy on a
    read-only disk, is read all the same, and it hears why that is not on record. Raises AuditError.
    """
    from api.hidden_values import HiddenValues

    with contextlib.ExitStack() as stack:
        try:
            hidden = HiddenValues(keys_dir / "mask").out_of
            reads = ReadLog(stack.enter_context(brief_record(root)), hidden)
            reading = stack.enter_context(reads.going(question))
        except (AuditError, OSError) as err:
            if on_failure is None:
                raise
            on_failure(str(err))
            reading = Reading()
        yield reading


@contextlib.contextmanager
def brief_record(root: Path) -> Iterator[Callable[[ControlEvent], None]]:
    """Give what records events of a program that ends soon; raises AuditError."""
    from audit.writer import AuditWriter

    writer = AuditWriter(root, shard="control")
    try:
        yield writer.record_event
    finally:
        writer.close()


def _plain(value: object) -> Json:
    if isinstance(value, Mapping):
        inner = cast("Mapping[str, object]", value)
        return {str(name): _plain(each) for name, each in inner.items() if each is not None}
    if isinstance(value, list | tuple):
        return [str(each) for each in cast("Sequence[object]", value)]
    # JSON of RFC 8785 has no larger numbers than a double is exact for; as text a time stays what it is
    return value if isinstance(value, bool | str) else str(value)
