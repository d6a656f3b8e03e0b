"""A naive Merkle tree to compare with, and logs and keys for tests.

The oracle is RFC 6962 written down as its formulas, and shares no code with `audit.tlog`. INVARIANT: the
same arguments give the same bytes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from audit.tlog.checkpoint import Checkpoint
from audit.tlog.key_files import KeyFolder
from audit.tlog.keys import SigningKey
from audit.tlog.log import TransparencyLog
from audit.tlog.signer import sign_head
from audit.tlog.vkey import NamedKey

ORIGIN = "example.com/audit"
AT_NS = 1_795_000_000_000_000_000


def oracle_leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def oracle_root(entries: list[bytes]) -> bytes:
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return oracle_leaf(entries[0])
    k = _left(len(entries))
    return hashlib.sha256(b"\x01" + oracle_root(entries[:k]) + oracle_root(entries[k:])).digest()


def oracle_path(m: int, entries: list[bytes]) -> list[bytes]:
    """PATH(m, D[n]) of RFC 6962, 2.1.1."""
    if len(entries) == 1:
        return []
    k = _left(len(entries))
    if m < k:
        return [*oracle_path(m, entries[:k]), oracle_root(entries[k:])]
    return [*oracle_path(m - k, entries[k:]), oracle_root(entries[:k])]


def oracle_proof(m: int, entries: list[bytes]) -> list[bytes]:
    """PROOF(m, D[n]) of RFC 6962, 2.1.2."""
    return _subproof(m, entries, is_known=True)


def _subproof(m: int, entries: list[bytes], *, is_known: bool) -> list[bytes]:
    if m == len(entries):
        return [] if is_known else [oracle_root(entries)]
    k = _left(len(entries))
    if m <= k:
        return [*_subproof(m, entries[:k], is_known=is_known), oracle_root(entries[k:])]
    return [*_subproof(m - k, entries[k:], is_known=False), oracle_root(entries[:k])]


def _left(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def entries_of(count: int, *, first: int = 0) -> list[bytes]:
    return [b"entry %d" % number for number in range(first, first + count)]


def named_key(number: int = 1, name: str = ORIGIN) -> NamedKey:
    return NamedKey(name, SigningKey.from_seed(bytes([number]) * 32))


def new_log(folder: Path, count: int = 0) -> TransparencyLog:
    log = TransparencyLog(folder / "tlog")
    log.append(entries_of(count))
    return log


def new_keys(folder: Path) -> KeyFolder:
    keys = KeyFolder(folder / "audit-keys")
    keys.create(ORIGIN)
    return keys


def signed(log: TransparencyLog, keys: KeyFolder) -> Checkpoint:
    """Sign the head, which must be news."""
    checkpoint = sign_head(log, keys)
    assert checkpoint is not None
    return checkpoint


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
