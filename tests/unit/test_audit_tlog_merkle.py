"""The Merkle tree agrees with published vectors and with RFC 6962's formulas, and no false proof passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.tlog.errors import ProofError, RangeError
from audit.tlog.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.tlogs import entries_of, oracle_path, oracle_proof, oracle_root

# The leaves, roots and proofs that the tests of Certificate Transparency's reference implementation use.
LEAVES = [
    bytes.fromhex(one)
    for one in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
INCLUSION = {
    (0, 1): (),
    (0, 2): ("96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",),
    (1, 2): ("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
}
CONSISTENCY = {
    (1, 1): (),
    (1, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
}
SIZES = st.integers(1, 300)


def hashes(entries):
    return [leaf_hash(entry) for entry in entries]


def test_the_roots_are_the_published_ones():
    assert [root_of(hashes(LEAVES[: size + 1])).hex() for size in range(8)] == list(ROOTS)


def test_the_tree_without_leaves_has_the_hash_of_nothing():
    assert root_of([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_the_published_ones_and_pass(index, size):
    path = inclusion_path(hashes(LEAVES[:size]), index)
    assert [one.hex() for one in path] == list(INCLUSION[index, size])
    verify_inclusion(leaf_hash(LEAVES[index]), index, size, path=path, root=bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("first", "second"), CONSISTENCY)
def test_consistency_proofs_are_the_published_ones_and_pass(first, second):
    path = consistency_path(hashes(LEAVES[:second]), first)
    assert [one.hex() for one in path] == list(CONSISTENCY[first, second])
    verify_consistency(
        first, second, path=path,
        first_root=bytes.fromhex(ROOTS[first - 1]), second_root=bytes.fromhex(ROOTS[second - 1]),
    )  # fmt: skip


@given(SIZES)
def test_a_root_is_what_the_formula_says(size):
    assert root_of(hashes(entries_of(size))) == oracle_root(entries_of(size))


@given(st.data())
def test_an_inclusion_proof_is_what_the_formula_says_and_passes(data):
    entries = entries_of(data.draw(SIZES))
    index = data.draw(st.integers(0, len(entries) - 1))
    path = inclusion_path(hashes(entries), index)
    assert list(path) == oracle_path(index, entries)
    verify_inclusion(leaf_hash(entries[index]), index, len(entries), path=path, root=oracle_root(entries))


@given(st.data())
def test_a_consistency_proof_is_what_the_formula_says_and_passes(data):
    entries = entries_of(data.draw(SIZES))
    first = data.draw(st.integers(1, len(entries)))
    path = consistency_path(hashes(entries), first)
    assert list(path) == oracle_proof(first, entries)
    verify_consistency(
        first,
        len(entries),
        path=path,
        first_root=oracle_root(entries[:first]),
        second_root=oracle_root(entries),
    )


@given(st.data())
def test_an_inclusion_proof_with_anything_changed_fails(data):
    entries = entries_of(data.draw(st.integers(2, 70)))
    size, root = len(entries), oracle_root(entries)
    index = data.draw(st.integers(0, size - 1))
    path, leaf = list(oracle_path(index, entries)), leaf_hash(entries[index])
    match data.draw(st.sampled_from(["leaf", "index", "path", "longer", "shorter", "swapped", "root"])):
        case "leaf":
            leaf = leaf_hash(b"another")
        case "index":
            index = data.draw(st.integers(-2, size + 2).filter(lambda at: at != index))
        case "path":
            at = data.draw(st.integers(0, len(path) - 1))
            path[at] = node_hash(path[at], path[at])
        case "longer":
            path.insert(data.draw(st.integers(0, len(path))), leaf_hash(b"more"))
        case "shorter":
            path.pop(data.draw(st.integers(0, len(path) - 1)))
        case "swapped":
            path = path[::-1] if len(path) > 1 else []
        case _:
            root = leaf_hash(b"root")
    with pytest.raises(ProofError):
        verify_inclusion(leaf, index, size, path=path, root=root)


@given(st.data())
def test_a_consistency_proof_with_anything_changed_fails(data):
    entries = entries_of(data.draw(st.integers(2, 70)))
    second = len(entries)
    first = data.draw(st.integers(1, second - 1))
    path = list(oracle_proof(first, entries))
    roots = [oracle_root(entries[:first]), oracle_root(entries)]
    match data.draw(st.sampled_from(["path", "longer", "shorter", "first", "second", "empty"])):
        case "path":
            at = data.draw(st.integers(0, len(path) - 1))
            path[at] = node_hash(path[at], path[at])
        case "longer":
            path.insert(data.draw(st.integers(0, len(path))), leaf_hash(b"more"))
        case "shorter":
            path.pop(data.draw(st.integers(0, len(path) - 1)))
        case "first":
            roots[0] = leaf_hash(b"root")
        case "second":
            roots[1] = leaf_hash(b"root")
        case _:
            path = []
    with pytest.raises(ProofError):
        verify_consistency(first, second, path=path, first_root=roots[0], second_root=roots[1])


def test_equal_trees_are_consistent_and_two_roots_of_one_size_are_not():
    root = oracle_root(entries_of(5))
    verify_consistency(5, 5, path=(), first_root=root, second_root=root)
    with pytest.raises(ProofError, match="two roots of a tree of 5 leaves"):
        verify_consistency(5, 5, path=(), first_root=root, second_root=oracle_root(entries_of(4)))


def test_the_empty_tree_begins_every_tree_but_only_with_its_own_root():
    root = oracle_root(entries_of(5))
    verify_consistency(0, 5, path=(), first_root=EMPTY_ROOT, second_root=root)
    with pytest.raises(ProofError):
        verify_consistency(0, 5, path=(), first_root=root, second_root=root)
    with pytest.raises(ProofError):
        verify_consistency(0, 5, path=(root,), first_root=EMPTY_ROOT, second_root=root)


def test_a_larger_tree_is_no_beginning_of_a_smaller_one():
    root = oracle_root(entries_of(5))
    with pytest.raises(ProofError):
        verify_consistency(6, 5, path=(root,), first_root=root, second_root=root)


def test_a_hash_of_another_length_is_refused():
    entries = entries_of(2)
    with pytest.raises(ProofError, match="32 bytes"):
        verify_inclusion(leaf_hash(entries[0]), 0, 2, path=[b"short"], root=oracle_root(entries))


def test_the_largest_tree_is_the_largest_size_and_one_more_is_refused():
    leaf, path = leaf_hash(b""), [leaf_hash(b"x")] * 63
    root = leaf
    for one in path:
        root = node_hash(root, one)
    verify_inclusion(leaf, 0, MAX_SIZE, path=path, root=root)
    with pytest.raises(ProofError, match="no leaf 0"):
        verify_inclusion(leaf, 0, MAX_SIZE + 1, path=path, root=root)


def test_no_proof_is_made_of_a_leaf_or_a_tree_that_is_not_there():
    leaves = hashes(entries_of(3))
    for index in (-1, 3):
        with pytest.raises(RangeError):
            inclusion_path(leaves, index)
    for first in (-1, 4):
        with pytest.raises(RangeError):
            consistency_path(leaves, first)
    assert consistency_path(leaves, 0) == ()
