"""Verifies a wasmgate audit log offline, from its files and a public key alone.

What is here: every check, in one file, so longer than a module of this project usually is (auditors get it
as it is, `wasmgate_verify.py`). What is not: any code that writes the log; the formats are implemented a
second time, from their descriptions. It needs Python 3.11 with the package `cryptography`; with `pyarrow` it
reads records too, with `numpy` faster, with `blake3` it checks logs that are not sealed yet; what could not
be checked for want of them is said. INVARIANT: "verified" is said only of bytes that lead, hash by hash, to a
signature by the given key.

    python wasmgate_verify.py LOGDIR --key VKEY|FILE [--remember FILE] [--witness VKEY|FILE]
                              [--proof FILE ...] [--json] [--locate]

Exit status: 0 verified (perhaps with notes), 1 FAILED, 2 wrong usage, 3 not everything could be checked.

The chain of evidence: the key signs the checkpoint (C2SP signed-note, tlog-checkpoint) -> it has the root of
a Merkle tree (RFC 6962) over the entries in tlog/tile/entries (C2SP tlog-tiles) -> a `segment` entry has the
SHA-256 of a manifest, which has that of each file -> the rows give chunk hashes, whose roots are in `segment`
and `receipt` entries -> a receipt has the counters that the rows must add up to. Files are opened without
following links, at most as long as they may be, and Parquet is parsed only when its digest is the signed one
(or with --locate, which says where an altered file differs, and hands its bytes to the Parquet library).
"""

# ruff: noqa: TRY301  # what is wrong is raised where it is seen, and reported with its place below

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import importlib
import json
import os
import re
import stat
import struct
import sys
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Table: TypeAlias = Any  # of pyarrow and numpy, which need not be there


def optional(name: str) -> Table:
    """A library that is used if it is there."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


pa, pc, pq = optional("pyarrow"), optional("pyarrow.compute"), optional("pyarrow.parquet")
np, b3 = optional("numpy"), optional("blake3")

Object: TypeAlias = "dict[str, Any]"
MIB = 1 << 20
MAX_NOTE, MAX_RECEIPT, MAX_MANIFEST, MAX_BUNDLE = MIB, 64 * MIB, 256 * MIB, 256 * 65_537
MAX_FINDINGS = 1000  # that are listed; all are counted
OVERDUE_NS = 86_400 * 10**9  # an execution without a receipt, whose last rows were sealed so long ago
DECISIONS = {0: "none", 1: "allow", 2: "deny", 3: "would_deny", 4: "modified", 5: "limit"}
REFUSING, TRAP = (2, 3, 5), 2
SEGMENT_PATH = re.compile(r"seg/tenant=[A-Za-z0-9_%~-]+/day=[0-9-]+/[A-Za-z0-9_-][A-Za-z0-9._-]*\.parquet\Z")
TILE = re.compile(r"tlog/tile/(entries|[0-9])/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?")
EXEC_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
SUFFIX = {
    "records": ".parquet",
    "refusals": ".deny.parquet",
    "rollup": ".rollup.parquet",
    "chunks": ".chunks",
}


class Problem(Exception):  # noqa: N818  # it is about the log, not about this program
    """Something is not as it must be; the text says what."""


class MissingError(Problem):
    """A file is not there."""


# --- what is found -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem: what it is, and where."""

    what: str
    severity: str  # `error`: it FAILED; `unchecked`: could not be checked; `note`: worth knowing
    message: str
    file: str | None = None
    leaf: int | None = None
    execution: str | None = None
    seq: int | None = None
    offset: int | None = None  # in the file, bytes

    def line(self) -> str:
        """The finding as one line, in which no byte of the log can drive a terminal."""
        places = (
            ("leaf", self.leaf),
            ("execution", self.execution),
            ("seq", self.seq),
            ("byte", self.offset),
        )
        where = "".join(f", {name} {value}" for name, value in places if value is not None)
        return shown(f"{self.severity}: {self.what}: {self.message} [{self.file or 'log'}{where}]", 600)


@dataclass(slots=True)
class Report:
    """Findings, and how much was checked."""

    findings: list[Finding] = field(default_factory=list)
    severities: Counter[str] = field(default_factory=Counter)
    checked: Counter[str] = field(default_factory=Counter)

    def add(self, what: str, message: object, *, severity: str = "error", **where: Table) -> None:
        """Add a finding; `where` has fields of `Finding`."""
        self.severities[severity] += 1
        if len(self.findings) < MAX_FINDINGS or (severity == "error" and self.severities["error"] == 1):
            self.findings.append(Finding(what, severity, str(message)[:400], **where))

    @property
    def status(self) -> int:
        """The exit status."""
        return 1 if self.severities["error"] else 3 if self.severities["unchecked"] else 0

    @property
    def result(self) -> str:
        """The result in words."""
        good = "verified with notes" if self.severities["note"] else "verified"
        return {0: good, 1: "FAILED", 3: "not everything could be checked"}[self.status]

    def as_json(self) -> Object:
        """Everything."""
        listed = [asdict(one) for one in self.findings]
        return {
            "result": self.result,
            "status": self.status,
            "findings": listed,
            "not_listed": sum(self.severities.values()) - len(listed),
            "checked": dict(sorted(self.checked.items())),
        }


def shown(text: str, most: int = 80) -> str:
    """Text of unknown origin, made harmless and cut."""
    return "".join(c if c.isprintable() and ord(c) < 0x2500 else ascii(c)[1:-1] for c in text[:most])


# --- files: no links, no surprises ---------------------------------------------------------------


class Files:
    """The files below a folder, by their paths from there."""

    def __init__(self, root: str) -> None:
        """Look what there is; raises OSError."""
        self.root = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self.sizes: dict[str, int] = {}  # of regular files
        self.odd: list[str] = []  # links, devices, pipes
        self.named: set[str] = set()  # files that were asked for: what is left is named by nothing
        for folder, _, names, handle in os.fwalk(".", dir_fd=self.root, follow_symlinks=False):
            for name in [*names, *(n for n in _ if stat.S_ISLNK(os.lstat(n, dir_fd=handle).st_mode))]:
                path = f"{folder}/{name}".removeprefix("./")
                try:
                    found = os.lstat(name, dir_fd=handle)
                except FileNotFoundError:  # of a log that is being written
                    continue
                if stat.S_ISREG(found.st_mode):
                    self.sizes[path] = found.st_size
                else:
                    self.odd.append(path)

    def close(self) -> None:
        """Let the folder go."""
        os.close(self.root)

    def read(self, path: str, most: int) -> bytes:
        """The bytes of a file; raises Problem."""
        parts = path.split("/")
        if any(part in {"", ".", ".."} or "\0" in part for part in parts):
            raise Problem(f"not a path below the log: {path!r}")
        self.named.add(path)
        handles = [self.root]
        try:
            for part in parts[:-1]:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                handles.append(os.open(part, flags, dir_fd=handles[-1]))
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            handles.append(os.open(parts[-1], flags, dir_fd=handles[-1]))
            if not stat.S_ISREG(os.fstat(handles[-1]).st_mode):
                raise Problem("it is no regular file")
            with os.fdopen(handles.pop(), "rb") as file:
                content = file.read(most + 1)
        except FileNotFoundError:
            raise MissingError("the file is missing") from None
        except OSError as err:
            raise Problem(f"cannot be read: {err.strerror}") from None
        finally:
            for handle in handles[1:]:
                os.close(handle)
        if len(content) > most:
            raise Problem(f"it has more than {most} bytes")
        return content


# --- JSON: canonical (RFC 8785) or nothing -------------------------------------------------------


def dumps(value: object) -> bytes:
    """Canonical JSON of text, whole numbers, lists and objects with ASCII keys: all that the log holds."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def loads(content: bytes) -> Object:
    """A canonical JSON object; Problem. Duplicate keys, other spellings and deep nesting are refused."""
    try:
        value = json.loads(content)
        if not isinstance(value, dict) or dumps(value) != content:
            raise Problem("it is not a canonical JSON object")
    except (ValueError, RecursionError) as err:
        raise Problem(f"it is no JSON: {shown(str(err))}") from None
    return value


def text(of: Object, key: str) -> str:
    """A field that is text; Problem."""
    value = of.get(key)
    if not isinstance(value, str):
        raise Problem(f"`{key}` is not text")
    return value


def number(of: Object, key: str) -> int:
    """A field that is a whole number, or text of one; Problem."""
    value = of.get(key)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Problem(f"`{key}` is not a whole number")
    return value


def child(of: Object, key: str) -> Object:
    """A field that is an object; Problem."""
    value = of.get(key)
    if not isinstance(value, dict):
        raise Problem(f"`{key}` is not an object")
    return value


def children(of: Object, key: str) -> list[Object]:
    """A field that is a list of objects, or missing; Problem."""
    value = of.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Problem(f"`{key}` is not a list of objects")
    return value


# --- the tree: RFC 6962 and 9162, SHA-256 --------------------------------------------------------


def sha256(content: bytes | memoryview) -> bytes:
    """The digest."""
    return hashlib.sha256(content).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree over leaf hashes, and so over each beginning of them."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        """Hash every complete subtree once: `rows[k][i]` is over leaves i*2^k to (i+1)*2^k - 1."""
        self.rows = [list(leaves)]
        while len(self.rows[-1]) > 1:
            row = self.rows[-1]
            self.rows.append([node(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)])

    def root(self, size: int) -> bytes:
        """Root over the first `size` leaves; nothing if there are not so many."""
        if size > len(self.rows[0]):
            return b""
        root, end = b"", size
        for level in range(size.bit_length()):
            if size >> level & 1:
                part = self.rows[level][(end >> level) - 1]
                root, end = node(part, root) if root else part, end - (1 << level)
        return root or sha256(b"")


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes."""
    return Tree(leaves).root(len(leaves))


def root_by_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162, 2.1.3.2); Problem."""
    if not 0 <= index < size:
        raise Problem(f"leaf {index} is not in a tree of {size}")
    at, last, found = index, size - 1, leaf
    for one in path:
        if not last:
            raise Problem("the path is too long")
        if at & 1 or at == last:
            found = node(one, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node(found, one)
        at, last = at >> 1, last >> 1
    if last:
        raise Problem("the path is too short")
    return found


def check_growth(first: int, second: int, roots: tuple[bytes, bytes], path: Sequence[bytes]) -> None:
    """Return if one tree is the beginning of another (RFC 9162, 2.1.4.2); Problem."""
    if not 0 < first <= second:
        raise Problem(f"no tree of {second} leaves has a beginning of {first}")
    hashes = [roots[0], *path] if first == second or not first & (first - 1) else [*path]
    at, last = (first - 1, second - 1) if first < second else (0, 0)
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = hashes[0] if hashes else b""
    for one in hashes[1:]:
        if not last:
            raise Problem("the path is too long")
        new = node(one, new) if at & 1 or at == last else node(new, one)
        if at & 1 or at == last:
            old = node(one, old)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        at, last = at >> 1, last >> 1
    if (old, new) != roots or last:
        raise Problem(f"the first {first} leaves are not the beginning of these {second}")


# --- signed notes and checkpoints: C2SP signed-note, tlog-checkpoint, tlog-cosignature -----------


def unbase64(line: str) -> bytes:
    """Bytes of standard base64 in its only right spelling; Problem."""
    try:
        found = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        raise Problem("not base64") from None
    if base64.b64encode(found).decode() != line:
        raise Problem("base64 in another spelling")
    return found


@dataclass(frozen=True, slots=True)
class Key:
    """A public key: 1 signs notes, 4 cosigns checkpoints as a witness."""

    name: str
    algorithm: int
    public: bytes

    @staticmethod
    def parse(vkey: str) -> Key:
        """Read `name+hash+base64`; Problem."""
        name, _, rest = vkey.strip().partition("+")
        named, _, encoded = rest.partition("+")
        raw = unbase64(encoded)
        key = Key(name, raw[0] if raw else 0, raw[1:])
        if not name or re.search(r"[\s+]", name) or key.algorithm not in {1, 4} or len(key.public) != 32:
            raise Problem("not an Ed25519 key in the form name+hash+base64")
        if key.id.hex() != named:
            raise Problem("the hash in the key is not that of the key")
        return key

    @property
    def id(self) -> bytes:
        """The number that signatures name it by."""
        return sha256(self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public)[:4]

    @property
    def vkey(self) -> str:
        """The key as text."""
        encoded = base64.b64encode(bytes([self.algorithm]) + self.public).decode()
        return f"{self.name}+{self.id.hex()}+{encoded}"

    def verify(self, message: bytes, signature: bytes) -> None:
        """Return if the signature is true; Problem."""
        if self.algorithm == 4 and len(signature) == 72:
            (seconds,) = struct.unpack(">Q", signature[:8])
            message, signature = b"cosignature/v1\ntime %d\n" % seconds + message, signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError):
            raise Problem(f"the signature by {self.name} is false") from None


def open_note(content: bytes, keys: Sequence[Key]) -> tuple[list[str], list[Key]]:
    """The lines of a note, and which keys signed it; Problem if a signature by one of them is false."""
    try:
        whole = content.decode()
    except UnicodeDecodeError:
        raise Problem("the note is not UTF-8") from None
    head, blank, tail = whole.rpartition("\n\n")
    if not blank or not tail.endswith("\n") or re.search("[\x00-\x09\x0b-\x1f]", whole):
        raise Problem("not a signed note")
    signers = []
    for line in tail[:-1].split("\n")[:100]:
        match = re.fullmatch("\u2014 ([^\\s+]+) ([A-Za-z0-9+/=]+)", line)
        raw = unbase64(match[2]) if match else b""
        if match is None or len(raw) < 5:
            raise Problem("a line of the note is no signature")
        for key in keys:
            if (key.name, key.id) == (match[1], raw[:4]):
                key.verify(f"{head}\n".encode(), raw[4:])
                signers.append(key)
    return head.split("\n"), signers


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed head: `signers` are those of the known keys that signed it."""

    origin: str
    size: int
    root: bytes
    signers: list[Key]

    @staticmethod
    def open(content: bytes, keys: Sequence[Key]) -> Checkpoint:
        """Read a checkpoint, signed by known keys or not; Problem."""
        lines, signers = open_note(content, keys)
        if len(lines) < 3 or not all(lines) or not re.fullmatch(r"0|[1-9][0-9]{0,18}", lines[1]):
            raise Problem("the note is no checkpoint")
        root = unbase64(lines[2])
        if len(root) != 32:
            raise Problem("the root of the checkpoint has not 32 bytes")
        return Checkpoint(lines[0], int(lines[1]), root, signers)


# --- records: the canonical form, 160 bytes each -------------------------------------------------

RECORD = struct.Struct("<8q2ih4b16s16s16s16s16s2x")
LEAVES = {  # what there is one leaf of
    "segment": ("segment",),
    "receipt": ("exec_id",),
    "refusal": ("exec_id", "seq"),
    "gap": ("exec_id", "first", "last"),
    "event": ("id",),
    "key": ("new",),
}
REFUSAL = ("call", "reason", "right", "target", "guest_target", "target2", "errno")
TEXTS = ("target", "guest_target", "target2")
WORDS = ("call", "rule_id", "reason", "right", "errnos", "class_uid", "activity_id", "disposition")
NUMBERS = {
    **dict.fromkeys(("seq", "t_ns", "dur_ns", "flags", "bytes_in", "bytes_out", "n", "opener_seq"), "<i8"),
    **dict.fromkeys(("fd", "fd2"), "<i4"),
    "errno": "<i2",
    **dict.fromkeys(("stage", "decision", "target_kind", "masked"), "i1"),
}
DIGESTS = ("words", *TEXTS, "payload")
OWNER = ("exec_id", "tenant_id", "module_id", "policy_id")
COLUMNS = (*OWNER, *NUMBERS, *WORDS, *TEXTS, "t_last_ns", "dur_max_ns", "payload", "payload_sha256")
NO_TIME = -(1 << 63)
MOST = (1 << 63) - 1


@lru_cache(maxsize=1 << 16)
def digest_text(value: str | None) -> bytes:
    """Digest of a text in a record."""
    return bytes(16) if value is None else sha256(value.encode())[:16]


@lru_cache(maxsize=1 << 14)
def digest_words(words: tuple[object, ...], n: int, last: int, longest: int | None) -> bytes:
    """Digest of the words of a record; `last` and `longest` count for rows of several calls."""
    more = [str(last), None if longest is None else str(longest)] if n > 1 else [None, None]
    return sha256(dumps([*words, *more]))[:16]


def several(row: Object) -> tuple[int, int, int | None]:
    """What `digest_words` needs beside the words: of a row of one call, nothing that differs."""
    return (row["n"], row["t_last_ns"], row["dur_max_ns"]) if row["n"] > 1 else (1, 0, None)


def digest_payload(payload: bytes | None, digest: bytes | None) -> bytes:
    """Digest of what was kept of the bytes that a call moved."""
    if payload is None and digest is None:
        return bytes(16)
    return sha256((digest or bytes(32)) + (payload or b""))[:16]


def records_slowly(table: Table) -> bytes:
    """Canonical records of rows, one after the other."""
    made = []
    for row in table.to_pylist():
        row["dur_ns"] = NO_TIME if row["dur_ns"] is None else row["dur_ns"]
        words = digest_words(tuple(row[w] for w in WORDS), *several(row))
        digests = [words, *(digest_text(row[name]) for name in TEXTS)]
        digests.append(digest_payload(row["payload"], row["payload_sha256"]))
        made.append(RECORD.pack(*(row[name] for name in NUMBERS), *digests))
    return b"".join(made)


def coded(table: Table, name: str) -> tuple[Table, list[Table]]:
    """A column as numbers (-1 for null) of distinct values, and those values."""
    column = table.column(name)
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.unify_dictionaries().combine_chunks()
    at = column.indices.fill_null(-1)
    at = at.to_numpy(zero_copy_only=False).astype("<i8") if np else at.to_pylist()
    return at, [*column.dictionary.to_pylist(), None]  # -1 finds the last


def records_fast(table: Table) -> bytes:
    """The same with numpy: each distinct text, and each distinct set of words, is hashed once."""
    kinds = [*NUMBERS.items(), *((name, ("u1", 16)) for name in DIGESTS), ("zero", "V2")]
    made = np.zeros(table.num_rows, [(name, *([k] if isinstance(k, str) else k)) for name, k in kinds])
    for name in NUMBERS:
        column = table.column(name)
        made[name] = (pc.fill_null(column, NO_TIME) if name == "dur_ns" else column).to_numpy()
    for name in TEXTS:
        at, values = coded(table, name)
        digests = b"".join(digest_text(value) for value in values)
        made[name] = np.frombuffer(digests, "u1").reshape(-1, 16)[at]
    parts = [coded(table, name) for name in WORDS]
    mixed, span = np.zeros(table.num_rows, "<i8"), 1
    for at, values in parts:
        if span * len(values) > 1 << 62:
            mixed = np.unique(mixed, return_inverse=True)[1]
            span = len(mixed) + 1
        mixed, span = mixed * len(values) + at + 1, span * len(values)
    _, first, which = np.unique(mixed, return_index=True, return_inverse=True)
    digests = b"".join(digest_words(tuple(v[at[row]] for at, v in parts), 1, 0, None) for row in first)
    made["words"] = np.frombuffer(digests, "u1").reshape(-1, 16)[which]
    several = np.flatnonzero(made["n"] > 1)
    times = table.select(["n", "t_last_ns", "dur_max_ns"]).take(several).to_pylist()
    for row, more in zip(several, times, strict=True):
        digest = digest_words(tuple(v[at[row]] for at, v in parts), *more.values())
        made["words"][row] = np.frombuffer(digest, "u1")
    kept = pc.or_(pc.is_valid(table.column("payload")), pc.is_valid(table.column("payload_sha256")))
    some = np.flatnonzero(kept.to_numpy())
    for row, one in zip(
        some, table.select(["payload", "payload_sha256"]).take(some).to_pylist(), strict=True
    ):
        made["payload"][row] = np.frombuffer(digest_payload(*one.values()), "u1")
    return bytes(made.tobytes())


def records(table: Table) -> bytes:
    """Canonical records of rows; a last time that a file leaves out is the time."""
    whole = pc.coalesce(table.column("t_last_ns"), table.column("t_ns"))
    table = table.set_column(table.column_names.index("t_last_ns"), "t_last_ns", whole)
    return records_fast(table) if np else records_slowly(table)


@dataclass(slots=True)
class Span:
    """The rows of one execution in a file, taken in as they come."""

    exec_id: str
    owner: tuple[str, str, str]  # tenant, module, policy
    leaves: list[bytes] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)  # sequence number of the first row of each chunk
    pending: bytes = b""
    rows: int = 0
    calls: int = 0
    first: int = 0
    last: int = 0  # sequence number of the last row
    last_ns: int = 0
    is_condensed: bool = False  # some row stands for several calls
    holes: list[tuple[int, int]] = field(default_factory=list)
    counts: Counter[tuple[str, int]] = field(default_factory=Counter)  # by call and decision
    moved: list[int] = field(default_factory=lambda: [0, 0])
    refused: list[bytes] = field(default_factory=list)
    wrong: list[tuple[int, str]] = field(default_factory=list)
    back: list[int] = field(default_factory=list)  # sequence numbers of rows with an earlier time

    def add(self, rows: bytes, calls: list[str]) -> None:
        """Take in canonical records that follow, and the names of their calls."""
        for at, values in enumerate(RECORD.iter_unpack(rows)):
            seq, t_ns, n, stage, decision = values[0], values[1], values[6], values[11], values[12]
            if self.rows and seq <= self.last:
                self.wrong.append((seq, f"sequence number {seq} follows {self.last}"))
            elif self.rows and seq > self.last + 1:
                self.holes.append((self.last + 1, seq - 1))
            if t_ns < self.last_ns:
                self.back.append(seq)
            self.first = self.first if self.rows else seq
            self.is_condensed |= n != 1
            self.rows, self.last, self.last_ns, self.calls = self.rows + 1, seq, t_ns, self.calls + n
            kind: tuple[str, int] = (calls[at], decision)
            self.counts[kind] += n
            self.moved = [self.moved[0] + values[4], self.moved[1] + values[5]]
            if decision in REFUSING or stage == TRAP:
                self.refused.append(rows[at * 160 : at * 160 + 160])
        self.hash(rows)

    def add_fast(self, rows: bytes, at: Table, names: list[str]) -> None:
        """The same with numpy, for many rows; `at` numbers the names of the calls."""
        made = np.frombuffer(rows, [*NUMBERS.items(), ("rest", "V82")])
        seq, t_ns, n = made["seq"], made["t_ns"], made["n"]
        steps = np.diff(seq, prepend=self.last if self.rows else seq[0] - 1)
        self.back += seq[np.flatnonzero(t_ns < np.append(self.last_ns, t_ns[:-1]))].tolist()
        odd = np.flatnonzero(steps <= 0)
        self.wrong += [(int(seq[i]), "a sequence number goes back") for i in odd[:MAX_FINDINGS]]
        if (n != 1).any():
            self.is_condensed = True
        else:
            self.holes += [(int(seq[i] - steps[i] + 1), int(seq[i] - 1)) for i in np.flatnonzero(steps > 1)]
        self.first = self.first if self.rows else int(seq[0])
        self.rows, self.last, self.last_ns = self.rows + len(made), int(seq[-1]), int(t_ns[-1])
        self.calls += int(n.sum())
        kinds, which = np.unique(at * 256 + made["decision"], return_inverse=True)
        for kind, count in zip(kinds, np.bincount(which, weights=n), strict=True):
            self.counts[names[kind // 256], int(kind % 256)] += int(count)
        self.moved = [
            self.moved[0] + exact_sum(made["bytes_in"]),
            self.moved[1] + exact_sum(made["bytes_out"]),
        ]
        refused = np.isin(made["decision"], REFUSING) | (made["stage"] == TRAP)
        self.refused += [rows[i * 160 : i * 160 + 160] for i in np.flatnonzero(refused)]
        self.hash(rows)

    def hash(self, rows: bytes = b"", *, is_last: bool = False) -> None:
        """Hash the chunks that are full, and the last one whatever it has."""
        rows = self.pending + rows
        names = ("exec_id", "tenant_id", "module_id", "policy_id")
        context = sha256(dumps(dict(zip(names, (self.exec_id, *self.owner), strict=True))))
        full = len(rows) if is_last else len(rows) - len(rows) % (128 * 160)
        for at in range(0, full, 128 * 160):
            chunk = rows[at : at + 128 * 160]
            self.firsts.append(struct.unpack_from("<q", chunk)[0])
            head = struct.pack("<16sqI", uuid.UUID(self.exec_id).bytes, self.firsts[-1], len(chunk) // 160)
            self.leaves.append(sha256(b"\x00" + head + context + chunk))
        self.pending = rows[full:]


def exact_sum(column: Table) -> int:
    """The sum of 64-bit numbers, of which a cell that was taken over may have written any."""
    return (int((column >> 32).sum()) << 32) + int((column & 0xFFFFFFFF).sum())


def parquet(content: bytes) -> Table:
    """The file, opened."""
    texts = [*OWNER, *WORDS[:5], *TEXTS]
    return pq.ParquetFile(pa.BufferReader(content), read_dictionary=texts)


def spans_of(content: bytes, rows: int) -> list[Span]:
    """The rows of a Parquet file by execution; Problem."""
    found: dict[str, Span] = {}
    last = ""
    file = parquet(content)
    if file.metadata.num_rows != rows:
        raise Problem(f"it has {file.metadata.num_rows} rows instead of {rows}")
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=list(COLUMNS))
        if table.num_rows:
            check_single(table)
            last = take(table, found, last)
    for span in found.values():
        span.hash(is_last=True)
    return list(found.values())


def check_single(table: Table) -> None:
    """Problem where a row of one call has what only rows of several have: the hashes leave that out."""
    same = pc.fill_null(pc.equal(table.column("t_last_ns"), table.column("t_ns")), True)  # noqa: FBT003
    plain = pc.and_(same, pc.is_null(table.column("dur_max_ns")))
    if not pc.all(pc.or_(plain, pc.greater(table.column("n"), 1))).as_py():
        raise Problem("a row of one call has another last time than its time, or a longest duration")


def take(table: Table, found: dict[str, Span], last: str) -> str:
    """Sort rows into spans; gives the execution of the last row."""
    rows = records(table)
    owners = [coded(table, name) for name in OWNER]
    at, names = coded(table, "call")
    if np:
        changed = np.zeros(table.num_rows, bool)
        for column, _ in owners:
            changed |= np.diff(column, prepend=-2) != 0
        starts = [*np.flatnonzero(changed).tolist(), table.num_rows]
    else:
        keys = list(zip(*(column for column, _ in owners), strict=True))
        starts = [i for i in range(len(keys)) if not i or keys[i] != keys[i - 1]] + [len(keys)]
    for start, end in pairwise(starts):
        exec_id, *owner = (values[column[start]] for column, values in owners)
        if not EXEC_ID.match(exec_id or "") or exec_id < last:
            raise Problem("the rows are not in the order of executions")
        span = found.setdefault(exec_id, Span(exec_id, tuple(owner)))
        if span.owner != tuple(owner):
            raise Problem(f"the rows of {exec_id} name more than one tenant, module or policy")
        part, last = rows[start * 160 : end * 160], exec_id
        if np and end - start > 50:
            span.add_fast(part, at[start:end], names)
        else:
            span.add(part, [names[i] for i in at[start:end]])
    return last


def counted(content: bytes) -> tuple[Counter[tuple[str, int]], list[int], list[bool]]:
    """What a roll-up file adds up to: calls by call and decision, and rows, calls, bytes in and out.

    Then whether that is less than there is, for a line has the most that 64 bits hold where it is more.
    """
    names = ["call", "decision", "rows", "n", "bytes_in", "bytes_out"]
    rows = pq.ParquetFile(pa.BufferReader(content)).read(columns=names).to_pylist()
    counts: Counter[tuple[str, int]] = Counter()
    for row in rows:
        counts[row["call"], row["decision"]] += row["n"]
    totals = [sum(row[name] for row in rows) for name in names[2:]]
    return counts, totals, [any(row[name] >= MOST for row in rows) for name in names[2:]]


# --- the log -------------------------------------------------------------------------------------


@dataclass(slots=True)
class Part:
    """What one segment holds of one execution."""

    path: str
    leaf: int
    first: int
    last: int  # sequence number of the last call covered
    calls: int
    gaps: list[tuple[int, int]]
    chunks: int
    leaves: list[bytes] | None = None
    span: Span | None = None
    has_refusals: bool = False  # its refused rows were looked at


@dataclass(slots=True)
class Segment:
    """A segment, its files as far as they could be read, and which of them are as they were logged."""

    path: str
    leaf: int
    manifest: Object
    found: dict[str, bytes] = field(default_factory=dict)
    good: set[str] = field(default_factory=set)
    parts: list[Part] = field(default_factory=list)

    @property
    def where(self) -> Object:
        """The place, for findings."""
        return {"file": self.path, "leaf": self.leaf}


class Audit:
    """One verification: the steps are called in their order by `run`."""

    def __init__(self, files: Files, keys: Sequence[Key], report: Report, *, locate: bool = False) -> None:
        """`keys` are trusted; nothing below `files` is."""
        self.files, self.report, self.locate = files, report, locate
        self.keys = [key for key in keys if key.algorithm == 1]
        self.witnesses = [key for key in keys if key.algorithm == 4]
        self.known: list[Key] = []  # the keys that ever signed this log
        self.checkpoint: Checkpoint | None = None
        self.tree = Tree([])
        self.entries: list[Object | None] = []
        self.pruned: dict[str, int] = {}
        self.segments: dict[str, int] = {}
        self.read: set[str] = set()  # segments of which it is known what they hold
        self.parts: dict[str, list[Part]] = defaultdict(list)
        self.refusals: dict[tuple[str, int], int] = {}
        self.gap_leaves: dict[str, set[tuple[int, int]]] = defaultdict(set)  # of which all is known
        self.back: dict[str, list[int]] = defaultdict(list)  # calls with an earlier time than the one before
        self.incomplete: set[str] = set()  # executions of which segments were pruned, or are wrong

    def run(self, remember: str | None = None) -> None:
        """Every check, and then the memory of the checkpoint if nothing FAILED."""
        try:
            self.check_all(remember)
        except Exception as err:  # noqa: BLE001  # fail closed: what stops the verifier is not verified
            self.report.add("verifier", f"stopped, which is not to be believed a success: {err!r}")

    def check_all(self, remember: str | None) -> None:
        """The checks in their order; what one keeps, later ones ask for."""
        for path in self.files.odd:
            self.report.add("odd-file", "a link, device or pipe has no place in a log", file=path)
        note = self.open_checkpoint()
        self.read_tree()
        if self.keys:
            self.walk_keys(note)
        else:  # with keys of witnesses alone nothing would be compared with anything
            self.report.add("signature", "no key of the log was given", file="tlog/checkpoint")
        self.check_memory(remember)
        self.sort_entries()
        self.each("segment", self.check_segment)
        self.each("receipt", self.check_receipt)
        self.check_refusals_left()
        self.check_times()
        self.check_unfinished()
        self.check_wal()
        self.check_unnamed()
        if pq is None:
            says = "without `pyarrow`, the records in segments were not read"
            self.report.add("rows", says, severity="unchecked")
        if remember and note and self.report.status != 1:
            store(remember, note)

    # --- checkpoint, tree, keys ---

    def open_checkpoint(self) -> bytes | None:
        """The published checkpoint; its signature is checked in `walk_keys`."""
        path = "tlog/checkpoint"
        try:
            note = self.files.read(path, MAX_NOTE)
            self.checkpoint = Checkpoint.open(note, [])
        except Problem as err:
            self.report.add("checkpoint", err, file=path)
            return None
        return note

    def read_tree(self) -> None:
        """Entries and tiles, each against the other, and both against the root that is signed."""
        signed = self.checkpoint.size if self.checkpoint else 0
        head, head_root = self.read_head()
        # A size that the files cannot have is not believed: it would cost memory.
        most = 256 * sum(path.startswith("tlog/tile/entries/") for path in self.files.sizes)
        claimed, size = max(signed, head), min(max(signed, head), most)
        entries = list(self.read_bundles(size))
        hashes = [None if one is None else sha256(b"\x00" + one[0]) for one in entries]
        tiles = list(self.read_level_0(size))
        there = next((i for i, (h, t) in enumerate(zip(hashes, tiles, strict=True)) if not h and not t), size)
        if there < claimed:
            says = f"there are {there} of {claimed} leaves"
            self.report.add("cut", says, file="tlog/tile/entries", leaf=there)
        from_entries, from_tiles = (
            Tree([mine or other or bytes(32) for mine, other in zip(a, b, strict=True)])
            for a, b in ((hashes, tiles), (tiles, hashes))
        )
        root = self.checkpoint.root if self.checkpoint else head_root
        want = signed if self.checkpoint else head
        right = [tree for tree in (from_entries, from_tiles) if tree.root(want) == root]
        if not right and there >= claimed:
            self.report.add("root", f"the {want} leaves have another root than is signed", file="tlog/tile")
        self.tree = right[0] if right else from_entries
        if signed <= head <= there and self.tree.root(head) != head_root:
            self.report.add("head", "the leaves have another root than the head says", file="tlog/head")
        self.keep_entries(entries, hashes)
        self.check_old_bundles(entries)
        self.check_tiles(size)
        self.report.checked["leaves"] = size
        if self.checkpoint and size > signed:
            self.report.add(
                "unsigned", f"{size - signed} leaves are not signed yet", severity="note", leaf=signed
            )

    def read_head(self) -> tuple[int, bytes]:
        """Size and root that the log itself goes by; they are not signed."""
        try:
            content = self.files.read("tlog/head", 1000)
            head = loads(content.removesuffix(b"\n"))
            size, root = number(head, "size"), bytes.fromhex(text(head, "root"))
            if content != dumps({"root": root.hex(), "size": size}) + b"\n":
                raise Problem("it is not as a log writes it")
        except (Problem, ValueError) as err:
            self.report.add("head", err, file="tlog/head")
            return 0, b""
        if self.checkpoint and size < self.checkpoint.size:
            says = f"the log has {size} leaves, {self.checkpoint.size} are signed"
            self.report.add("cut", says, file="tlog/head", leaf=size)
        return size, root

    def tile(self, kind: str, index: int, width: int, most: int) -> tuple[str, bytes]:
        """A tile or bundle of at least `width`, whole or partial, and its path; Problem."""
        path = tile_path(kind, index, 256)
        if path in self.files.sizes or width == 256:
            return path, self.files.read(path, most)
        return tile_path(kind, index, width), self.files.read(tile_path(kind, index, width), most)

    def read_bundles(self, size: int) -> Iterator[tuple[bytes, str, int] | None]:
        """Each entry with its file and the offset in it; None where it cannot be read."""
        for index, width in tiles_of(size):
            given = 0
            try:
                path, content = self.tile("entries", index, width, MAX_BUNDLE)
                at = 0
                while at < len(content):
                    end = at + 2 + int.from_bytes(content[at : at + 2], "big")
                    if end > len(content) or at + 2 > len(content) or given == 256:
                        raise Problem("bytes after the last entry, or an entry that is cut")
                    if given < width:
                        yield content[at + 2 : end], path, at
                    given, at = given + 1, end
                if given < width:
                    raise Problem(f"it has {given} entries instead of {width}")
            except Problem as err:
                path = tile_path("entries", index, width)
                self.report.add("entries", err, file=path, leaf=index * 256 + given)
            for _ in range(given, width):
                yield None

    def read_level_0(self, size: int) -> Iterator[bytes | None]:
        """Each leaf hash as the tiles have it; None where there is none (`check_tiles` tells)."""
        for index, width in tiles_of(size):
            try:
                content = self.tile("0", index, width, 8192)[1]
            except Problem:
                content = b""
            for at in range(width):
                yield content[at * 32 : at * 32 + 32] if len(content) >= at * 32 + 32 else None

    def keep_entries(
        self, entries: Sequence[tuple[bytes, str, int] | None], hashes: Sequence[bytes | None]
    ) -> None:
        """Parse the entries that are what the tree says."""
        for leaf, (entry, digest) in enumerate(zip(entries, hashes, strict=True)):
            self.entries.append(None)
            if entry is None:
                continue
            content, path, offset = entry
            if digest != self.tree.rows[0][leaf]:
                self.report.add("entry", "it is not what was logged", file=path, leaf=leaf, offset=offset)
                continue
            try:
                self.entries[leaf] = loads(content)
            except Problem as err:
                self.report.add("entry", err, file=path, leaf=leaf, offset=offset)

    def check_old_bundles(self, entries: Sequence[tuple[bytes, str, int] | None]) -> None:
        """Partial bundles that the log has outgrown begin as the bundle does that is there now."""
        for path in set(self.files.sizes) - self.files.named:
            match = TILE.fullmatch(path)
            if not match or match[1] != "entries" or not match[3]:
                continue
            start, width = int(re.sub("[x/]", "", match[2])) * 256, int(match[3])
            some = [one[0] for one in entries[start : start + width] if one is not None]
            if width > 255 or len(some) < width:
                continue  # not of this tree: `check_unnamed` tells
            try:
                content = self.files.read(path, MAX_BUNDLE)
                if content != b"".join(struct.pack(">H", len(one)) + one for one in some):
                    raise Problem("it is not the beginning of the bundle that follows it")
            except Problem as err:
                self.report.add("entries", err, file=path, leaf=start)

    def check_tiles(self, size: int) -> None:
        """Every tile, of every level, against the hashes over the leaves; and that those needed are there."""
        for path in [path for path in self.files.sizes if path.startswith("tlog/tile/")]:
            match = TILE.fullmatch(path)
            if not match or match[1] == "entries":
                continue
            index, width = int(re.sub("[x/]", "", match[2])), int(match[3] or 256)
            row = self.tree.rows[int(match[1]) * 8] if int(match[1]) * 8 < len(self.tree.rows) else []
            if width > 256 or index * 256 + width > len(row):
                continue  # not of this tree: `check_unnamed` tells
            try:
                content = self.files.read(path, 8192)
                if len(content) != width * 32:
                    raise Problem(f"it has {len(content)} bytes instead of {width * 32}")
            except Problem as err:
                self.report.add("tile", err, file=path)
                continue
            for at in range(width):
                if content[at * 32 : at * 32 + 32] != row[index * 256 + at]:
                    self.report.add(
                        "tile", f"hash {at} is not that over the leaves", file=path, offset=at * 32
                    )
        self.check_tiles_are_there(size)

    def check_tiles_are_there(self, size: int) -> None:
        """Those that the tree needs are there."""
        for level in range(8):
            for index, width in tiles_of(size >> 8 * level):
                some = {tile_path(str(level), index, w) for w in (256, width)}
                if not some & set(self.files.sizes):
                    self.report.add("tile", "the file is missing", file=tile_path(str(level), index, width))

    def walk_keys(self, note: bytes | None) -> None:
        """From the given key to the one that signs now: each old key signed, last of all, who follows it.

        `tlog/keys/<n>.checkpoint` is the last that key n signed; its last leaf names the next key.
        """
        kept, numbers = self.read_kept()
        for key in self.keys:
            self.known, at = [key], numbers.get(key.vkey)
            while at is not None and at in kept:
                following = self.follow(self.known[-1], at, kept[at])
                if following is None:
                    break
                self.known.append(following)
                at += 1
            if note is not None:
                self.check_signature(note)
        leaves = [
            (at, entry) for at, entry in enumerate(self.entries) if entry and entry.get("type") == "key"
        ]
        for _, entry in reversed(leaves):  # what the key in force has signed tells who signed before
            if entry.get("new") == self.known[0].vkey:
                self.known.insert(0, Key.parse(text(entry, "old")))
        for number_, key in enumerate(self.known):
            self.check_key(number_, key, kept, numbers)
        for vkey in sorted(set(numbers) - {key.vkey for key in self.known}):
            self.report.add("key", "no leaf tells of this key", file=f"tlog/keys/{numbers[vkey]}.vkey")
        for leaf, entry in leaves:
            self.check_key_leaf(leaf, entry)

    def check_key(self, at: int, key: Key, kept: dict[int, bytes], numbers: dict[str, int]) -> None:
        """The files about key number `at` are there, and are true."""
        if numbers.get(key.vkey) != at:
            self.report.add("key", "it is not the key with this number", file=f"tlog/keys/{at}.vkey")
        is_last = key == self.known[-1]
        if is_last == (at in kept):
            says = "the last that an old key signed is missing" if at not in kept else "this key still signs"
            self.report.add("key", says, file=f"tlog/keys/{at}.checkpoint")
        elif at in kept and key not in self.keys:
            self.follow(key, at, kept[at])

    def read_kept(self) -> tuple[dict[int, bytes], dict[str, int]]:
        """The checkpoints that old keys signed last, and the number of each key."""
        kept, numbers = {}, {}
        for path in sorted(self.files.sizes):
            match = re.fullmatch(r"tlog/keys/(0|[1-9]\d{0,5})\.(vkey|checkpoint)", path)
            if not match:
                continue
            try:
                content = self.files.read(path, MAX_NOTE)
                if match[2] == "checkpoint":
                    kept[int(match[1])] = content
                else:
                    key = Key.parse(content.decode("utf-8", "replace"))
                    if content != f"{key.vkey}\n".encode():
                        raise Problem("the key is spelt in another way")
                    numbers[key.vkey] = int(match[1])
            except Problem as err:
                self.report.add("key", err, file=path)
        return kept, numbers

    def follow(self, key: Key, number_: int, content: bytes) -> Key | None:
        """The key that follows, as vouched for by `key`."""
        path = f"tlog/keys/{number_}.checkpoint"
        try:
            old = Checkpoint.open(content, [key])
            if key not in old.signers or old.origin != key.name:
                raise Problem(f"it is not signed by {key.vkey}")
            if not 0 < old.size <= len(self.tree.rows[0]) or self.tree.root(old.size) != old.root:
                raise Problem("the log does not begin with the tree that an old key signed")
            entry = self.entries[old.size - 1] or {}
            if entry.get("type") != "key" or entry.get("old") != key.vkey:
                raise Problem("its last leaf names no key that follows")
            return Key.parse(text(entry, "new"))
        except Problem as err:
            self.report.add("key", err, file=path)
            return None

    def check_signature(self, note: bytes) -> None:
        """The checkpoint is signed by the key that is in force now."""
        path, key = "tlog/checkpoint", self.known[-1]
        try:
            found = Checkpoint.open(note, [*self.known, *self.witnesses])
            retired = [old for old in self.known[:-1] if old in found.signers]
            if key not in found.signers:
                says = (
                    f"only by {retired[0].vkey}, which another key follows" if retired else "not by the key"
                )
                raise Problem(f"it is signed {says}: {key.vkey}")
            if found.origin != key.name:
                raise Problem(f"it is of another log: {found.origin}")
        except Problem as err:
            self.report.add("signature", err, file=path)
        else:
            self.report.checked["signatures"] += len(found.signers)
            for witness in self.witnesses:
                if witness not in found.signers:
                    self.check_witness(witness)

    def check_witness(self, witness: Key) -> None:
        """A witness that signs later than the log has signed a beginning of it, in a file of its own."""
        path = "tlog/checkpoint.witnessed"
        if path not in self.files.sizes:
            says = f"the witness {witness.name} has not signed it"
            self.report.add("signature", says, file="tlog/checkpoint")
            return
        try:
            found = Checkpoint.open(self.files.read(path, MAX_NOTE), [*self.known, witness])
            if witness not in found.signers or not any(key in found.signers for key in self.known):
                raise Problem(f"it is not signed by the log and the witness {witness.name}")
            if found.origin != self.known[-1].name:
                raise Problem(f"it is of another log: {found.origin}")
            if found.size > len(self.tree.rows[0]) or self.tree.root(found.size) != found.root:
                raise Problem("the log does not begin with the tree that the witness signed")
            self.report.checked["leaves that a witness has seen"] = found.size
        except Problem as err:
            self.report.add("signature", err, file=path)

    def check_key_leaf(self, leaf: int, entry: Object) -> None:
        """After a leaf that says who follows a key, that key signs nothing."""
        size = self.checkpoint.size if self.checkpoint else 0
        if entry.get("old") == self.known[-1].vkey and size > leaf + 1:
            says = "a key still signs that another has followed"
            self.report.add("key", says, file="tlog/checkpoint", leaf=leaf)

    def check_memory(self, remember: str | None) -> None:
        """Rollback and fork: the tree that was seen last must be the beginning of this one."""
        if not remember or not os.path.lexists(remember) or not self.checkpoint:
            return
        try:
            seen = Checkpoint.open(Path(remember).read_bytes()[:MAX_NOTE], [])
            if seen.origin != self.checkpoint.origin:
                raise Problem(f"the checkpoint that was remembered is of another log: {seen.origin}")
            if seen.size > self.checkpoint.size:
                raise Problem(f"rolled back: {self.checkpoint.size} leaves, {seen.size} were seen before")
            if self.tree.root(seen.size) != seen.root:
                raise Problem(f"forked: its first {seen.size} leaves are not those that were seen before")
        except Problem as err:
            self.report.add("memory", err, file="tlog/checkpoint")
        except OSError as err:
            self.report.add("memory", f"cannot be read: {err.strerror}", file=remember)
        else:
            self.report.checked["remembered leaves"] = seen.size

    # --- entries ---

    def sort_entries(self) -> None:
        """Note what prunes, gaps and refusals say; and no thing has two leaves."""
        seen: dict[tuple[object, ...], int] = {}
        for leaf, entry in enumerate(self.entries):
            if entry is None:
                continue
            kind = str(entry.get("type"))
            self.report.checked[f"{kind if kind in LEAVES else 'other'} leaves"] += 1
            if kind not in LEAVES or entry.get("v") != 1:
                says = "a kind of leaf that this verifier does not know"
                self.report.add("entry", says, severity="unchecked", leaf=leaf)
            about = [str(entry.get(name)) for name in LEAVES.get(kind, ("at",))]
            if kind == "gap" and None in {entry.get("exec_id"), entry.get("first")}:
                about.append(str(entry.get("at")))  # nothing else tells two such gaps apart
            if (first := seen.setdefault((kind, *about), leaf)) != leaf:
                self.report.add("twice", f"leaf {first} is of the same thing", leaf=leaf)
            self.note_entry(leaf, kind, entry)

    def note_entry(self, leaf: int, kind: str, entry: Object) -> None:
        """Keep what later checks ask for."""
        if kind == "gap":
            start, end, of = entry.get("first"), entry.get("last"), entry.get("exec_id")
            if isinstance(of, str) and isinstance(start, int) and isinstance(end, int):
                self.gap_leaves[of].add((start, end))
            whose = "records" if of else "records of unknown executions"
            says = f"{whose} are missing, on record: {entry.get('reason')}"
            self.report.add("gap", says, severity="note", leaf=leaf, execution=of, seq=start)
        elif kind == "refusal":
            self.refusals[str(entry.get("exec_id")), int(str(entry.get("seq")))] = leaf
        elif kind == "event" and entry.get("event") == "damage":
            says = f"damage, on record: {dumps(entry.get('details')).decode()}"
            self.report.add("damage", says, severity="note", leaf=leaf)
        elif (kind, entry.get("event")) == ("event", "prune") and self.is_signed(leaf):
            # An unsigned leaf would excuse whoever deletes files and writes it: only a signed one counts.
            self.pruned.update(dict.fromkeys(pruned_in(entry), leaf))

    def is_signed(self, leaf: int) -> bool:
        """Say whether the checkpoint is over a leaf."""
        return self.checkpoint is not None and leaf < self.checkpoint.size

    def each(self, kind: str, check: Callable[[int, Object], None]) -> None:
        """Run a check on the leaves of one kind."""
        for leaf, entry in enumerate(self.entries):
            if entry and entry.get("type") == kind:
                try:
                    check(leaf, entry)
                except Problem as err:
                    self.report.add(
                        kind, err, leaf=leaf, execution=str(entry["exec_id"]) if "exec_id" in entry else None
                    )

    # --- segments ---

    def check_segment(self, leaf: int, entry: Object) -> None:
        """A segment: manifest, files, hashes, rows."""
        path = text(entry, "segment")
        stem = path.removesuffix(".parquet")
        name = f"{stem}.manifest.json"
        if not SEGMENT_PATH.match(path) or entry.get("manifest") != name:
            raise Problem(f"no path of a segment: {path!r}")
        self.segments[path] = leaf
        if self.pruned.get(path, -1) > leaf and name not in self.files.sizes:
            self.report.checked["segments pruned on record"] += 1
            says = f"pruned on record, by leaf {self.pruned[path]}"
            self.report.add("pruned", says, severity="note", file=path, leaf=leaf)
            return
        try:
            content = self.files.read(name, MAX_MANIFEST)
            if sha256(content).hex() != entry.get("sha256"):
                raise Problem("it is not the manifest that was logged")
            manifest = loads(content.removesuffix(b"\n"))
            for key in ("segment", "root", "rows", "calls", "tenant"):
                if manifest.get(key) != entry.get(key):
                    raise Problem(f"`{key}` is not that of the leaf")
        except Problem as err:
            self.report.add("manifest", err, file=name, leaf=leaf)
            return
        self.check_files(leaf, path, manifest)
        self.read.add(path)
        self.report.checked["segments"] += 1

    def check_files(self, leaf: int, path: str, manifest: Object) -> None:
        """The files that a manifest names, and what is in them."""
        segment = Segment(path, leaf, manifest)
        for kind, suffix in SUFFIX.items():
            one = child(manifest, "files").get(kind)
            name = path.removesuffix(".parquet") + suffix
            is_pruned = self.pruned.get(path, -1) > leaf and name not in self.files.sizes
            if is_pruned and kind == "records":
                self.report.checked["segments pruned on record"] += 1
                says = f"pruned on record, by leaf {self.pruned[path]}"
                self.report.add("pruned", says, severity="note", **segment.where)
            if is_pruned or (one is None and kind == "refusals"):
                continue
            try:
                self.read_file(segment, kind, name)
            except Problem as err:
                self.report.add("file", err, file=name, leaf=leaf)
        self.read_parts(segment)
        if "chunks" in segment.good:
            self.check_chunks(segment)
        if pq and (
            "records" in segment.good or (self.locate and {"records", "chunks"} <= set(segment.found))
        ):
            self.check_rows(segment)

    def read_file(self, segment: Segment, kind: str, name: str) -> None:
        """One file of a segment, as the manifest says; Problem."""
        one = child(child(segment.manifest, "files"), kind)
        if one.get("name") not in {name, name.rpartition("/")[2]}:
            raise Problem(f"the manifest names it {one.get('name')}")
        size = number(one, "bytes")
        segment.found[kind] = self.files.read(name, max(size, 0))
        if len(segment.found[kind]) < size:
            raise Problem(f"it is cut: {len(segment.found[kind])} of {size} bytes")
        if sha256(segment.found[kind]).hex() != one.get("sha256"):
            raise Problem("it is not the file that was logged")
        segment.good.add(kind)
        self.report.checked["bytes of segments"] += size

    def read_parts(self, segment: Segment) -> None:
        """What the manifest says of each execution; Problem."""
        for one in children(segment.manifest, "executions"):
            exec_id = text(one, "exec_id")
            gaps = [(number(gap, "first"), number(gap, "last")) for gap in children(one, "gaps")]
            first, last, calls = number(one, "first_seq"), number(one, "last_seq"), number(one, "calls")
            part = Part(segment.path, segment.leaf, first, last, calls, gaps, number(one, "chunks"))
            if calls + missing(gaps) != last - first + 1:
                says = "calls and gaps do not fill the sequence numbers"
                self.report.add("sequence", says, execution=exec_id, seq=first, **segment.where)
            self.parts[exec_id].append(part)
            segment.parts.append(part)
        totals = [sum(part.calls for part in segment.parts), sum(part.chunks for part in segment.parts)]
        if totals != [number(segment.manifest, "calls"), number(segment.manifest, "chunks")]:
            raise Problem("the executions of the manifest do not add up to its calls and chunks")

    def check_chunks(self, segment: Segment) -> None:
        """The hashes of the chunks lead to the root of the segment."""
        content = segment.found["chunks"]
        leaves = [content[at : at + 32] for at in range(0, len(content), 32)]
        is_right = len(content) == number(segment.manifest, "chunks") * 32
        if not is_right or root_of(leaves).hex() != segment.manifest.get("root"):
            self.report.add("chunks", "they have another root than the segment", **segment.where)
            return
        at = 0
        for part in segment.parts:
            part.leaves, at = leaves[at : at + part.chunks], at + part.chunks

    def check_rows(self, segment: Segment) -> None:
        """The rows hash to those chunks, and are what manifest, sidecar and roll-up say."""
        said = children(segment.manifest, "executions")
        try:
            spans = spans_of(segment.found["records"], number(segment.manifest, "rows"))
            if [span.exec_id for span in spans] != [text(one, "exec_id") for one in said]:
                raise Problem("it has rows of other executions than its manifest says")
        except Problem as err:
            self.report.add("rows", err, **segment.where)
            return
        except Exception as err:  # noqa: BLE001  # whatever a library says of a file: it does not verify
            self.report.add("rows", f"cannot be read: {err!r}", **segment.where)
            return
        for span, part, one in zip(spans, segment.parts, said, strict=True):
            self.check_span(segment, span, part, one)
            part.span = span if "records" in segment.good else None
        if root_of([leaf for span in spans for leaf in span.leaves]).hex() != segment.manifest.get("root"):
            self.report.add("rows", "they have another root than the segment", **segment.where)
        if "records" in segment.good:
            self.report.checked["rows"] += sum(span.rows for span in spans)
            self.check_refused(segment, spans)
            self.check_rollup(segment, spans)

    def check_span(self, segment: Segment, span: Span, part: Part, one: Object) -> None:
        """The rows of one execution in one segment."""
        where: Object = segment.where | {"execution": span.exec_id}
        for at, (mine, logged) in enumerate(zip(span.leaves, part.leaves or [], strict=False)):
            if mine != logged:
                last = span.firsts[at + 1] - 1 if at + 1 < len(span.firsts) else span.last
                says = f"calls {span.firsts[at]} to {last} are not those that were logged"
                self.report.add("chunk", says, seq=span.firsts[at], **where)
        for seq, wrong in span.wrong:
            self.report.add("order", wrong, seq=seq, **where)
        if span.back:
            self.back[span.exec_id] += span.back
        says_ = (number(one, "rows"), part.calls, part.chunks, part.first, segment.manifest.get("tenant"))
        if says_ != (span.rows, span.calls, len(span.leaves), span.first, span.owner[0]):
            says = "rows, calls, chunks, first number or tenant are not as the manifest says"
            self.report.add("rows", says, **where)
        if not span.is_condensed and (span.holes != part.gaps or span.last != part.last):
            hole = next(iter({*span.holes} ^ {*part.gaps}), (span.last, 0))
            says = "records are missing, and the manifest does not say so"
            self.report.add("sequence", says, seq=hole[0], **where)
        for name, value in zip(("modules", "policies"), span.owner[1:], strict=True):
            if value not in (segment.manifest.get(name) or []):
                self.report.add("rows", f"the manifest does not name them under `{name}`", **where)

    def check_refused(self, segment: Segment, spans: list[Span]) -> None:
        """The refusals beside the segment, and their leaves, say what the rows say."""
        try:
            refused = [(span.exec_id, one) for span in spans for one in span.refused]
            if len(refused) != number(segment.manifest, "refusals"):
                raise Problem(f"{len(refused)} rows are refusals, the manifest says otherwise")
            if refused and "refusals" in segment.good:
                table = parquet(segment.found["refusals"]).read()
                rows, ids = records(table), table.column("exec_id").to_pylist()
                if [(name, rows[at * 160 : at * 160 + 160]) for at, name in enumerate(ids)] != refused:
                    raise Problem("the rows are not the refusals of the segment")
                self.check_refusals(segment, table)
            elif refused and child(segment.manifest, "files").get("refusals") is None:
                raise Problem("there are refusals, and no file of them")
            for part in segment.parts:
                part.has_refusals = not refused or "refusals" in segment.good
        except Exception as err:  # noqa: BLE001  # whatever a library says of a file: it does not verify
            self.report.add("refusals", err, **segment.where)

    def check_rollup(self, segment: Segment, spans: list[Span]) -> None:
        """The roll-up adds up to the rows."""
        counts: Counter[tuple[str, int]] = Counter()
        totals = [0, 0, 0, 0]
        for span in spans:
            counts.update(span.counts)
            totals = [a + b for a, b in zip(totals, (span.rows, span.calls, *span.moved), strict=True)]
        try:
            if "rollup" not in segment.good:
                return
            said, sums, is_cut = counted(segment.found["rollup"])
            is_right = (a == b or (cut and a < b) for a, b, cut in zip(sums, totals, is_cut, strict=True))
            if said != counts or not all(is_right):
                raise Problem("the roll-up does not add up to the rows of the segment")
        except Exception as err:  # noqa: BLE001  # whatever a library says of a file: it does not verify
            self.report.add("rollup", err, **segment.where)

    def check_refusals(self, segment: Segment, table: Table) -> None:
        """Each of the first 100 refusals of an execution in a segment has its own leaf, and it is true."""
        given: Counter[str] = Counter()
        names = {"tenant": "tenant_id", "module": "module_id", "policy": "policy_id", "rule": "rule_id"}
        names |= {key: key for key in REFUSAL}
        for row in table.to_pylist():
            exec_id, seq = row["exec_id"], row["seq"]
            given[exec_id] += row["decision"] in REFUSING
            if row["decision"] not in REFUSING or given[exec_id] > 100:
                continue
            at = self.refusals.pop((exec_id, seq), None)
            if at is None:
                self.report.add("refusal", "it has no leaf", execution=exec_id, seq=seq, **segment.where)
                continue
            entry = self.entries[at] or {}
            wrong = [key for key, column in names.items() if not is_like(entry.get(key), row[column])]
            wrong += ["decision"] if entry.get("decision") != DECISIONS.get(row["decision"]) else []
            wrong += ["at"] if time_ns(entry.get("at")) != row["t_ns"] else []
            if wrong:
                says = f"its leaf says other things: {', '.join(wrong)}"
                self.report.add("refusal", says, leaf=at, execution=exec_id, seq=seq)
            self.report.checked["refusals that have their leaf"] += 1

    def check_refusals_left(self) -> None:
        """A leaf of a refusal is about a row, unless the rows in its place cannot be looked at."""
        is_all_here = not self.pruned and len(self.segments) == self.report.checked["segments"]
        for (exec_id, seq), leaf in self.refusals.items():
            parts = [part for part in self.parts.get(exec_id, []) if part.first <= seq <= part.last]
            if all(part.has_refusals for part in parts) if parts else is_all_here:
                self.report.add("refusal", "no row is like it", leaf=leaf, execution=exec_id, seq=seq)

    # --- executions ---

    def check_receipt(self, leaf: int, entry: Object) -> None:
        """A receipt: its file, the chunks of its execution, and that the rows add up to its counters."""
        exec_id = text(entry, "exec_id")
        if not EXEC_ID.match(exec_id):
            raise Problem("no id of an execution")
        path = f"exec/{exec_id}.receipt.json"
        parts = sorted(self.parts.get(exec_id, []), key=lambda part: part.first)
        self.check_tree(leaf, entry, parts)
        self.report.checked["executions"] += 1
        if path not in self.files.sizes and self.pruned.get(path, -1) > leaf:
            says = f"pruned on record, by leaf {self.pruned[path]}"
            self.report.add("pruned", says, severity="note", file=path, leaf=leaf)
            return
        try:
            content = self.files.read(path, MAX_RECEIPT)
            if sha256(content).hex() != entry.get("sha256"):
                raise Problem("it is not the receipt that was logged")
            receipt = loads(content.removesuffix(b"\n"))
            if (receipt.get("execution_id"), receipt.get("tenant")) != (exec_id, entry.get("tenant")):
                raise Problem("it is of another execution or tenant than its leaf")
            self.check_note(exec_id, sha256(content).hex(), leaf)
            self.check_counters(leaf, entry, receipt, parts)
        except Problem as err:
            self.report.add("receipt", err, file=path, leaf=leaf, execution=exec_id)

    def check_tree(self, leaf: int, entry: Object, parts: list[Part]) -> None:
        """The chunks of all segments lead to the root of the execution; they were logged before it."""
        exec_id = str(entry.get("exec_id"))
        names, listed = [part.path for part in parts], entry.get("segments")
        gone = [str(name) for name in (listed if isinstance(listed, list) else []) if name not in names]
        if gone:
            self.incomplete.add(exec_id)
            for name in gone:
                if name not in self.segments:
                    raise Problem(f"a segment that it names has no leaf: {name}")
                if name in self.read:  # else it was pruned on record, or is wrong, which is told
                    raise Problem(f"a segment that it names has nothing of it: {name}")
            return
        if listed is not None and names != listed:
            raise Problem("it names other segments, or in another order, than those that hold its rows")
        late = [part.path for part in parts if part.leaf > leaf]
        if late:
            raise Problem(f"a segment was logged after the receipt: {late[0]}")
        known = [part.leaves if part.leaves is not None else part.span and part.span.leaves for part in parts]
        leaves = [one for some in known for one in some or []]
        if None not in known:
            if len(leaves) != number(entry, "chunks") or root_of(leaves).hex() != entry.get("root"):
                if listed is None and self.pruned:  # there were too many segments to name them in the leaf
                    self.incomplete.add(exec_id)
                    return
                raise Problem("the chunks have another root than the execution")
            self.report.checked["execution trees"] += 1

    def check_note(self, exec_id: str, digest: str, leaf: int) -> None:
        """The receipt's own signed note, where there is one."""
        path = f"exec/{exec_id}.receipt.note"
        if path not in self.files.sizes:
            if leaf < (self.checkpoint.size if self.checkpoint else 0):
                says = "the receipt has no signed note of its own, perhaps not yet"
                self.report.add("no-note", says, severity="note", file=path, leaf=leaf, execution=exec_id)
            return
        try:
            lines, signers = open_note(self.files.read(path, MAX_NOTE), [*self.known, *self.keys])
            if not signers or lines != ["wasmgate.receipt/v1", exec_id, digest]:
                raise Problem("the note is not signed by the log, or is of another receipt")
            self.report.checked["receipt notes"] += 1
        except Problem as err:
            self.report.add("note", err, file=path, leaf=leaf, execution=exec_id)

    def check_counters(self, leaf: int, entry: Object, receipt: Object, parts: list[Part]) -> None:
        """Completeness: no number is missing, and the rows add up to what the monitor counted."""
        exec_id = str(entry["exec_id"])
        where: Object = {"file": f"exec/{exec_id}.receipt.json", "leaf": leaf, "execution": exec_id}
        calls = child(receipt, "calls")
        says = {
            (call, word): number(child(calls, call), word) for call in calls for word in child(calls, call)
        }
        refused = sum(count for (_, word), count in says.items() if word in {DECISIONS[d] for d in REFUSING})
        total = number(receipt, "records")
        if (total, refused) != (entry.get("records"), entry.get("refusals")):
            raise Problem("records or refusals are not as the leaf says")
        if entry.get("outcome") not in {child(receipt, "outcome").get("kind"), None}:
            raise Problem("the outcome is not as the leaf says")
        if sum(says.values()) != total:
            self.report.add("counters", f"the calls add up to {sum(says.values())}, not to {total}", **where)
        gaps = [(number(gap, "first"), number(gap, "last")) for gap in children(receipt, "gaps")]
        if exec_id not in self.incomplete:
            self.check_sequence(parts, gaps, where)
            if all(part.span for part in parts):
                self.check_totals(parts, says, missing(gaps), where)

    def check_sequence(self, parts: list[Part], gaps: list[tuple[int, int]], where: Object) -> None:
        """Sequence numbers run from 0 on without a gap, but for those that are on record."""
        holes = {*gaps, *(gap for part in parts for gap in part.gaps)}
        begin = 0
        for part in parts:
            if part.first < begin:
                self.report.add("sequence", f"two segments have call {part.first}", seq=part.first, **where)
            elif part.first > begin:
                holes.add((begin, part.first - 1))
            begin = part.last + 1
        for first, last in sorted(holes):
            if (first, last) not in gaps or not self.has_gap_leaf(str(where["execution"]), first, last):
                says = f"calls {first} to {last} are missing, not on record"
                self.report.add("sequence", says, seq=first, **where)

    def check_totals(
        self, parts: list[Part], says: dict[tuple[str, str], int], gone: int, where: Object
    ) -> None:
        """Rows = counters, by call and by decision; `gone` calls are missing on record."""
        rows: Counter[tuple[str, str]] = Counter()
        for part in parts:
            for (call, decision), count in (part.span.counts if part.span else Counter()).items():
                rows[call.partition(".")[2], DECISIONS.get(decision, str(decision))] += count
        found, total = sum(rows.values()), sum(says.values())
        if total not in {found, found + gone}:
            self.report.add("counters", f"{found} calls are in the rows, {total} were counted", **where)
        for call, word in sorted({*rows, *says}):
            have, counted_ = rows[call, word], says.get((call, word), 0)
            # Of what a gap swallowed, nobody knows what it was: fewer rows than were counted, never more.
            if have > counted_ or (have < counted_ and found == total):
                self.report.add("counters", f"{call} {word}: {have} in the rows, {counted_} counted", **where)
        self.report.checked["receipts that add up"] += 1

    def has_gap_leaf(self, exec_id: str, start: int, end: int) -> bool:
        """Say whether leaves that say of which execution, from where and how far, tell of all these."""
        for first, last in sorted(self.gap_leaves[exec_id]):
            if first <= start <= last:
                start = last + 1
        return start > end

    def check_times(self) -> None:
        """The times in a chunk that is as it was logged are those that the guest's cell wrote."""
        for exec_id, back in self.back.items():
            says = f"times go backwards at {len(back)} calls: the clock of this cell is not to be trusted"
            self.report.add("time", says, severity="note", execution=exec_id, seq=min(back))

    def check_unfinished(self) -> None:
        """Executions that have rows and no receipt: they run still, or how they ended is not on record."""
        entries = [one for one in self.entries if one]
        trusted = ("segment", "receipt", "event")  # no time in these is the word of a guest
        times = [time_ns(one.get("at")) or 0 for one in entries if one.get("type") in trusted]
        over = {one.get("exec_id") for one in entries if one.get("type") == "receipt"}
        newest = dict(sorted(map(file_of, self.segments)))
        found: dict[str, list[str]] = defaultdict(list)
        for exec_id in self.parts.keys() - over:
            last = self.parts[exec_id][-1]
            writer, place = file_of(last.path)
            age_ns = max(times) - (time_ns((self.entries[last.leaf] or {}).get("at")) or 0)
            is_late = newest[writer] > place or age_ns > OVERDUE_NS
            found["no-receipt" if is_late else "running"].append(exec_id)
        says = {"running": "they may run still", "no-receipt": "later rows of their writers, or a day, came"}
        for what, ids in sorted(found.items()):
            message = f"no receipt yet: {len(ids)} executions, and {says[what]}"
            self.report.add(what, message, severity="note", execution=min(ids))

    # --- what is not sealed, and what nobody names ---

    def check_wal(self) -> None:
        """Frames that are not sealed yet: their chain and, with `blake3`, their checksums."""
        paths = [path for path in self.files.sizes if re.fullmatch(r"wal/[^/.][^/]*\.wal", path)]
        for path in paths:
            try:
                content = self.files.read(path, 1 << 31)
            except MissingError:  # it was there when the folder was looked through: a log in use
                says = "it was sealed while the log was read; what it held is checked the next time"
                self.report.add("wal", says, severity="note", file=path)
                continue
            except Problem as err:
                self.report.add("wal", err, file=path)
                continue
            at, wrong = read_frames(content)
            self.report.checked["unsealed bytes"] += at
            if wrong:
                severity = "note" if wrong.startswith("torn") else "error"
                self.report.add("wal", wrong, severity=severity, file=path, offset=at)
        if paths and b3 is None:
            self.report.add(
                "wal", "without `blake3`, checksums of unsealed files were not checked", severity="unchecked"
            )

    def check_unnamed(self) -> None:
        """Files that no leaf names: in the places of evidence they are wrong, elsewhere worth a note."""
        ours = re.compile(
            r"catalog\.sqlite(-wal|-shm)?|(catalog|load|retention|seal)\.lock|wal/.*|tlog/head|(.*/)?\.[^/]*"
            r"|tlog/tile/.*|tlog/keys/[0-9]+\.(vkey|checkpoint)|tlog/(checkpoint\.witnessed|timestamps/.*)"
        )
        fresh = {path[4:].rpartition(".")[0] for path in self.files.sizes if path.startswith("wal/")}
        for path in sorted(set(self.files.sizes) - self.files.named):
            if path.startswith("tlog/tile/"):
                self.report.add("unnamed", "a tile that is not part of the tree", severity="note", file=path)
            elif not ours.fullmatch(path):
                is_evidence = path.startswith(("seg/", "exec/"))
                is_new = bool(fresh) and (
                    path.startswith("exec/") or path.rpartition("/")[2].split(".")[0] in fresh
                )
                severity = "error" if is_evidence and not is_new else "note"
                self.report.add("unnamed", "no leaf names this file", severity=severity, file=path)


def is_like(said: object, value: object) -> bool:
    """Say whether a leaf's field is a value, or its digest where a text is too long for a leaf."""
    if (
        isinstance(value, str)
        and len(value.encode()) > 2000
        and said == f"sha256:{sha256(value.encode()).hex()}"
    ):
        return True
    return said == value


def missing(gaps: Sequence[tuple[int, int]]) -> int:
    """How many sequence numbers gaps leave out."""
    return sum(last - first + 1 for first, last in gaps)


def file_of(segment: str) -> tuple[str, tuple[int, str]]:
    """The writer of the log file that a segment was made of, and the place of that file among its files."""
    writer, _, number_ = segment.rpartition("/")[2].removesuffix(".parquet").rpartition("-")
    return writer, (len(number_), number_)


def tiles_of(size: int) -> Iterator[tuple[int, int]]:
    """Number and width of each tile of a row of `size` hashes."""
    for index in range(-(-size // 256)):
        yield index, min(256, size - index * 256)


def tile_path(kind: str, index: int, width: int) -> str:
    """Path of a tile."""
    parts = [f"{index % 1000:03d}"]
    while index := index // 1000:
        parts.append(f"x{index % 1000:03d}")
    return f"tlog/tile/{kind}/{'/'.join(reversed(parts))}" + ("" if width == 256 else f".p/{width}")


def pruned_in(entry: Object) -> Iterator[str]:
    """The paths of segments and receipts that a `prune` event says it removed."""
    details = entry.get("details")
    for key in ("segment", "segments", "receipt", "receipts"):
        named = details.get(key) if isinstance(details, dict) else None
        for one in named.split("\n") if isinstance(named, str) else []:
            yield f"exec/{one}.receipt.json" if EXEC_ID.match(one) else one


def time_ns(value: object) -> int | None:
    """Nanoseconds since 1970 of a time in a leaf; None if it is none."""
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z", value if isinstance(value, str) else ""
    )
    try:
        moment = datetime.fromisoformat(f"{match[1]}+00:00") if match else None
    except ValueError:
        return None
    if moment is None or match is None:
        return None
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + int(match[2])


FRAME = struct.Struct("<4sHHQIIQII16s16s16s")


def read_frames(content: bytes) -> tuple[int, str]:
    """How many bytes are good frames, and what is wrong after them."""
    at, count, before = 0, 0, bytes(16)
    while at < len(content):
        if len(content) - at < FRAME.size or not any(content[at : at + FRAME.size]):
            return at, "torn: the last frame is not all there"
        magic, _, kind, number_, length, _, _, _, arena, _, chain, checksum = FRAME.unpack_from(content, at)
        if (magic, number_, chain) != (b"WGWL", count, before) or not 1 <= kind <= 6 or arena > length:
            return at, "not a frame that follows the one before it"
        end = at + FRAME.size + length
        if end > len(content):
            return at, "torn: the last frame is not all there"
        if b3 is not None:
            parts = content[at : at + FRAME.size - 16] + content[at + FRAME.size : end]
            if b3.blake3(parts).digest(length=16) != checksum:
                return at, "the checksum of a frame is wrong"
        at, count, before = end, count + 1, checksum
    return at, ""


# --- proofs: files that need nothing beside them but the key ---------------------------------------


def check_proof(content: bytes, keys: Sequence[Key]) -> Object:
    """What a proof file proves, of a leaf, of one record or of growth; Problem."""
    if content.startswith(b"{"):
        proof = loads(content.removesuffix(b"\n"))
        is_growth = proof.get("schema") == "wasmgate.consistency.v1"
        return (check_growth_proof if is_growth else check_record_proof)(proof, keys)
    index, size, entry = check_leaf_proof(content, keys)
    return {"index": index, "size": size, "entry": loads(entry)}


def check_leaf_proof(content: bytes, keys: Sequence[Key]) -> tuple[int, int, bytes]:
    """Index, size and entry that a C2SP tlog-proof with its entry as `extra` proves; Problem."""
    head, blank, note = content.partition(b"\n\n")
    lines = head.decode("utf-8", "replace").split("\n")
    if (
        not blank
        or lines.pop(0) != "c2sp.org/tlog-proof@v1"
        or not lines
        or not lines[0].startswith("extra ")
    ):
        raise Problem("not a tlog-proof with the entry in its `extra` line")
    entry = unbase64(lines.pop(0).removeprefix("extra "))
    match = re.fullmatch(r"index (0|[1-9][0-9]{0,18})", lines.pop(0) if lines else "")
    if not match or len(lines) > 63:
        raise Problem("not a tlog-proof")
    found = signed_head(note, keys)
    path = [unbase64(line) for line in lines]
    if root_by_path(sha256(b"\x00" + entry), int(match[1]), found.size, path) != found.root:
        raise Problem("the path leads to another root than is signed")
    return int(match[1]), found.size, entry


def signed_head(note: bytes, keys: Sequence[Key]) -> Checkpoint:
    """The checkpoint in a proof, signed by the key and by all witnesses; Problem."""
    found = Checkpoint.open(note, keys)
    log = [key for key in found.signers if key.algorithm == 1]
    if not log or found.origin != log[0].name:
        raise Problem("the checkpoint in the proof is not signed by the key")
    if any(key not in found.signers for key in keys if key.algorithm == 4):
        raise Problem("a witness has not signed the checkpoint in the proof")
    return found


def check_growth_proof(proof: Object, keys: Sequence[Key]) -> Object:
    """What a proof of growth proves: first tree -> second tree -> the tree of a checkpoint; Problem."""
    if "checkpoint" not in proof:
        raise Problem("no checkpoint is in the proof, so that nothing in it is signed")
    head = signed_head(text(proof, "checkpoint").encode(), keys)
    trees = [
        (number(one, "size"), unbase64(text(one, "root")))
        for one in (child(proof, "first"), child(proof, "second"))
    ]
    trees.append((head.size, head.root))
    for (small, large), key in zip(pairwise(trees), ("path", "checkpoint_path"), strict=True):
        path = [unbase64(str(one)) for one in proof.get(key, [])]
        check_growth(small[0], large[0], (small[1], large[1]), path)
    return {"first": proof["first"], "second": proof["second"], "signed": head.size}


def check_record_proof(proof: Object, keys: Sequence[Key]) -> Object:
    """What a record proof proves: record -> chunk -> execution -> receipt's leaf -> checkpoint; Problem."""
    if proof.get("schema") != "wasmgate.record-proof.v1":
        raise Problem("not a record proof that this verifier knows")
    rows, at, exec_id = unbase64(text(proof, "records")), number(proof, "position"), text(proof, "exec_id")
    if not EXEC_ID.match(exec_id) or len(rows) % 160 or not 0 <= at < len(rows) // 160 <= 128:
        raise Problem("the chunk has not 1 to 128 records, or not this one")
    row = child(proof, "row")
    if record_of(row) != rows[at * 160 : at * 160 + 160]:
        raise Problem("the row is not the record that is proved")
    if row.get("exec_id") != exec_id or number(row, "seq") != number(proof, "seq"):
        raise Problem("the row is of another call than the proof")
    owner = (text(proof, "tenant_id"), text(proof, "module_id"), text(proof, "policy_id"))
    if owner != tuple(row.get(name) for name in OWNER[1:]):
        raise Problem("the row names another tenant, module or policy than the proof")
    span = Span(exec_id, owner)
    span.hash(rows, is_last=True)
    index, size, entry = check_leaf_proof(text(proof, "receipt_proof").encode(), keys)
    leaf = loads(entry)
    of = (leaf.get("type"), leaf.get("exec_id"), leaf.get("chunks"))
    if of != ("receipt", exec_id, proof.get("chunks")):
        raise Problem("the leaf is not that of the execution's receipt")
    path = [unbase64(str(line)) for line in proof.get("path", [])]
    root = root_by_path(span.leaves[0], number(proof, "chunk"), number(proof, "chunks"), path)
    if span.firsts[0] != number(proof, "first_seq") or root.hex() != leaf.get("root"):
        raise Problem("the chunk is not in the execution")
    return {"index": index, "size": size, "entry": leaf, "row": row}


def record_of(row: Object) -> bytes:
    """The canonical record of a row in JSON, where 64-bit numbers are text and bytes base64; Problem."""
    if set(row) != set(COLUMNS):
        raise Problem("the row has other columns than a record")
    raw = {
        name: None if row[name] is None else number(row, name)
        for name in (*NUMBERS, "dur_max_ns", "t_last_ns")
    }
    if (raw["n"] or 0) <= 1 and (raw["t_last_ns"] != raw["t_ns"] or raw["dur_max_ns"] is not None):
        raise Problem("a row of one call has what only rows of several have")
    raw["dur_ns"] = NO_TIME if raw["dur_ns"] is None else raw["dur_ns"]
    words = tuple(row[word] for word in WORDS)
    kept = [
        None if row[name] is None else unbase64(text(row, name)) for name in ("payload", "payload_sha256")
    ]
    digests = [digest_words(words, raw["n"] or 0, raw["t_last_ns"] or 0, raw["dur_max_ns"])]
    digests += [*(digest_text(row[name]) for name in TEXTS), digest_payload(*kept)]
    return RECORD.pack(*(raw[name] for name in NUMBERS), *digests)


# --- the command ---------------------------------------------------------------------------------


def store(path: str, content: bytes) -> None:
    """Put a file in its place, whole."""
    part = f"{path}.{os.getpid()}.part"
    Path(part).write_bytes(content)
    Path(part).replace(path)


def key_of(argument: str) -> Key:
    """A key, given as text or as the name of a file that holds it; Problem."""
    try:
        return Key.parse(argument if argument.count("+") >= 2 else Path(argument).read_text("utf-8")[:4096])
    except (OSError, UnicodeDecodeError) as err:
        raise Problem(f"cannot read a key from {argument}: {err}") from None


def keys_of(logs: Sequence[str], witnesses: Sequence[str]) -> list[Key]:
    """Keys of the log and of witnesses; Problem, also where one is given as the other."""
    found = []
    for what, algorithm, arguments in (("the log", 1, logs), ("a witness", 4, witnesses)):
        for key in map(key_of, arguments):
            if key.algorithm != algorithm:
                other = "a witness" if algorithm == 1 else "a log"
                raise Problem(f"expected a key of {what}: {key.name} is a key of {other}")
            found.append(key)
    return found


def verify(
    folder: str | None,
    keys: Sequence[Key],
    *,
    remember: str | None = None,
    proofs: Sequence[str] = (),
    locate: bool = False,
) -> tuple[Report, list[Object]]:
    """Check a log, and proof files; gives what was found, and what the proofs prove. Raises OSError."""
    report, proved = Report(), []
    for path in proofs:
        try:
            proved.append(check_proof(Path(path).read_bytes()[: 4 * MIB], keys))
            report.checked["proofs"] += 1
        except (Problem, struct.error, ValueError, AttributeError, TypeError) as err:
            report.add("proof", err, file=path)
    if folder is not None:
        files = Files(folder)
        try:
            Audit(files, keys, report, locate=locate).run(remember)
        finally:
            files.close()
    return report, proved


def lines(report: Report, proved: Sequence[Object]) -> list[str]:
    """A report as people read it; the last line is the result."""
    return [
        *(shown(dumps(one).decode(), 10_000) for one in proved),
        *(one.line() for one in report.findings),
        *(f"{count:>12} {name}" for name, count in sorted(report.checked.items())),
        report.result,
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; gives the exit status."""
    parser = argparse.ArgumentParser(
        description="Verify a wasmgate audit log from its files and a public key."
    )
    parser.add_argument(
        "folder", metavar="LOGDIR", nargs="?", help="folder of the log; not needed for proofs"
    )
    parser.add_argument("--key", action="append", required=True, metavar="VKEY|FILE", help="key of the log")
    parser.add_argument(
        "--witness", action="append", default=[], metavar="VKEY|FILE", help="must have signed too"
    )
    parser.add_argument(
        "--remember", metavar="FILE", help="the checkpoint seen last; is written when all is well"
    )
    parser.add_argument(
        "--proof", action="append", default=[], metavar="FILE", help="a proof of a leaf, a record or growth"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--locate", action="store_true", help="parse altered Parquet files, to say what differs"
    )
    given = parser.parse_args(arguments)
    if given.folder is None and not given.proof:
        parser.error("name the folder of a log, or a proof")
    try:
        keys = keys_of(given.key, given.witness)
        kinds = (given.remember, given.proof, given.locate)
        report, proved = verify(given.folder, keys, remember=kinds[0], proofs=kinds[1], locate=kinds[2])
    except (Problem, OSError) as err:
        parser.error(shown(str(err), 300))
    if given.json:
        sys.stdout.write(json.dumps(report.as_json() | {"proved": proved}, indent=1) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines(report, proved)))
    return report.status


if __name__ == "__main__":
    sys.exit(main())
