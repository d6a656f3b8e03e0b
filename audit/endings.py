"""The ends of executions as sealing finds them: receipts, what is missing, and the tree over all rows.

Receipts are `receipt.py`, entries of the transparency log `leaves.py`. A receipt that has an entry is never
written again. INVARIANT: the entry of a receipt is made when all that is known of its execution is
sealed, and its tree is over exactly the chunks that the segments' own entries vouch for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from audit.catalogue import Catalogue, Part
from audit.errors import FormatError
from audit.gather import Gaps, Gathered, gaps
from audit.identity import ExecutionId
from audit.leaves import ExecutionTree, Leaf, LeafKind, damage_leaf, read_entry, receipt_leaf
from audit.manifest import Manifest, Span, manifest_path
from audit.receipt import Receipt, write_receipt
from audit.segment_files import MadeSegment
from audit.start import ExecutionStart
from audit.store import Store
from audit.tally import Tally
from audit.tlog.log import TransparencyLog
from audit.tlog.merkle import root_of

_UNSUPERVISED = "the supervisor ended before the run did"
_HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class Ending:
    """An execution that is over: its receipt as it is on disk, byte for byte, and what is missing of it."""

    receipt: Receipt
    content: bytes

    @property
    def is_killed(self) -> bool:
        """Whether nobody lived to write its receipt."""
        return (self.receipt.outcome.message or "").startswith(_UNSUPERVISED)


@dataclass(slots=True)
class Endings:
    """Finds the ends in one log file; `made` are the segments that were made of it."""

    store: Store
    catalogue: Catalogue
    log: TransparencyLog
    made: Sequence[MadeSegment]
    names: InitVar[Iterable[ExecutionId]]  # all executions in the log file
    spans: dict[ExecutionId, tuple[str, Span]] = field(default_factory=dict)  # with the segment's path
    _known: dict[str, list[Part]] = field(default_factory=dict)  # in the catalogue, of other log files too
    _told: frozenset[str] = frozenset()  # executions of which the receipt has an entry

    def __post_init__(self, names: Iterable[ExecutionId]) -> None:
        """Sort what was made by execution, and ask the catalogue once for all of them."""
        self.spans = {
            span.exec_id: (one.manifest.segment, span) for one in self.made for span in one.manifest.spans
        }
        wanted = list(names)
        self._known = self.catalogue.parts_of(wanted)
        self._told = frozenset(self.catalogue.leaf_keys(LeafKind.RECEIPT, wanted))

    def parts(self, exec_id: ExecutionId) -> list[Part]:
        """Give what each segment holds of an execution, those of this log file included, in order."""
        ours = {one.manifest.segment for one in self.made}
        # those of this file are in the catalogue already if a crash came after that
        found = [part for part in self._known.get(exec_id, ()) if part.segment not in ours]
        if exec_id in self.spans:
            path, span = self.spans[exec_id]
            found.append(Part(path, span.first_seq, span.last_seq, 0, span.chunks, span.gaps))
        return sorted(found, key=lambda part: (part.first_seq, part.segment))

    def missing(self, exec_id: ExecutionId, *, records: int = 0) -> Gaps:
        """Give the sequence numbers that no segment has; `records` is how many calls there were."""
        parts = self.parts(exec_id)
        ranges = [(part.first_seq, part.last_seq) for part in parts]
        inner = [gap for part in parts for gap in part.gaps]
        end = (records, records)  # as if there were one more call, at the end
        is_short = records > (ranges[-1][1] + 1 if ranges else 0)
        return tuple(sorted([*gaps([*ranges, end] if is_short else ranges), *inner]))

    def ending(self, item: Gathered, *, is_killed: bool) -> Ending | None:
        """Give the end of an execution, its receipt written as it now is; None if it is not over."""
        exec_id = item.start.exec_id
        path = self.store.receipt(exec_id)
        there = _content(path)
        if exec_id in self._told and there is not None:
            # one that was changed since is a matter for whoever verifies
            written = _read(there)
            return None if written is None else Ending(written, there)
        # without one its end was in a part of the file that can't be read, or a crash came before its entry
        receipt = item.receipt or _read(there)
        if receipt is None and is_killed:
            receipt = self._counted(item.start)
        if receipt is None:
            return None
        receipt = replace(receipt, gaps=self.missing(exec_id, records=receipt.records))
        content = receipt.to_json() + b"\n"
        if there != content:
            write_receipt(receipt, path)
        return Ending(receipt, content)

    def leaves(self, endings: Sequence[Ending], *, at_ns: int) -> Iterator[Leaf]:
        """Give the entries of receipts, after those that tell of chunks that can't be vouched for."""
        for one in endings:
            exec_id = one.receipt.execution_id
            parts = self.parts(exec_id)
            hashes: list[bytes] = []
            for part in parts:
                try:
                    hashes += self._hashes(exec_id, part)
                except (FormatError, FileNotFoundError) as err:
                    details = {"execution": str(exec_id), "problem": str(err)[:200]}
                    yield damage_leaf(f"{part.segment}#{exec_id}", details, at_ns=at_ns)
            tree = ExecutionTree([part.segment for part in parts], len(hashes), root_of(hashes))
            yield receipt_leaf(one.receipt, one.content, tree, at_ns=at_ns)

    def _counted(self, start: ExecutionStart) -> Receipt:
        tables, message = [], _UNSUPERVISED
        for part in self.parts(start.exec_id):
            try:
                tables.append(Tally.of([self.store.root / part.segment], start.exec_id).rows)
            except (pa.ArrowException, OSError, KeyError):
                # one segment that was damaged must not keep the rest of the log from being sealed
                message = f"{_UNSUPERVISED}, and a segment of it could not be read"
        whole = pa.concat_tables(tables).unify_dictionaries() if tables else Tally.of([], start.exec_id).rows
        return Tally(whole).receipt(start, message=message, gaps=())

    def _hashes(self, exec_id: ExecutionId, part: Part) -> Sequence[bytes]:
        """Give the hashes of an execution's chunks in one segment, each file checked by its digest."""
        for one in self.made:
            if one.manifest.segment == part.segment:
                return one.chunks[exec_id]
        path = self.store.root / part.segment
        manifest = Manifest.from_json(self._vouched(part.segment))
        content = path.with_suffix(".chunks").read_bytes()
        _check(path.with_suffix(".chunks"), content, manifest.files.chunks.sha256)
        ends = (part.first_chunk + part.chunks) * _HASH_BYTES
        found = content[part.first_chunk * _HASH_BYTES : ends]
        return [found[at : at + _HASH_BYTES] for at in range(0, len(found), _HASH_BYTES)]

    def _vouched(self, segment: str) -> bytes:
        path = self.store.root / manifest_path(segment)
        leaf = self.catalogue.leaf(LeafKind.SEGMENT, segment)
        if leaf is None:
            raise FormatError(segment, "an entry in the transparency log", None)
        content = path.read_bytes()
        _check(path, content, read_entry(next(self.log.entries(leaf, 1))).text("sha256"))
        return content


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _read(content: bytes | None) -> Receipt | None:
    try:
        return None if content is None else Receipt.from_json(content)
    except FormatError:
        return None


def _check(path: Path, content: bytes, sha256: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise FormatError(str(path), f"the digest {sha256}", found)
