"""The Merkle tree of RFC 6962 and RFC 9162 over SHA-256: hashes, proofs, and checking them.

Where hashes are stored lives in `tiles.py`; here are functions of values only. A proof is a list of hashes
from the leaf's side to the root. INVARIANT: a proof that these functions make passes the check, and the
check follows RFC 9162 step by step, not the way in which proofs are made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TypeAlias

from audit.tlog.errors import ProofError, RangeError

HASH_BYTES = 32
MAX_SIZE = (1 << 63) - 1
"""Leaves of the largest tree: sizes are signed 64-bit numbers in the tools that read such logs."""

EMPTY_ROOT = sha256(b"").digest()
"""Root of a tree without leaves."""

RangeHash: TypeAlias = Callable[[int, int], bytes]
"""Gives the root over the leaves from the first number up to the second, which is not included."""

_LEAF = b"\x00"
_NODE = b"\x01"


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf that holds `data`."""
    return sha256(_LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of a node over its two children."""
    return sha256(_NODE + left + right).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes, in their order."""
    if not leaves:
        return EMPTY_ROOT
    row = list(leaves)
    while len(row) > 1:
        row = parents_of(row) + row[len(row) & ~1 :]  # one without a partner moves up as it is
    return row[0]


def parents_of(row: Sequence[bytes]) -> list[bytes]:
    """Hashes over each full pair of `row`; a last one without a partner is left out."""
    hashing = sha256
    return [hashing(_NODE + left + right).digest() for left, right in zip(row[::2], row[1::2], strict=False)]


def inclusion_path(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Proof that leaf `index` belongs to the tree over `leaves`; RangeError if there is none."""
    return inclusion_path_in(_range_of(leaves), index, len(leaves))


def consistency_path(leaves: Sequence[bytes], first: int) -> tuple[bytes, ...]:
    """Proof that the tree over the first `first` of `leaves` is the beginning of the whole."""
    return consistency_path_in(_range_of(leaves), first, len(leaves))


def _range_of(leaves: Sequence[bytes]) -> RangeHash:
    return lambda start, end: root_of(leaves[start:end])


def inclusion_path_in(hash_of: RangeHash, index: int, size: int) -> tuple[bytes, ...]:
    """As `inclusion_path`, with hashes from wherever they are stored. SPEC: RFC 9162, 2.1.3.1."""
    if not 0 <= index < size:
        raise RangeError(f"leaf {index}", size)
    start, end = 0, size
    path: list[bytes] = []
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            path.append(hash_of(middle, end))
            end = middle
        else:
            path.append(hash_of(start, middle))
            start = middle
    return tuple(reversed(path))


def consistency_path_in(hash_of: RangeHash, first: int, second: int) -> tuple[bytes, ...]:
    """As `consistency_path`, with hashes from wherever they are stored. SPEC: RFC 9162, 2.1.4.1."""
    if not 0 <= first <= second:
        raise RangeError(f"a tree of {first} leaves", second)
    if first in (0, second):
        return ()
    start, end = 0, second
    path: list[bytes] = []
    while first != end:
        middle = start + split(end - start)
        if first <= middle:
            path.append(hash_of(middle, end))
            end = middle
        else:
            path.append(hash_of(start, middle))
            start = middle
    if start:
        # The first tree is no subtree that begins at leaf 0: whoever checks cannot know its last part.
        path.append(hash_of(start, end))
    return tuple(reversed(path))


def split(count: int) -> int:
    """Leaves of the left child of a node over `count` leaves, two or more: a power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def verify_inclusion(leaf: bytes, index: int, size: int, *, path: Sequence[bytes], root: bytes) -> None:
    """Return if `path` shows that leaf hash `leaf` is number `index` of the tree of `size` with `root`.

    Raises ProofError otherwise. SPEC: RFC 9162, 2.1.3.2.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError(f"there is no leaf {index} in a tree of {size} leaves")
    _check_hashes(leaf, root, *path)
    at, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ProofError("it has more hashes than the tree has levels")
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError("it has fewer hashes than the tree has levels")
    if found != root:
        raise ProofError(f"leaf {index} does not lead to the root of the tree of {size} leaves")


def verify_consistency(
    first: int, second: int, *, path: Sequence[bytes], first_root: bytes, second_root: bytes
) -> None:
    """Return if `path` shows that the tree of `first` leaves is the beginning of the tree of `second`.

    Raises ProofError otherwise. The empty tree is the beginning of every tree. SPEC: RFC 9162, 2.1.4.2.
    """
    if not 0 <= first <= second <= MAX_SIZE:
        raise ProofError(f"a tree of {first} leaves cannot be the beginning of one of {second}")
    _check_hashes(first_root, second_root, *path)
    if first == 0 and first_root != EMPTY_ROOT:
        raise ProofError("the tree without leaves has another root")
    if first in (0, second):
        if path:
            raise ProofError("it has hashes where none are needed")
        if first == second and first_root != second_root:
            raise ProofError(f"there are two roots of a tree of {first} leaves")
        return
    old, new, rest = _climb(first, second, path, first_root)
    if rest:
        raise ProofError("it has fewer hashes than the tree has levels")
    if old != first_root:
        raise ProofError(f"it does not lead to the root of the tree of {first} leaves")
    if new != second_root:
        raise ProofError(f"it does not lead to the root of the tree of {second} leaves")


def _climb(first: int, second: int, path: Sequence[bytes], first_root: bytes) -> tuple[bytes, bytes, int]:
    if not path:
        raise ProofError("it has no hashes")
    hashes = list(path) if first & first - 1 else [first_root, *path]
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise ProofError("it has more hashes than the tree has levels")
        if at & 1 or at == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        at, last = at >> 1, last >> 1
    return old, new, last


def _check_hashes(*hashes: bytes) -> None:
    if any(len(one) != HASH_BYTES for one in hashes):
        raise ProofError(f"a hash has {HASH_BYTES} bytes")
